"""Texts of several shapes with statements planted in them, and the facts that they state.

Statements have the form that the rule-based reader (scripted.py) recognizes.
"""

from __future__ import annotations

import pydoc_data.topics
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

LABELS = ("risk", "earnings", "governance")
PROSE = "\n\n".join(text for _, text in sorted(pydoc_data.topics.topics.items()))
WORDS = PROSE.replace(".", "").split()
NAMES = sorted({word.title() for word in WORDS if word.isalpha()})


def prose(dice: random.Random, characters: int) -> str:
    """Return English text in sentences and paragraphs."""
    start = dice.randrange(len(PROSE) - characters) if characters < len(PROSE) else 0
    return (PROSE[start:] + PROSE * (characters // len(PROSE)))[:characters]


def one_line(dice: random.Random, characters: int) -> str:
    """Return words without sentence ends or line breaks."""
    start = dice.randrange(len(WORDS) // 2)
    return " ".join(WORDS[start : start + characters // 5])[:characters]


def no_space(dice: random.Random, characters: int) -> str:
    """Return letters without white space."""
    return "".join(dice.choices("abcdefghij", k=characters))


def markdown(dice: random.Random, characters: int) -> str:
    """Return paragraphs with headings, tables and code between them."""
    blocks = [
        "# Heading {n}",
        "| a | b |\n|---|---|\n| {n} | 2 |",
        "```\ncode {n}\n```",
        "text {n}",
    ]
    parts: list[str] = []
    while sum(len(part) for part in parts) < characters:
        parts.append(dice.choice(blocks).format(n=len(parts)))
        parts.append(prose(dice, dice.randrange(50, 400)))
    return "\n\n".join(parts)[:characters]


FILLERS: Sequence[Callable[[random.Random, int], str]] = (prose, one_line, no_space, markdown)


@dataclass
class Planted:
    """A text, and the facts stated in it: the values of each key in document order."""

    text: str
    stated: dict[str, list[str]] = field(default_factory=dict)

    def first(self, key: str) -> str | None:
        return self.stated.get(key, [None])[0]

    @property
    def facts(self) -> dict[str, Any]:
        """The correct answer of the task `facts`."""
        revenue, employees = self.first("revenue"), self.first("employees")
        listed = self.first("listed")
        auditor = {"name": self.first("auditor name"), "office": self.first("auditor office")}
        return {
            "company": self.first("company"),
            "revenue": None if revenue is None else float(revenue),
            "employees": None if employees is None else int(employees),
            "listed": None if listed is None else listed == "true",
            "risk": self.stated.get("risk", []),
            "auditor": auditor if any(auditor.values()) else None,
        }


def a_name(dice: random.Random) -> str:
    return " ".join(dice.choices(NAMES, k=dice.randint(1, 4)))


VALUES: dict[str, Callable[[random.Random], str]] = {
    "company": lambda dice: f"{a_name(dice)} Corp",
    "revenue": lambda dice: f"{dice.randrange(10**6)}.5",
    "employees": lambda dice: str(dice.randrange(10**5)),
    "listed": lambda dice: dice.choice(["true", "false"]),
    "risk": lambda dice: f"the {a_name(dice)} risk",
    "auditor name": lambda dice: f"Ann {a_name(dice)}",
    "auditor office": lambda dice: f"Port {a_name(dice)}",
    "topic": lambda dice: dice.choice(LABELS),
}

# A hyphen, a negation, or a beginning of a word that is a negation in another language.
_CHANGES = re.compile(
    r"-$|\b(?:not?|nor|never|neither|cannot|pas|ne|ni|nie|nem|non|ej|ei|inte)\s*$", re.IGNORECASE
)

# The fields of one object are of one thing: a text that contradicted them would have two auditors.
CONSISTENT = ("topic", "auditor name", "auditor office")


def plant(dice: random.Random, filler: str, max_facts: int = 10) -> Planted:
    """Insert statements at random positions of a filler; some repeat or contradict others."""
    keys = dice.choices(list(VALUES), k=dice.randint(0, max_facts))
    first_values: dict[str, str] = {}
    pieces: list[str] = []
    stated: dict[str, list[str]] = {}
    at = 0
    # not behind a hyphen, where the statement would be read as the rest of a divided word, and not
    # behind a negation
    places = [
        at for at in range(len(filler) + 1) if not _CHANGES.search(filler[max(0, at - 8) : at])
    ]
    positions = sorted(dice.choice(places) for _ in keys)
    for position, key in zip(positions, keys, strict=True):
        repeated = key in first_values and (key in CONSISTENT or dice.random() < 0.5)
        value = first_values[key] if repeated else VALUES[key](dice)
        first_values.setdefault(key, value)
        stated.setdefault(key, []).append(value)
        space = dice.choice([" ", "\n", "\n\n"])
        pieces += [filler[at:position], f"{space}The {key} is {value}.{space}"]
        at = position
    return Planted("".join([*pieces, filler[at:]]), stated)
