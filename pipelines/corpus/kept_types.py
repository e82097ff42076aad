"""The types with which kept columns are written, so that Spark, Iceberg, BigQuery and others read
them, and each value is exactly the file's.

Knows types only; conversion.py converts the values.
"""

from __future__ import annotations

import pyarrow as pa

from pipelines.corpus.conversion import fields_of, is_list, is_uuid, mapped_type

_WRITTEN = {
    pa.uint8(): pa.int32(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    # as Spark and BigQuery read it
    pa.uint64(): pa.decimal128(20, 0),
    pa.float16(): pa.float32(),
    pa.date64(): pa.date32(),
    pa.large_string(): pa.string(),
    pa.string_view(): pa.string(),
    pa.large_binary(): pa.binary(),
    pa.binary_view(): pa.binary(),
}
_UTC = frozenset({"UTC", "utc", "Z", "+00:00", "+0000", "Etc/UTC", "GMT", "Etc/GMT"})
# The most digits of a decimal in Spark, Iceberg, DuckDB and others.
_MAX_DIGITS = 38
_EXTENSION_NAME = b"ARROW:extension:name"
# Their meaning, such as the frequency of a period, is in metadata that only pandas reads.
_PANDAS_ONLY = ("pandas.period", "pandas.interval")


class UnsupportedType(Exception):
    """A type that no part can hold in a form that other tools read; the message says what it is,
    and what to do."""


def written_type(field: pa.Field) -> pa.DataType:
    """Return the type with which the values of a kept column, or of a field within one, are
    written. The result has plain types only, and the result for it is itself.

    - Unsigned integers become signed ones that hold all their values, and 64-bit ones
      decimal(20, 0); times and timestamps have microseconds; 16-bit floats have 32 bits.
    - UUID, JSON and decimals of more than 38 digits become text.
    - Dictionaries, views, large and fixed-size lists and strings become plain ones.

    Raises UnsupportedType.
    """
    kind = field.type
    name = _extension_name(field)
    if name in _PANDAS_ONLY:
        raise UnsupportedType(f"the type {name}, which only pandas can read; convert it to strings")
    if is_uuid(kind):
        return pa.string()
    if isinstance(kind, pa.Bool8Type):
        return pa.bool_()
    if isinstance(kind, pa.BaseExtensionType):
        return _written(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _written(kind.value_type)
    if pa.types.is_nested(kind):
        return _written_nested(kind)
    return _written_value(kind)


def _written(kind: pa.DataType) -> pa.DataType:
    return written_type(pa.field("", kind))


def _extension_name(field: pa.Field) -> str | None:
    """Return the name of an extension type, also of one that this process does not know."""
    if isinstance(field.type, pa.BaseExtensionType):
        return str(field.type.extension_name)
    name = (field.metadata or {}).get(_EXTENSION_NAME)
    return name.decode(errors="replace") if name else None


def _written_nested(kind: pa.DataType) -> pa.DataType:
    if is_list(kind):
        return pa.list_(written_type(kind.value_field))
    if pa.types.is_map(kind):
        return pa.map_(written_type(kind.key_field), written_type(kind.item_field))
    if not pa.types.is_struct(kind):
        raise UnsupportedType(f"the type {kind}; convert it, or remove it from input.keep_columns")
    if _is_variant(kind):
        raise UnsupportedType(
            f"the type Variant ({kind}), which would be lost; convert it to text, such as by "
            "to_json or CAST(... AS JSON)"
        )
    return pa.struct([(field.name, written_type(field)) for field in fields_of(kind)])


def _is_variant(kind: pa.StructType) -> bool:
    """Return whether a struct is how Parquet stores a Variant: Arrow does not read its mark."""
    types = {field.name: field.type for field in fields_of(kind)}
    names = types.keys() - {"typed_value"}
    return names == {"metadata", "value"} and all(pa.types.is_binary(types[n]) for n in names)


def _written_value(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz in _UTC else kind.tz)
    if pa.types.is_time(kind):
        return pa.time64("us")
    if pa.types.is_decimal(kind):
        fits = kind.precision <= _MAX_DIGITS
        return pa.decimal128(kind.precision, kind.scale) if fits else pa.string()
    if kind == pa.month_day_nano_interval():
        raise UnsupportedType("the type of intervals of months and days; convert it to strings")
    return _WRITTEN.get(kind, kind)


def without_nulls(kind: pa.DataType) -> pa.DataType:
    """Return a written type with strings in place of null types: a column without any value must
    have a type that other tools read."""
    if pa.types.is_null(kind):
        return pa.string()
    return mapped_type(kind, lambda field: field.with_type(without_nulls(field.type)))


def has_empty_struct(kind: pa.DataType) -> bool:
    """Return whether a type, or one within it, is a struct without fields."""
    inner = fields_of(kind)
    empty = pa.types.is_struct(kind) and not inner
    return empty or any(has_empty_struct(field.type) for field in inner)


def wider_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the written type, of these two, to which values of both convert exactly; None if
    there is none. A type of nulls only agrees with any."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    for narrow, wide in ((one, other), (other, one)):
        if _widens(narrow, wide):
            return wide
    if pa.types.is_list(one) and pa.types.is_list(other):
        inner = wider_type(one.value_type, other.value_type)
        return None if inner is None else pa.list_(inner)
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        return _wider_struct(one, other)
    return None


def _widens(narrow: pa.DataType, wide: pa.DataType) -> bool:
    types = pa.types
    if types.is_signed_integer(narrow) and types.is_signed_integer(wide):
        return bool(narrow.bit_width <= wide.bit_width)
    if types.is_decimal128(narrow) and types.is_decimal128(wide):
        return bool(narrow.scale == wide.scale and narrow.precision <= wide.precision)
    return bool(types.is_float32(narrow) and types.is_float64(wide))


def _wider_struct(one: pa.StructType, other: pa.StructType) -> pa.StructType | None:
    ours, theirs = fields_of(one), fields_of(other)
    if [field.name for field in ours] != [field.name for field in theirs]:
        return None
    types = [wider_type(a.type, b.type) for a, b in zip(ours, theirs, strict=True)]
    if any(kind is None for kind in types):
        return None
    return pa.struct([(field.name, kind) for field, kind in zip(ours, types, strict=True)])
