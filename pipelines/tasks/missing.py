"""The gaps of an answer that was cut off: empty values, and keywords that no longer hold.

Knows schemas, and nothing of answers as text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.tasks.schema import JsonSchema, json_type, json_types


def completed(value: Any, schema: JsonSchema) -> Any:
    """Return a value with null, or an empty list, for all that a cut-off answer does not have."""
    if json_type(schema) == "array":
        return [] if value is None and "null" not in json_types(schema) else value
    if json_type(schema) != "object" or not isinstance(value, Mapping):
        return value
    return {
        **value,
        **{
            name: completed(value.get(name), field_schema)
            for name, field_schema in schema["properties"].items()
        },
    }


def without_min_items(schema: Any) -> Any:
    """Return a copy of a schema without the keyword `minItems`, which is no property here."""
    if isinstance(schema, list):
        return [without_min_items(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {
        key: part if key in ("enum", "const") else without_min_items(part)
        for key, part in schema.items()
        if key != "minItems" or isinstance(part, Mapping)
    }
