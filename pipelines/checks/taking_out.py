"""Takes values out of answers, with their evidence and the words that would still show them.

Knows no checks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipelines.checks.pieces import label_path
from pipelines.checks.words import contains, words_of
from pipelines.documents import AnswerValue, Evidence, Fields, LabelSet, Reply
from pipelines.tasks.evidence import leaves
from pipelines.tasks.paths import field_path, item_path
from pipelines.tasks.schema import (
    JsonSchema,
    empty_value,
    field_schemas,
    is_map,
    is_tuple,
    item_schema,
)


@dataclass(frozen=True, slots=True)
class Remainder:
    """An answer without some of its values.

    Attributes:
        value: the answer; None if it was taken out as a whole.
        paths: the new path of each value that is left and has moved, by its old one: the items of
            lists are numbered again.
    """

    value: AnswerValue | None
    paths: Mapping[str, str]


def without(value: AnswerValue, schema: JsonSchema | None, paths: Collection[str]) -> Remainder:
    """Return an answer without the values at `paths`, and without their evidence.

    A field becomes null, or an empty list or map; an item of a list, an entry of a map and a label
    of several are removed. So is an object in a list, or a field with one, of which nothing is
    left. A fixed tuple is one value. Any other answer than an extraction is one value too.
    """
    if not paths:
        return Remainder(value, {})
    match value:
        case Fields(values, evidence):
            assert schema is not None
            taking = _Taking(frozenset(paths))
            left = taking.fields(values, schema, "", "")
            rows = (
                replace(row, path=taking.paths[row.path])
                for row in evidence
                if row.path in taking.paths
            )
            return Remainder(Fields(left, tuple(rows)), taking.paths)
        case LabelSet(labels):
            kept = [index for index in range(len(labels)) if label_path(index) not in paths]
            moved = {label_path(old): label_path(new) for new, old in enumerate(kept)}
            return Remainder(LabelSet(tuple(labels[index] for index in kept)), moved)
    return Remainder(None, {})


def without_words(value: AnswerValue, rows: Collection[int], taken: Iterable[str]) -> AnswerValue:
    """Return an answer without the words of the evidence numbered `rows`, and of all evidence whose
    words contain one of the texts that were `taken` out. The places of the evidence stay.
    """
    if not isinstance(value, Reply | Fields):
        return value
    phrases = [phrase for text in taken if (phrase := words_of(text))]
    evidence = tuple(
        replace(row, text=None, quote=None) if number in rows or _shows(row, phrases) else row
        for number, row in enumerate(value.evidence)
    )
    return replace(value, evidence=evidence)


def _shows(row: Evidence, phrases: Sequence[Sequence[str]]) -> bool:
    if not phrases:
        return False
    shown = [words_of(words) for words in (row.text, row.quote) if words is not None]
    return any(contains(words, phrase) for words in shown for phrase in phrases)


@dataclass
class _Taking:
    """Removes the values whose path is in `gone`; `paths` has the new paths of those that stay."""

    gone: frozenset[str]
    paths: dict[str, str] = field(default_factory=dict)

    def fields(
        self, value: Mapping[str, Any], schema: JsonSchema, path: str, new_path: str
    ) -> dict[str, Any]:
        schemas = field_schemas(value, schema)
        kept: dict[str, Any] = {}
        for name, element in value.items():
            old, of_field = field_path(path, name), schemas.get(name, {})
            if not self._is_gone(element, of_field, old):
                kept[name] = self._value(element, of_field, old, field_path(new_path, name))
            elif not is_map(schema):
                kept[name] = empty_value(of_field)
        return kept

    def _value(self, value: Any, schema: JsonSchema, path: str, new_path: str) -> Any:
        if isinstance(value, Mapping):
            return self.fields(value, schema, path, new_path)
        if isinstance(value, list | tuple):
            return self._items(value, schema, path, new_path)
        self.paths[path] = new_path
        return value

    def _items(
        self, items: Sequence[Any], schema: JsonSchema, path: str, new_path: str
    ) -> list[Any]:
        kept: list[Any] = []
        for index, item in enumerate(items):
            old, of_item = item_path(path, index), item_schema(schema, index)
            if not self._is_gone(item, of_item, old):
                kept.append(self._value(item, of_item, old, item_path(new_path, len(kept))))
        return kept

    def _is_gone(self, value: Any, schema: JsonSchema, path: str) -> bool:
        """Return whether nothing is left of a value, or part of a fixed tuple is gone."""
        if path in self.gone:
            return True
        found = [leaf.path in self.gone for leaf in leaves(value, schema, path)]
        return any(found) and (all(found) or is_tuple(schema))
