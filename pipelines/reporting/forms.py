"""Compares the values of an extraction with the right ones, field by field. Pure.

A field of which the gold has no key is not judged. `null`, an empty list and a blank text state
that there is no value. Knows no files.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipelines.reporting.counts import TaskScore
from pipelines.reporting.fields import is_single, item_path_of, item_type, struct_fields
from pipelines.reporting.matching import best_pairs
from pipelines.reporting.meaning import meaning_of
from pipelines.tasks.comparison import is_filler, value_key
from pipelines.tasks.paths import field_path, item_path
from pipelines.tasks.schema import JsonSchema


@dataclass(frozen=True, slots=True)
class FormScorer:
    """Compares the values of an extraction, and adds the result to `score`.

    In its methods, `path` is that of the field and `place` that of the value in the answer.
    """

    score: TaskScore

    def object_of(self, kind: pa.StructType, path: str, place: str, gold: Any, given: Any) -> bool:
        """Compare objects; without a right one, none of its fields has a value."""
        right = True
        for each in struct_fields(kind):
            if gold is None or each.name in gold:
                right &= self.value(
                    each.type,
                    field_path(path, each.name),
                    field_path(place, each.name),
                    None if gold is None else gold[each.name],
                    None if given is None else given.get(each.name),
                )
        return right

    def value(self, kind: pa.DataType, path: str, place: str, gold: Any, given: Any) -> bool:
        """Compare values of any type; return whether all judged ones in them are right."""
        if pa.types.is_struct(kind):
            return self.object_of(kind, path, place, gold, given)
        if is_single(kind):
            return self._single(kind, path, place, gold, given)
        places, pairs = self._pairs(kind, place, gold, given)
        return self._items(kind, item_path_of(kind, path), places, pairs)

    def _single(self, kind: pa.DataType, path: str, place: str, gold: Any, given: Any) -> bool:
        schema = schema_of_type(kind)
        wanted, stated = meaning_of(gold, schema), meaning_of(given, schema)
        if pa.types.is_string(kind):
            self.score.at(path).add_similarity([gold] if wanted else [], given if stated else None)
        return self.score.add(path, place, wanted, stated)

    def _pairs(
        self, kind: pa.DataType, place: str, gold: Any, given: Any
    ) -> tuple[list[str], list[tuple[Any, Any]]]:
        """Return the places of the items of a list or map, and pairs of right and given items."""
        if pa.types.is_map(kind):
            wanted, stated = _by_key(gold), _by_key(given)
            names = {key: name for key, (name, _) in [*wanted.items(), *stated.items()]}
            none = ("", None)
            return (
                [field_path(place, name) for name in names.values()],
                [(wanted.get(key, none)[1], stated.get(key, none)[1]) for key in names],
            )
        some, others = ([x for x in items or () if _states(x)] for items in (gold, given))
        indices = [at for at, item in enumerate(given or ()) if _states(item)]
        keys = [[list(_keys(item_type(kind), item)) for item in items] for items in (some, others)]
        pairs = best_pairs(*keys)
        return (
            [item_path(place, -1 if at is None else indices[at]) for _, at in pairs],
            [(x if x is None else some[x], y if y is None else others[y]) for x, y in pairs],
        )

    def _items(
        self,
        kind: pa.DataType,
        path: str,
        places: Sequence[str],
        pairs: Sequence[tuple[Any, Any]],
    ) -> bool:
        of_item = item_type(kind)
        if not pairs:
            self._judge(of_item, path)
        objects = None if is_single(of_item) else self.score.at(path)
        blank = _blank([wanted for wanted, _ in pairs])
        all_right = True
        for place, (wanted, stated) in zip(places, pairs, strict=True):
            judged = blank if wanted is None else wanted
            right = self.value(of_item, path, place, judged, stated)
            right &= (wanted is None) == (stated is None) or is_single(of_item)
            all_right &= right
            if objects is not None:
                objects.expected += wanted is not None
                objects.answered += stated is not None
                objects.matched += right and wanted is not None
        return all_right

    def _judge(self, kind: pa.DataType, path: str) -> None:
        """Count the fields of the items of an empty list as judged, and without a value."""
        if pa.types.is_struct(kind):
            for each in struct_fields(kind):
                self._judge(each.type, field_path(path, each.name))
        elif is_single(kind):
            self.score.at(path)
        else:
            items = item_path_of(kind, path)
            self.score.at(items)
            self._judge(item_type(kind), items)


def schema_of_type(kind: pa.DataType) -> JsonSchema:
    """Return a schema for values of a column's type, as far as it matters for their meaning."""
    if pa.types.is_date(kind):
        return {"type": "string", "format": "date"}
    return {"type": "string", "format": "date-time"} if pa.types.is_timestamp(kind) else {}


def _by_key(entries: Mapping[str, Any] | None) -> dict[str, tuple[str, Any]]:
    """Return the names and values of a map by names in a form for comparison."""
    return {value_key(name): (name, value) for name, value in (entries or {}).items()}


def _states(item: Any) -> bool:
    """Return whether an item of a list is there: not null, nor a text that states nothing."""
    return item is not None and not (isinstance(item, str) and is_filler(item))


def _keys(kind: pa.DataType, value: Any, path: str = "") -> Iterator[Hashable]:
    """Yield a key for each single value in an item, by which items are matched.

    A number with a unit has two, so that those with the same unit are matched first.
    """
    if value is None:
        return
    if is_single(kind):
        if meaning := meaning_of(value, schema_of_type(kind)):
            yield path, meaning.key
            if meaning.units:
                yield path, meaning
    elif pa.types.is_struct(kind):
        for each in struct_fields(kind):
            yield from _keys(each.type, value.get(each.name), field_path(path, each.name))
    else:
        named = value.items() if pa.types.is_map(kind) else (("", item) for item in value)
        for name, item in named:
            yield from _keys(item_type(kind), item, f"{path}[{value_key(name)}]")


def _blank(items: Iterable[Any]) -> Any:
    """Return an object with all fields that any of these objects has, each null; None without any.

    It is the gold of an item that the gold does not have: fields that are judged in no other item
    of the list are not judged in this one.
    """
    objects = [item for item in items if isinstance(item, Mapping)]
    if not objects:
        return None
    names = {name: None for item in objects for name in item}
    return {name: _blank([item.get(name) for item in objects]) for name in names}
