"""A perfect reader of chunks: states what stands in a chunk, with the evidence of each value.

`Planted` is a text with a list of objects, whose values stand in it at known places.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.documents import Evidence, EvidenceStatus, Fields
from pipelines.tasks.statements import ChunkFields

NAMES = ("Coffee", "Tea", "Cake", "Iced Coffee", "Ann Lee", "Bo Kim", "Soup", "Pie")
PRICES = (5.0, 3.0, 4.0, 15.0, 1.5)
_FILLER = "Thank you for your visit, please come again soon to see us. "


@dataclass(frozen=True)
class Leaf:
    """A value at text[start:end]; `words` stand there."""

    name: str
    value: Any
    start: int
    end: int
    words: str


@dataclass
class Planted:
    """A text, and the objects of its list, each as its values in document order."""

    text: str = ""
    objects: list[list[Leaf]] = field(default_factory=list)

    def write(self, words: str) -> None:
        self.text += words

    def plant(self, leaves: Sequence[tuple[str, Any, str]], separator: str) -> None:
        """Add an object to the end of the text: names, values, and the words of the values."""
        planted = []
        for name, value, words in leaves:
            start = len(self.text)
            self.text += words
            planted.append(Leaf(name, value, start, len(self.text), words))
            self.text += separator
        self.objects.append(planted)

    @property
    def values(self) -> list[dict[str, Any]]:
        """The right list."""
        return [{leaf.name: leaf.value for leaf in leaves} for leaves in self.objects]


def receipt(dice: random.Random, items: int, *, filler: bool = True) -> Planted:
    """Return a text with a list of items, many of which are equal."""
    planted = Planted("Receipt of the Coffee house\n\n")
    separator = dice.choice([" ", "      ", " . . . ", ", "])
    order = dice.choice([1, -1])
    for _ in range(items):
        name, price = dice.choice(NAMES), dice.choice(PRICES)
        leaves = [("item", name, name), ("price", price, f"{price:.2f}")][::order]
        planted.plant(leaves, separator)
        planted.write("\n" * dice.randint(1, 2))
        if filler and dice.random() < 0.2:
            planted.write(_FILLER * dice.randint(1, 5) + "\n")
    return planted


def spans(length: int, size: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Yield the spans of chunks of `size` characters with an overlap."""
    start = 0
    while True:
        yield start, min(start + size, length)
        if start + size >= length:
            return
        start += size - overlap


def read_chunk(
    planted: Planted, start: int, end: int, names: Sequence[str], *, all_places: int = 0
) -> ChunkFields:
    """Return the items of which a value stands in text[start:end], as `items`.

    The evidence of a value is its place or, with `all_places`, so many of the places where its
    words stand in the chunk and the 100 characters around it.
    """
    items: list[dict[str, Any]] = []
    evidence: list[Evidence] = []
    for leaves in planted.objects:
        inside = [leaf for leaf in leaves if leaf.start >= start and leaf.end <= end]
        if not inside:
            continue
        path = f"items[{len(items)}]"
        stated = {leaf.name: leaf.value for leaf in inside}
        items.append({name: stated.get(name) for name in names})
        for leaf in inside:
            places = [(leaf.start, leaf.end)]
            if all_places:
                around = max(0, start - 100), min(len(planted.text), end + 100)
                places = list(_places(planted.text, leaf.words, *around))[:all_places]
            evidence += [
                Evidence(
                    f"{path}.{leaf.name}", EvidenceStatus.FOUND, planted.text[at:until], at, until
                )
                for at, until in places
            ]
    return ChunkFields(start, end, Fields({"items": items}, tuple(evidence)))


def _places(text: str, words: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    pattern = re.compile(rf"(?<![\w.]){re.escape(words)}(?![\w.]*\w)")
    for match in pattern.finditer(text, start, end):
        yield match.span()
