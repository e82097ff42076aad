"""The place of a column in a file: at the top of its schema, or a field of a struct (`body.text`).

Knows schemas and arrays; knows nothing of ids, texts or files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.corpus.conversion import is_list, replace_items

Place = tuple[str, ...]
"""The names on the way to a column: ("body", "text") for the field `text` of the struct `body`."""


def find_place(schema: pa.Schema, name: str) -> Place | None:
    """Return the place of the column `name` in a schema, or None if it has none.

    A column with exactly this name comes first, also one whose name has dots in it. Otherwise the
    name is a path of names separated by dots, through structs and lists of structs.
    """
    return _find(list(schema), name)


def _find(fields: Sequence[pa.Field], name: str) -> Place | None:
    if any(field.name == name for field in fields):
        return (name,)
    for field in fields:
        if name.startswith(f"{field.name}."):
            rest = _find(_fields_within(field.type), name[len(field.name) + 1 :])
            if rest is not None:
                return (field.name, *rest)
    return None


def _fields_within(kind: pa.DataType) -> list[pa.Field]:
    """Return the fields of a struct, or of the structs in a list; no fields for other types."""
    if is_list(kind):
        return _fields_within(kind.value_type)
    if not pa.types.is_struct(kind):
        return []
    return [kind.field(index) for index in range(kind.num_fields)]


def field_at(schema: pa.Schema, place: Place) -> pa.Field:
    """Return the field of a schema at `place`; its type is a list if the way leads through one."""
    return _field_at(schema.field(place[0]), place[1:])


def _field_at(field: pa.Field, names: Place) -> pa.Field:
    if not names:
        return field
    if is_list(field.type):
        inner = _field_at(field.type.value_field, names)
        return pa.field(inner.name, pa.list_(inner))
    return _field_at(field.type.field(names[0]), names[1:])


def pick(rows: pa.Table | pa.RecordBatch, place: Place) -> pa.ChunkedArray:
    """Return the column of `rows` at `place`; a value within a null struct is null."""
    column = rows.column(place[0])
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    picked = [_pick(chunk, place[1:]) for chunk in chunks]
    return pa.chunked_array(picked, field_at(rows.schema, place).type if not picked else None)


def _pick(array: pa.Array, names: Place) -> pa.Array:
    if not names:
        return array
    if is_list(array.type):
        return replace_items(array, lambda items: _pick(items, names))
    return _pick(pc.struct_field(array, [names[0]]), names[1:])


def paths_to_read(schema: pa.Schema, places: Iterable[Place]) -> list[str]:
    """Return the names by which `ParquetFile.iter_batches` selects the columns at `places`: dotted,
    down to the first list."""
    return [".".join(_up_to_list(schema, place)) for place in places]


def _up_to_list(schema: pa.Schema, place: Place) -> Place:
    for depth in range(1, len(place)):
        if is_list(field_at(schema, place[:depth]).type):
            return place[:depth]
    return place


def schema_within(schema: pa.Schema, places: Iterable[Place]) -> pa.Schema:
    """Return the part of a schema that has the columns at `places`, and nothing else within their
    structs."""
    return pa.schema(_only(list(schema), list(places)))


def _only(fields: Sequence[pa.Field], places: Sequence[Place]) -> list[pa.Field]:
    chosen = []
    for field in fields:
        within = [place[1:] for place in places if place[0] == field.name]
        if within:
            chosen.append(field.with_type(_only_type(field.type, within)))
    return chosen


def _only_type(kind: pa.DataType, places: Sequence[Place]) -> pa.DataType:
    if () in places:
        return kind
    if is_list(kind):
        return pa.list_(_only_type(kind.value_type, places))
    return pa.struct(_only(_fields_within(kind), places))


def replace_type(schema: pa.Schema, place: Place, kind: pa.DataType) -> pa.Schema:
    """Return a schema in which the column at `place` has the type `kind`; a list of such values if
    the way leads through one."""
    index = schema.get_field_index(place[0])
    field = schema.field(index)
    return schema.set(index, field.with_type(_replaced(field.type, place[1:], kind)))


def _replaced(kind: pa.DataType, names: Place, to: pa.DataType) -> pa.DataType:
    if not names:
        return to
    if is_list(kind):
        return pa.list_(_replaced(kind.value_type, names, to.value_type))
    fields = [
        field.with_type(_replaced(field.type, names[1:], to)) if field.name == names[0] else field
        for field in _fields_within(kind)
    ]
    return pa.struct(fields)
