"""The Arrow types of a normalized schema, and its JSON values as Arrow expects them.

Depends on values and Arrow only; knows no engine, no files and no Ray.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

import pyarrow as pa

from pipelines.tasks.conversion import text_of
from pipelines.tasks.schema import JsonSchema, is_map, json_type

_SCALARS: Mapping[str, pa.DataType] = {
    "string": pa.string(),
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
}
_FORMATS: Mapping[str, pa.DataType] = {
    "date": pa.date32(),
    "date-time": pa.timestamp("us", tz="UTC"),
}


def arrow_type(schema: JsonSchema) -> pa.DataType:
    """Return the Arrow type of a column with values of a normalized schema.

    Dates and date-times have types of their own, a map is an Arrow map, and a fixed tuple a list.
    """
    kind = json_type(schema)
    if is_map(schema):
        return pa.map_(pa.string(), arrow_type(schema["additionalProperties"]))
    if kind == "object":
        fields = schema["properties"].items()
        return pa.struct([(name, arrow_type(subschema)) for name, subschema in fields])
    if kind == "array":
        return pa.list_(arrow_type(schema["items"]))
    if kind == "string" and schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    return _SCALARS[kind]


def column_error(value: Any, schema: JsonSchema) -> str | None:
    """Return a message if a JSON value does not fit the column of its schema, else None.

    A value that satisfies its schema may not fit: an integer of more than 64 bits, for example, or
    a string that cannot be encoded as UTF-8. The message is Arrow's, or Python's.
    """
    try:
        pa.array([to_arrow_value(value, schema)], arrow_type(schema))
    except (pa.ArrowException, ArithmeticError, ValueError) as error:
        return str(error)
    return None


def to_arrow_value(value: Any, schema: JsonSchema, *, typed: bool = False) -> Any:
    """Convert a JSON value that satisfies its schema to the Python value that Arrow expects.

    Strings with format `date` and `date-time` become `date` and `datetime`, in UTC; a time without
    a zone is taken as UTC. Numbers become float or int, as the schema says. A number or boolean
    becomes text if its schema has `texts`; with `typed`, for JSON, it stays. A property that an
    object lacks becomes None, and one that the schema does not have is dropped. Arrow returns equal
    values with `to_pylist(maps_as_pydicts="strict")`. Raises ValueError for an integer that a
    column of numbers cannot hold exactly, and for a string that is not a valid date or time.
    """
    if value is None:
        return None
    kind = json_type(schema)
    convert = partial(to_arrow_value, typed=typed)
    if is_map(schema):
        values = schema["additionalProperties"]
        return {name: convert(item, values) for name, item in value.items()}
    if kind == "object":
        properties = schema["properties"].items()
        return {name: convert(value.get(name), subschema) for name, subschema in properties}
    if kind == "array":
        return [convert(item, schema["items"]) for item in value]
    return value if typed and "texts" in schema else _scalar(value, schema, kind)


def _scalar(value: Any, schema: JsonSchema, kind: str) -> Any:
    if kind == "string" and schema.get("format") == "date":
        return date.fromisoformat(value)
    if kind == "string" and schema.get("format") == "date-time":
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    if kind == "string":
        return text_of(value) if "texts" in schema else value
    number = {"number": float, "integer": int}.get(kind, lambda same: same)(value)
    if number != value:
        raise ValueError(f"{value} cannot be stored exactly as a number of 64 bits")
    return number
