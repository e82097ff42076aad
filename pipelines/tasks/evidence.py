"""Evidence of every value of an answer, and the values that remain if only supported ones count.

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
from pipelines.tasks.paths import field_path, item_path
from pipelines.tasks.schema import JsonSchema, field_schemas, is_map, is_tuple, item_schema
from pipelines.tasks.stated import is_label
from pipelines.text.mentions import Place
from pipelines.text.search import DocumentSearch

_INDEX = re.compile(r"\[\d+\]")
_KEPT = (EvidenceStatus.SHOWN, EvidenceStatus.FOUND, EvidenceStatus.NOT_APPLICABLE)


def is_supported(evidence: Iterable[Evidence]) -> bool:
    """Return whether the document supports a value or a reply with this evidence.

    It does if the status of at least one Evidence is SHOWN, FOUND or NOT_APPLICABLE.
    """
    return any(row.status in _KEPT for row in evidence)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A single value of an answer, one that is neither an object nor a list.

    Attributes:
        path: its path in the answer, such as `parties[2].name`.
        value: the value: a string, a number or a boolean.
        schema: its normalized schema; {} if the answer's schema does not have it.
    """

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
    *,
    anchored: bool = False,
) -> tuple[Evidence, ...]:
    """Return the evidence of all values of an extraction, in their order.

    Values that are null or blank have none. A value within a list has, in addition to a quote that
    shows it, up to 8 places of its own; equal values have different places, in the document's
    order.

    Args:
        values: the values by field name.
        schema: their normalized schema.
        quotes: the model's quotes by the name of the top-level field.
        search: finds quotes and values in the document.
        start: the first character of the part of the document that the model was shown, in which
            evidence is looked for.
        end: the character after its last one.
        own: start and end, in characters, of the chunk that the model was asked about, without the
            words shown around it; None if the model was asked about all of that part.
        anchored: whether a quote may consist of the first and last words of a passage.
    """
    grounds = Grounds(search, start, end, own, anchored=anchored)
    rows: list[Evidence] = []
    fields = field_schemas(values, schema)
    for name, value in values.items():
        quoted = grounds.quoted(quotes.get(name, ""))
        of_field = list(leaves(value, fields.get(name, {}), field_path("", name)))
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
    """Yield the single values within a JSON value, at any depth and in order, each as a Leaf.

    A single value is neither an object nor a list; null and blank strings are skipped. `schema` is
    the normalized schema of `value`, and `path` its path in the answer, "" for the whole answer.
    """
    if isinstance(value, Mapping):
        fields = field_schemas(value, schema)
        for name, element in value.items():
            yield from leaves(element, fields.get(name, {}), field_path(path, name))
    elif isinstance(value, list | tuple):
        for index, element in enumerate(value):
            yield from leaves(element, item_schema(schema, index), item_path(path, index))
    elif value is not None and not (isinstance(value, str) and not value.strip()):
        yield Leaf(path, value, schema)


def only_verified(
    values: Mapping[str, Any], schema: JsonSchema, evidence: Sequence[Evidence]
) -> tuple[dict[str, Any], tuple[Evidence, ...]]:
    """Return the values of an extraction that the document supports, and their evidence.

    A value is supported if its evidence has the status SHOWN, FOUND or NOT_APPLICABLE. A value that
    is not supported becomes null. An item of a list or an entry of a map in which no value is
    supported is removed together with its evidence, and an object in a field becomes null. If
    none of its other values is supported, booleans and labels that are NOT_APPLICABLE, and booleans
    that a quote shows, do not keep an item, entry or object. A fixed tuple is one value: it becomes
    null, or is removed, unless every value in it is supported.

    Args:
        values: the values by field name.
        schema: their normalized schema.
        evidence: the evidence of the values, with their paths in `values`.

    Returns the remaining values by field name, and their evidence with their paths among these
    values, in which the items of lists are numbered again.
    """
    pruning = _Pruning(
        {row.path for row in evidence if row.status in _KEPT},
        {row.path for row in evidence if row.status is EvidenceStatus.NOT_APPLICABLE},
    )
    kept = pruning.value(values, schema, "", "")
    rows = (
        replace(row, path=pruning.paths[row.path]) for row in evidence if row.path in pruning.paths
    )
    return kept, tuple(rows)


@dataclass
class _Pruning:
    """Removes values whose path is not in `supported`.

    `not_applicable` has the paths of those that need no place in the text.
    `paths` has the new path of each value that is not removed, by its old one: the items of a list
    are numbered again.
    """

    supported: set[str]
    not_applicable: set[str]
    paths: dict[str, str] = field(default_factory=dict)

    def value(self, value: Any, schema: JsonSchema, path: str, new_path: str) -> Any:
        if isinstance(value, Mapping):
            return self._fields(value, schema, path, new_path)
        if isinstance(value, list | tuple) and is_tuple(schema):
            return self._tuple(value, schema, path, new_path)
        if isinstance(value, list | tuple):
            return self._items(value, schema, path, new_path)
        self.paths[path] = new_path
        return value if path in self.supported else None

    def _fields(
        self, value: Mapping[str, Any], schema: JsonSchema, path: str, new_path: str
    ) -> dict[str, Any]:
        fields = field_schemas(value, schema)
        kept: dict[str, Any] = {}
        for name, element in value.items():
            old = field_path(path, name)
            of_field = fields.get(name, {})
            if is_map(schema) and not self._is_supported(element, of_field, old):
                continue
            if self._is_invented(element, of_field, old):
                kept[name] = None
            else:
                kept[name] = self.value(element, of_field, old, field_path(new_path, name))
        return kept

    def _tuple(
        self, items: Sequence[Any], schema: JsonSchema, path: str, new_path: str
    ) -> list[Any] | None:
        found = list(leaves(items, schema, path))
        if not all(leaf.path in self.supported for leaf in found):
            return None
        self.paths |= {leaf.path: new_path + leaf.path[len(path) :] for leaf in found}
        return list(items)

    def _items(
        self, items: Sequence[Any], schema: JsonSchema, path: str, new_path: str
    ) -> list[Any]:
        kept: list[Any] = []
        for index, item in enumerate(items):
            old, of_item = item_path(path, index), item_schema(schema, index)
            if self._is_supported(item, of_item, old):
                kept.append(self.value(item, of_item, old, item_path(new_path, len(kept))))
        return kept

    def _is_supported(self, value: Any, schema: JsonSchema, path: str) -> bool:
        """Return whether the text supports an item or entry: any value of it; all of a tuple.

        Booleans and labels count only if no value of it is unsupported.
        """
        found = list(leaves(value, schema, path))
        supported = [leaf for leaf in found if leaf.path in self.supported]
        if is_tuple(schema):
            return len(supported) == len(found)
        if len(supported) == len(found):
            return bool(found)
        return any(self._says_something(leaf) for leaf in supported)

    def _says_something(self, leaf: Leaf) -> bool:
        """Return whether a supported value is evidence of the object that it is in."""
        if isinstance(leaf.value, bool):
            return False
        return not (is_label(leaf.schema) and leaf.path in self.not_applicable)

    def _is_invented(self, value: Any, schema: JsonSchema, path: str) -> bool:
        """Return whether a field has an object of values of which the text supports none."""
        if not isinstance(value, Mapping) or is_map(schema):
            return False
        return any(leaves(value, schema, path)) and not self._is_supported(value, schema, path)
