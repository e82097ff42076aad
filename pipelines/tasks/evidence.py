"""Evidence of every value of an answer, and the values that remain if only those with it count.

A value is `shown` if a verified quote contains it, in any format. Otherwise it is `found` if it
stands in the text and its kind rarely does so by chance: a full date, a name, a number of 4 or more
digits, a text of two or more words. `grounds.py` decides about one value; this module goes through
an answer. Knows no prompts and no engine.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipelines.documents import Evidence, EvidenceStatus
from pipelines.tasks.grounds import Grounds
from pipelines.tasks.occurrences import Turn
from pipelines.tasks.schema import JsonSchema
from pipelines.text.mentions import Place
from pipelines.text.search import DocumentSearch

_INDEX = re.compile(r"\[\d+\]")
_KEPT = (EvidenceStatus.SHOWN, EvidenceStatus.FOUND, EvidenceStatus.NOT_APPLICABLE)


def is_supported(evidence: Iterable[Evidence]) -> bool:
    """Return whether any row says that a value is shown, found, or need not stand in the text."""
    return any(row.status in _KEPT for row in evidence)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value of an answer that is neither an object nor a list, with its path and its schema."""

    path: str
    value: Any
    schema: JsonSchema


def evidence_of_fields(
    values: Mapping[str, Any],
    schema: JsonSchema,
    quotes: Mapping[str, str],
    search: DocumentSearch,
    start: int,
    end: int,
    own: Place | None = None,
) -> tuple[Evidence, ...]:
    """Return the evidence of all values of an extraction, in their order; null values have none.

    A value within a list has its own places too if a quote shows it: at most 8, of which equal
    values have different ones, in the document's order.

    Args:
        values: the values by field name.
        schema: their normalized schema.
        quotes: the model's quotes by the name of the top-level field.
        search: finds quotes and values in the document.
        start: the first character of the part of the document that the model was shown.
        end: the character after its last one.
        own: start and end of the chunk that the model was asked about, without the words shown
            around it; None if there are none.
    """
    grounds = Grounds(search, start, end, own)
    rows: list[Evidence] = []
    for name, value in values.items():
        quoted = grounds.quoted(quotes.get(name, ""))
        of_field = list(leaves(value, _subschema(schema, name), name))
        for leaf, turn in zip(of_field, _turns(of_field, grounds), strict=True):
            rows += grounds.evidence(leaf.path, leaf.value, leaf.schema, quoted, turn)
    return tuple(rows)


def _turns(of_field: Sequence[Leaf], grounds: Grounds) -> Iterator[Turn | None]:
    """Yield for each value within a list which of the equal ones it is; None for other values."""
    keys = [
        (_INDEX.sub("[]", leaf.path), grounds.key(leaf.path, leaf.value, leaf.schema))
        if "[" in leaf.path
        else None
        for leaf in of_field
    ]
    counts, numbers = Counter(keys), Counter[object]()
    for key in keys:
        yield None if key is None else Turn(numbers[key], counts[key])
        numbers[key] += 1


def leaves(value: Any, schema: JsonSchema, path: str) -> Iterator[Leaf]:
    """Yield the values within a value that are neither null or blank, nor objects, nor lists."""
    if isinstance(value, Mapping):
        for name, element in value.items():
            yield from leaves(element, _subschema(schema, name), f"{path}.{name}")
    elif isinstance(value, list | tuple):
        for index, element in enumerate(value):
            yield from leaves(element, _subschema(schema, index), f"{path}[{index}]")
    elif value is not None and not (isinstance(value, str) and not value.strip()):
        yield Leaf(path, value, schema)


def _subschema(schema: JsonSchema, key: str | int) -> JsonSchema:
    """Return the schema of an object's field or of a list's item; {} if it has none."""
    if isinstance(key, str):
        found = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
    else:
        tuple_items = schema.get("prefixItems", ())
        found = tuple_items[key] if key < len(tuple_items) else schema.get("items")
    return found if isinstance(found, Mapping) else {}


def only_verified_values(
    values: Mapping[str, Any], schema: JsonSchema, evidence: Sequence[Evidence]
) -> dict[str, Any]:
    """Return the values that are shown, found or not applicable; see `only_verified`."""
    return only_verified(values, evidence)[0]


def only_verified(
    values: Mapping[str, Any], evidence: Sequence[Evidence]
) -> tuple[dict[str, Any], tuple[Evidence, ...]]:
    """Return the values that are shown, found or not applicable, and the evidence with their paths.

    A value that is none of them becomes null; as an item of a list, or as the only content of one,
    it is left out, together with its evidence.
    """
    pruning = _Pruning({row.path for row in evidence if row.status in _KEPT})
    kept = {name: pruning.value(value, name, name) for name, value in values.items()}
    rows = (
        replace(row, path=pruning.paths[row.path]) for row in evidence if row.path in pruning.paths
    )
    return kept, tuple(rows)


@dataclass
class _Pruning:
    """Removes values whose path is not in `supported`.

    `paths` has the new path of each value that is not removed, by its old one: the items of a list
    are numbered again.
    """

    supported: set[str]
    paths: dict[str, str] = field(default_factory=dict)

    def value(self, value: Any, path: str, new_path: str) -> Any:
        if isinstance(value, Mapping):
            return {
                name: self.value(element, f"{path}.{name}", f"{new_path}.{name}")
                for name, element in value.items()
            }
        if isinstance(value, list | tuple):
            return self._items(value, path, new_path)
        self.paths[path] = new_path
        return value if path in self.supported else None

    def _items(self, items: Sequence[Any], path: str, new_path: str) -> list[Any]:
        kept: list[Any] = []
        for index, item in enumerate(items):
            old = f"{path}[{index}]"
            if any(leaf.path in self.supported for leaf in leaves(item, {}, old)):
                kept.append(self.value(item, old, f"{new_path}[{len(kept)}]"))
        return kept
