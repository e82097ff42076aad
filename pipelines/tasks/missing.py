"""Fill in what an answer lacks that was cut off, and relax a schema for it.

Knows schemas, and nothing of answers as text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.tasks.schema import JsonSchema, empty_value, field_schemas, is_map, is_tuple


def completed(value: Any, schema: JsonSchema) -> Any:
    """Return a value with null, or an empty list or map, for all that a cut-off answer lacks.

    `value` is a field of an answer that its token limit cut off, without its incomplete parts, and
    None if nothing of it is complete; `schema` is its normalized schema. Missing properties of
    objects are added, also in objects of objects; lists and their items stay as they are. A fixed
    tuple with too few items becomes null, and an entry of a map whose object or tuple is incomplete
    is removed.
    """
    if is_tuple(schema) and isinstance(value, list) and len(value) < len(schema["prefixItems"]):
        value = None
    if value is None:
        return empty_value(schema)
    if not isinstance(value, Mapping):
        return value
    fields = field_schemas(value, schema)
    if is_map(schema):
        return {
            name: completed(item, fields[name])
            for name, item in value.items()
            if not _is_incomplete(item, fields[name])
        }
    return {**value, **{name: completed(value.get(name), field) for name, field in fields.items()}}


def _is_incomplete(value: Any, schema: JsonSchema) -> bool:
    """Return whether an object or a tuple in a map lacks a part that its schema has."""
    if isinstance(value, Mapping):
        return any(
            name not in value or _is_incomplete(value[name], field)
            for name, field in field_schemas(value, schema).items()
        )
    return is_tuple(schema) and isinstance(value, list) and len(value) < len(schema["prefixItems"])


def without_least_counts(schema: Any) -> Any:
    """Return a copy of a schema without the keywords `minItems` and `minProperties` at any depth.

    An answer that was cut off is validated with it, since its lists and maps may be too short. A
    property that has such a name stays, and so do the values of `enum` and `const`. A value that is
    neither a mapping nor a list is returned as it is.
    """
    if isinstance(schema, list):
        return [without_least_counts(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {
        key: part if key in ("enum", "const") else without_least_counts(part)
        for key, part in schema.items()
        # a property may have such a name
        if key not in ("minItems", "minProperties") or isinstance(part, Mapping)
    }
