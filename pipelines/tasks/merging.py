"""Merge the fields that a document's chunks state into those of the document.

- A field of the schema, or an entry of a map, is merged by itself; a fixed tuple is one value. If
  chunks state different values, evidence may decide (`deciding.py`); otherwise it is a conflict,
  which the caller resolves.
- An object, also one of a union, describes one entity, such as a company, and is completed from all
  chunks that describe the same entity (`entities.py`). Objects of different entities are a conflict
  of whole objects.
- A list has every item of the document once, in order (`list_items.py`).
- A value of any other shape is one value.

Placeholder texts, such as `N/A`, state nothing. Pure; knows no prompts and no engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from pipelines.documents import Evidence
from pipelines.tasks.comparison import normalize_text as normalize_text
from pipelines.tasks.comparison import value_key, without_fillers
from pipelines.tasks.deciding import best_of, by_value, count_chunks, decided, supporting
from pipelines.tasks.entities import entities
from pipelines.tasks.evidence import is_supported
from pipelines.tasks.extraction import has_content
from pipelines.tasks.list_items import same_items
from pipelines.tasks.paths import field_path, item_path
from pipelines.tasks.schema import JsonSchema, empty_value, field_schemas, is_map
from pipelines.tasks.statements import ChunkFields, Statement, merged_rows, stated_chunk

T = TypeVar("T")
FieldPath = tuple[str, ...]
"""The names that lead to a field, from the outermost object inwards."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of several different values that chunks state for a field.

    Attributes:
        value: the value as spelled by the chunk with the best evidence; of objects, the one merged
            from all chunks that describe the same entity.
        words: the document's words in a verified quote that contains the value; None without one.
        chunks: the number of chunks that state the value, in any spelling, at least 1.
    """

    value: Any
    words: str | None
    chunks: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """A field for which chunks state different values, of which evidence does not select one.

    Attributes:
        path: the names that lead to the field, from the outermost object inwards.
        candidates: the different values, at least two, in document order.
    """

    path: FieldPath
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Merged:
    """The result of merging the fields of a document's chunks.

    Attributes:
        values: the merged values by field name; a field in conflict, also of a nested object, is
            None.
        conflicts: the fields for which the caller has to choose a value; empty if there are none.
        evidence: the evidence of the merged values, with their paths in `values`.
    """

    values: dict[str, Any]
    conflicts: tuple[Conflict, ...]
    evidence: tuple[Evidence, ...] = ()


def merge(
    chunks: Sequence[ChunkFields],
    schema: JsonSchema,
    choices: Mapping[FieldPath, Any] | None = None,
) -> Merged:
    """Merge the fields that a document's chunks state; fields on which they disagree are conflicts.

    Call it first without `choices`. If the result has conflicts, decide them and call it again with
    the same chunks and the decided values.

    Args:
        chunks: the fields of each chunk, in document order.
        schema: the normalized schema of the fields.
        choices: the decided values of fields that were in conflict in an earlier call, by
            `Conflict.path`. They are taken as they are, and those fields are not in conflict again.

    Returns the merged values, with an empty list or map, or None, for a field that no chunk states.
    """
    merging = _Merging(choices or {})
    stated = [
        Statement(without_fillers(chunk.fields.values, schema), "", stated_chunk(number, chunk))
        for number, chunk in enumerate(chunks)
    ]
    if "members" in schema:
        value, rows = merging.union(stated, schema)
    else:
        value, rows = merging.properties(stated, schema, _Place((), ""))
    return Merged(value, tuple(merging.conflicts), tuple(rows))


@dataclass(frozen=True, slots=True)
class _Place:
    """The place of a merged value in the answer: its names, and its path with indices of items.

    `is_settled` says that the statements are of one thing, so that none contradicts another.
    """

    names: FieldPath
    path: str
    is_settled: bool = False

    def member(self, name: str) -> _Place:
        return replace(self, names=(*self.names, name), path=field_path(self.path, name))

    def item(self, index: int) -> _Place:
        return replace(self, path=item_path(self.path, index), is_settled=True)


_Result = tuple[Any, list[Evidence]]
"""A merged value with its evidence."""


@dataclass
class _Merging:
    """Merges values recursively along the schema, and collects the conflicts."""

    choices: Mapping[FieldPath, Any]
    conflicts: list[Conflict] = field(default_factory=list)

    def union(
        self, stated: Sequence[Statement], schema: JsonSchema
    ) -> tuple[dict[str, Any], list[Evidence]]:
        """Merge whole answers that are of one of several objects.

        A chunk has to name one of them even if it states nothing of it.
        """
        name = schema["discriminator"]
        telling = [
            statement for statement in stated if has_content({**statement.value, name: None})
        ]
        value, rows = self._value(telling or stated, schema, _Place((), ""))
        return value or {}, rows

    def properties(
        self, stated: Sequence[Statement], schema: JsonSchema, place: _Place
    ) -> tuple[dict[str, Any], list[Evidence]]:
        """Merge objects property by property; those of a union are of one member."""
        values: dict[str, Any] = {}
        rows = merged_rows(stated, place.path, own=True) if place.path else []
        for name, subschema in _properties(stated, schema):
            of_name = [statement.member(name) for statement in stated]
            values[name], of_value = self._value(of_name, subschema, place.member(name))
            rows += of_value
        return values, rows

    def _value(
        self, stated: Sequence[Statement], schema: JsonSchema, place: _Place
    ) -> tuple[Any, list[Evidence]]:
        stated = [statement for statement in stated if has_content(statement.value)]
        if not stated:
            return empty_value(schema), []
        kinds = {type(statement.value) for statement in stated}
        if kinds == {list} and "items" in schema:
            return self._list(stated, schema, place)
        if kinds == {dict} and (is_map(schema) or schema.get("properties")):
            if place.is_settled or is_map(schema):
                return self.properties(stated, schema, place)
            return self._agreed(
                entities(stated), place, lambda same: self._whole(same, schema, place)
            )
        if place.is_settled:
            return _single(stated, place)
        return self._agreed(by_value(stated), place, lambda same: _single(same, place))

    def _whole(self, stated: Sequence[Statement], schema: JsonSchema, place: _Place) -> _Result:
        return self.properties(stated, schema, replace(place, is_settled=True))

    def _list(
        self, stated: Sequence[Statement], schema: JsonSchema, place: _Place
    ) -> tuple[list[Any], list[Evidence]]:
        values: list[Any] = []
        rows = merged_rows(stated, place.path, own=True)
        items = same_items(stated)
        if schema.get("uniqueItems"):
            items = _without_repeats(items)
        for index, item in enumerate(items):
            value, of_item = self._value(item, schema["items"], place.item(index))
            values.append(value)
            rows += of_item
        return values, rows

    def _agreed(
        self,
        different: Sequence[Sequence[Statement]],
        place: _Place,
        merged: Callable[[Sequence[Statement]], _Result],
    ) -> _Result:
        """Return the value that the chunks state; record a conflict if they differ.

        `different` has the statements of each different value, and `merged` makes the value of
        those that agree.
        """
        if place.names in self.choices:
            return self._chosen(different, place, merged)
        remaining = decided(different)
        if len(remaining) == 1:
            return merged(remaining[0])
        candidates = (
            Candidate(merged(same)[0], best_of(same).shown_words, count_chunks(same))
            for same in remaining
        )
        self.conflicts.append(Conflict(place.names, tuple(candidates)))
        return None, []

    def _chosen(
        self,
        different: Sequence[Sequence[Statement]],
        place: _Place,
        merged: Callable[[Sequence[Statement]], _Result],
    ) -> _Result:
        choice = self.choices[place.names]
        results = (merged(same) for same in different)
        key = value_key(choice)
        rows = next((rows for value, rows in results if value_key(value) == key), [])
        return choice, rows


def _properties(
    stated: Sequence[Statement], schema: JsonSchema
) -> Iterable[tuple[str, JsonSchema]]:
    """Return the names of an object's properties with their schemas; of a map, those stated."""
    fields: dict[str, JsonSchema] = {}
    for value in [statement.value for statement in stated] or [{}]:
        fields |= field_schemas(value, schema)
    return list(fields.items())


def _without_repeats(items: Iterable[list[Statement]]) -> list[list[Statement]]:
    """Return the items of a set: items with equal values are one."""
    different: dict[str, list[Statement]] = {}
    for item in items:
        different.setdefault(value_key(item[0].value), []).extend(item)
    return list(different.values())


def _single(stated: Sequence[Statement], place: _Place) -> _Result:
    best = best_of(stated)
    value = list(best.value) if isinstance(best.value, tuple) else best.value
    return value, merged_rows(supporting(stated, best), place.path)


def prefer_supported(
    stated: Sequence[T], evidence: Callable[[T], Iterable[Evidence]]
) -> Sequence[T]:
    """Return the items that the document supports, in their order, or all if it supports none.

    `stated` are answers of chunks, of any type, and `evidence` returns the evidence of one of them.
    An answer is supported if `is_supported` holds for its evidence.
    """
    return [item for item in stated if is_supported(evidence(item))] or stated
