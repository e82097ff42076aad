"""Older and other spellings of JSON Schema, and wrappers around one, in draft 2020-12.

Knows no columns and no tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.tasks.schema import JsonSchema
from pipelines.tasks.subschemas import copied, subschemas

# The keys under which tools' APIs wrap a schema, such as {name, strict, schema}.
_WRAPPERS = (
    "schema", "json_schema", "schema_definition", "parameters", "input_schema", "function",
)  # fmt: skip
# A mapping with one of these is a schema itself.
_SCHEMA_KEYS = (
    "$ref", "$defs", "allOf", "anyOf", "const", "definitions", "enum", "items", "oneOf",
    "prefixItems", "properties",
)  # fmt: skip
_RANGES = (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum"))


def unwrapped(schema: JsonSchema, where: str) -> tuple[JsonSchema, str]:
    """Return the schema inside wrappers such as OpenAI's {name, strict, schema}, and its key path.

    `where` is the key path of `schema` in the job file; the key of each wrapper is added to it. A
    schema without a wrapper is returned as it is. The other keys of a wrapper, such as `strict`,
    have no effect: answers follow the schema in any case.
    """
    while not any(key in schema for key in _SCHEMA_KEYS):
        inner = [key for key in _WRAPPERS if isinstance(schema.get(key), Mapping)]
        if len(inner) != 1:
            break
        schema, where = schema[inner[0]], f"{where}.{inner[0]}"
    return schema, where


def modernized(schema: JsonSchema) -> dict[str, Any]:
    """Return a copy of a schema with keywords of older drafts and of OpenAPI as in draft 2020-12.

    In the schema and all schemas within it, a list in `items` becomes `prefixItems`,
    `additionalItems` beside it becomes `items`, and a boolean `exclusiveMinimum` or
    `exclusiveMaximum` becomes the number that it makes exclusive.
    """
    result = copied(schema)
    for subschema in list(subschemas(result)):
        # a copy of our own, of plain dicts
        _modernize(subschema.schema)  # type: ignore[arg-type]
    return result


def _modernize(schema: dict[str, Any]) -> None:
    if isinstance(schema.get("items"), list | tuple) and "prefixItems" not in schema:
        schema["prefixItems"] = list(schema.pop("items"))
        if "additionalItems" in schema:
            schema["items"] = schema["additionalItems"]
    schema.pop("additionalItems", None)
    for bound, exclusive in _RANGES:
        if schema.get(exclusive) is True and bound in schema:
            schema[exclusive] = schema.pop(bound)
        elif isinstance(schema.get(exclusive), bool):
            del schema[exclusive]
