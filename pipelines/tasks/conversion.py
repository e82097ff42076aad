"""Converts JSON values of an answer to the types of a normalized schema. Knows no columns.

A value of a schema with `texts`, for alternatives of several types, has the type of one of them
(`converted`), although its column holds the text of it (`with_texts`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from pipelines.tasks.schema import JsonSchema, field_schemas, is_tuple, item_schema, json_type

# An integer as JSON has it, of up to 64 bits: neither 007 nor +7.
_INTEGER = re.compile(r"-?[1-9][0-9]{0,17}|0")
_Convert = Callable[[Any, JsonSchema], Any]


def text_of(value: Any) -> str:
    """Return a scalar JSON value as text: a string unchanged, others as JSON, such as `true`."""
    return value if isinstance(value, str) else json.dumps(value)


def converted(value: Any, schema: JsonSchema) -> Any:
    """Return a JSON value of an answer with scalars and lists of the types of its normalized
    schema.

    The text of an integer becomes an integer if the schema has `texts` and one of them is for
    integers: a model writes 3 in either way. A list with `uniqueItems` keeps the first of equal
    items: the model saw the same thing twice. Lists and objects are converted at any depth. Parts
    that do not have the schema's type stay as they are, for validation to find.
    """
    return _converted(value, schema, _typed)


def with_texts(value: Any, schema: JsonSchema) -> Any:
    """Return a JSON value in which numbers and booleans are texts where the schema has `texts`.

    It then has the types of the normalized schema, at any depth.
    """
    return _converted(value, schema, _as_text)


def _typed(value: Any, schema: JsonSchema) -> Any:
    if not isinstance(value, str) or not _INTEGER.fullmatch(value):
        return value
    is_integer = any(json_type(choice) == "integer" for choice in schema["texts"])
    return int(value) if is_integer else value


def _as_text(value: Any, schema: JsonSchema) -> Any:
    return text_of(value) if isinstance(value, int | float) else value


def _converted(value: Any, schema: JsonSchema, convert: _Convert) -> Any:
    if "texts" in schema:
        return convert(value, schema)
    if isinstance(value, list) and "items" in schema:
        return _list(value, schema, convert)
    if not isinstance(value, Mapping):
        return value
    fields = field_schemas(value, schema)
    return {name: _converted(item, fields.get(name, {}), convert) for name, item in value.items()}


def _list(value: list[Any], schema: JsonSchema, convert: _Convert) -> list[Any]:
    items = [
        _converted(item, item_schema(schema, index), convert) for index, item in enumerate(value)
    ]
    if is_tuple(schema) or not schema.get("uniqueItems"):
        return items
    first: dict[str, Any] = {}
    for item in items:
        first.setdefault(json.dumps(item, sort_keys=True), item)
    return list(first.values())
