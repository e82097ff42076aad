"""Converts JSON values of an answer to the types of a normalized schema. Knows no columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipelines.tasks.schema import JsonSchema, field_schemas, is_tuple, item_schema


def text_of(value: Any) -> str:
    """Return a scalar JSON value as text: a string unchanged, others as JSON, such as `true`."""
    return value if isinstance(value, str) else json.dumps(value)


def converted(value: Any, schema: JsonSchema) -> Any:
    """Return a JSON value of an answer with scalars and lists as its normalized schema stores them.

    A number or boolean becomes its text if the schema has `texts`, as a column for alternatives of
    several types has. A list with `uniqueItems` keeps the first of equal items: the model saw the
    same thing twice. Lists and objects are converted at any depth. Parts that do not have the
    schema's type stay as they are, for validation to find.
    """
    if "texts" in schema and isinstance(value, int | float):
        return text_of(value)
    if isinstance(value, list) and "items" in schema:
        return _list(value, schema)
    if not isinstance(value, Mapping) or "properties" not in schema:
        return value
    fields = field_schemas(value, schema)
    return {name: converted(item, fields.get(name, {})) for name, item in value.items()}


def _list(value: list[Any], schema: JsonSchema) -> list[Any]:
    items = [converted(item, item_schema(schema, index)) for index, item in enumerate(value)]
    if is_tuple(schema) or not schema.get("uniqueItems"):
        return items
    first: dict[str, Any] = {}
    for item in items:
        first.setdefault(json.dumps(item, sort_keys=True), item)
    return list(first.values())
