"""Converts JSON values of an answer to the types of a normalized schema. Knows no columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipelines.tasks.schema import JsonSchema, is_map


def text_of(value: Any) -> str:
    """Return the text of a scalar, as JSON writes it: a string is its own text."""
    return value if isinstance(value, str) else json.dumps(value)


def converted(value: Any, schema: JsonSchema) -> Any:
    """Return a JSON value with scalars as text where the schema has `texts`, and sets as sets.

    A list whose items must differ loses repeated ones: the model saw the same thing twice. Parts
    that do not have the schema's type stay as they are, for validation to find.
    """
    if "texts" in schema and isinstance(value, int | float):
        return text_of(value)
    if isinstance(value, list) and "items" in schema:
        return _list(value, schema)
    if not isinstance(value, Mapping) or "properties" not in schema:
        return value
    if is_map(schema):
        values = schema["additionalProperties"]
        return {name: converted(item, values) for name, item in value.items()}
    fields = member_of(value, schema)["properties"]
    return {name: converted(item, fields.get(name, {})) for name, item in value.items()}


def _list(value: list[Any], schema: JsonSchema) -> list[Any]:
    if "prefixItems" in schema:
        fixed = schema["prefixItems"]
        items = [converted(item, at) for item, at in zip(value, fixed, strict=False)]
        return [*items, *value[len(fixed) :]]
    items = [converted(item, schema["items"]) for item in value]
    if not schema.get("uniqueItems"):
        return items
    first: dict[str, Any] = {}
    for item in items:
        first.setdefault(json.dumps(item, sort_keys=True), item)
    return list(first.values())


def member_of(value: Mapping[str, Any], schema: JsonSchema) -> JsonSchema:
    """Return the member of a union of objects that a value belongs to; the schema itself if there
    is none, or if it is not a union."""
    for member in schema.get("members", ()):
        field = member["properties"][schema["discriminator"]]
        constants = field["enum"] if "enum" in field else [field["const"]]
        if value.get(schema["discriminator"]) in constants:
            chosen: JsonSchema = member
            return chosen
    return schema
