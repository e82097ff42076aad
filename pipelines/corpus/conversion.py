"""Conversion of Arrow types, and of arrays to the types that other tools read, value by value
exactly.

Knows arrays; knows nothing of columns, files or of which types are chosen (kept_types.py).
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc


def is_list(kind: pa.DataType) -> bool:
    """Return whether a type is a list of any kind: large, fixed in size, a view. A map is none."""
    types = pa.types
    return bool(
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
        or types.is_list_view(kind)
        or types.is_large_list_view(kind)
    )


def fields_of(kind: pa.DataType) -> list[pa.Field]:
    """Return the fields directly within a type: those of a struct, or the items of a list."""
    return [kind.field(at) for at in range(kind.num_fields)]


def mapped_type(kind: pa.DataType, mapped: Callable[[pa.Field], pa.Field]) -> pa.DataType:
    """Return a type of which each field directly within is replaced by `mapped` of it. Lists become
    plain lists; a type without fields is returned as it is."""
    if pa.types.is_struct(kind):
        return pa.struct([mapped(field) for field in fields_of(kind)])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(mapped(kind.value_field))
    if pa.types.is_map(kind):
        return pa.map_(mapped(kind.key_field).with_nullable(False), mapped(kind.item_field))
    return kind


def is_uuid(kind: pa.DataType) -> bool:
    """Return whether a type is Arrow's and Parquet's UUID."""
    return isinstance(kind, pa.UuidType)


def convert(array: pa.Array, to: pa.DataType) -> pa.Array:
    """Return the values of an array as type `to`, the written type of its own type.

    Nested values are converted at any depth. Raises ArrowInvalid if a value cannot be kept exactly,
    such as a time with nanoseconds as microseconds.
    """
    kind = array.type
    if kind == to:
        return array
    if isinstance(kind, pa.BaseExtensionType):
        return uuid_texts(array) if is_uuid(kind) else convert(array.storage, to)
    if pa.types.is_dictionary(kind):
        return convert(array.dictionary_decode(), to)
    if pa.types.is_run_end_encoded(kind):
        return convert(pc.run_end_decode(array), to)
    if pa.types.is_struct(kind) and pa.types.is_struct(to):
        return _convert_struct(array, to)
    if is_list(kind) and pa.types.is_list(to):
        return replace_items(array, lambda items: convert(items, to.value_type))
    if pa.types.is_map(kind) and pa.types.is_map(to):
        return _convert_map(array, to)
    if pa.types.is_decimal256(kind) and pa.types.is_string(to):
        return pa.array([_digits(value) for value in array.to_pylist()], to)
    return pc.cast(array, to)


def _digits(value: object) -> str | None:
    return None if value is None else f"{value:f}"


def _convert_struct(array: pa.StructArray, to: pa.StructType) -> pa.StructArray:
    fields = [to.field(index) for index in range(to.num_fields)]
    children = [convert(array.field(index), field.type) for index, field in enumerate(fields)]
    return pa.StructArray.from_arrays(children, fields=fields, mask=pc.is_null(array))


def _convert_map(array: pa.MapArray, to: pa.MapType) -> pa.MapArray:
    offsets, start, length = _own_offsets(array)
    keys = convert(array.keys.slice(start, length), to.key_type)
    items = convert(array.items.slice(start, length), to.item_type)
    return pa.MapArray.from_arrays(offsets, keys, items, to, mask=array.is_null())


def replace_items(array: pa.Array, change: Callable[[pa.Array], pa.Array]) -> pa.ListArray:
    """Return a list array of any kind as one of plain lists, whose items are those that `change`
    returns for the items of the array; their number must stay."""
    if not pa.types.is_list(array.type):
        array = pc.cast(array, pa.list_(array.type.value_type))
    offsets, start, length = _own_offsets(array)
    items = change(array.values.slice(start, length))
    return pa.ListArray.from_arrays(offsets, items, mask=array.is_null())


def _own_offsets(array: pa.Array) -> tuple[pa.Array, int, int]:
    """Return the offsets of a list or map array, counted from its own first item, the position of
    that item among those of the array that it is a slice of, and the number of its items."""
    first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
    return pc.subtract(array.offsets, pa.scalar(first, pa.int32())), first, last - first


def uuid_texts(array: pa.ExtensionArray) -> pa.StringArray:
    """Return UUIDs as text, in lower case with hyphens, as every tool prints them."""
    return pa.array([_uuid_text(value) for value in array.storage.to_pylist()], pa.string())


def _uuid_text(value: bytes | None) -> str | None:
    if value is None:
        return None
    digits = value.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
