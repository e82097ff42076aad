"""The types of columns as a Delta table has them, and those that it cannot have.

Knows Arrow types only.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
from pyarrow import types

from pipelines.errors import SpecError

_SAME = (
    types.is_boolean, types.is_signed_integer, types.is_float32, types.is_float64,
    types.is_decimal128, types.is_date32, types.is_string, types.is_large_string,
    types.is_string_view, types.is_binary, types.is_large_binary, types.is_binary_view,
)  # fmt: skip


def delta_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema of a Delta table whose files have `schema`.

    Raises SpecError if Delta has no type for a column, or if two columns differ only in upper and
    lower case, which Delta does not distinguish. Types are refused for which the files of the table
    would be read with other values, such as unsigned integers, although `deltalake` accepts them.
    """
    if faults := [*_equal_names(list(schema), ""), *_faults(list(schema), "")]:
        raise SpecError(
            "output.table: a Delta table cannot have these columns:\n  "
            + "\n  ".join(faults)
            + "\nRemove output.table, or leave the columns out of input.keep_columns"
        )
    return pa.schema([pa.field(field.name, _converted(field.type)) for field in schema])


def _fields(kind: pa.DataType) -> list[pa.Field]:
    """Return the fields within a type that Delta has too: of a struct, a list or a map."""
    if types.is_struct(kind):
        return [kind.field(at) for at in range(kind.num_fields)]
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return [kind.value_field]
    return [kind.key_field, kind.item_field] if types.is_map(kind) else []


def _faults(fields: list[pa.Field], prefix: str) -> Iterator[str]:
    for field in fields:
        name, inner = f"{prefix}{field.name}", _fields(field.type)
        if inner:
            yield from _faults(inner, f"{name}.")
        elif not _is_allowed(field.type):
            yield f"{name}: {field.type}"
        if types.is_struct(field.type):
            yield from _equal_names(inner, f"{name}.")


def _equal_names(fields: list[pa.Field], prefix: str) -> Iterator[str]:
    seen: dict[str, str] = {}
    for field in fields:
        earlier = seen.setdefault(field.name.lower(), field.name)
        if earlier != field.name:
            yield f"{prefix}{field.name}: differs from {prefix}{earlier} only in case"


def _is_allowed(kind: pa.DataType) -> bool:
    if types.is_timestamp(kind):
        return bool(kind.unit == "us")
    return any(check(kind) for check in _SAME)


def _converted(kind: pa.DataType) -> pa.DataType:
    """Return the type with all zones of times replaced by UTC: Delta keeps the moment only."""
    if types.is_timestamp(kind):
        return pa.timestamp("us", "UTC") if kind.tz else kind
    if types.is_struct(kind):
        return pa.struct([(field.name, _converted(field.type)) for field in _fields(kind)])
    if types.is_map(kind):
        return pa.map_(_converted(kind.key_type), _converted(kind.item_type))
    return pa.list_(_converted(kind.value_type)) if _fields(kind) else kind
