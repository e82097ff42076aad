"""The normalized schema of an extraction: from the job file's shorthand, and its basic questions.

A normalized schema is a JSON Schema in which every value has one type, so that it has a column
(`arrow.py`): an object with named properties, a map of names to values of one schema, an array, a
string, number, integer, boolean or date, each optionally null. `normalizing.py` makes one of a JSON
Schema. Keywords that restrict a value further (enum, pattern, minimum, ...) stay in the schema:
the engine's decoding enforces those that it can (`decoding.py`), and `validation.py` all of them.

Three keywords are not of JSON Schema. A string with `texts` holds the text of a value of one of
these schemas, such as "3" or "true". An object with `members` is one of several objects, which a
property named by `discriminator` tells apart; its own properties are those of all of them.
Knows no prompts and no engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

JsonSchema = Mapping[str, Any]
"""A JSON Schema that is an object, as parsed from JSON or YAML."""


def from_shorthand(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the normalized schema of a task's `fields`, as `{company: string, risks: [string]}`.

    Every value that is not a list may be null, since a document need not state it; a list may be
    empty.
    """
    return object_of({name: _of_shorthand(kind) for name, kind in fields.items()})


def _of_shorthand(kind: Any) -> dict[str, Any]:
    if isinstance(kind, Mapping):
        return {**from_shorthand(kind), "type": ["object", "null"]}
    if isinstance(kind, list | tuple):
        return {"type": "array", "items": not_null(_of_shorthand(kind[0]))}
    if kind == "date":
        return {"type": ["string", "null"], "format": "date"}
    return {"type": [kind, "null"]}


def object_of(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of an object that has exactly these properties."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def not_null(schema: JsonSchema) -> dict[str, Any]:
    """Return a normalized schema that does not allow null."""
    result = {**schema, "type": json_type(schema)}
    if "enum" in result:
        result["enum"] = [value for value in result["enum"] if value is not None]
    return result


def or_null(schema: JsonSchema) -> dict[str, Any]:
    """Return a normalized schema that also allows null."""
    result = {**schema, "type": [json_type(schema), "null"]}
    if None not in result.get("enum", [None]):
        result["enum"] = [*result["enum"], None]
    if "const" in result and result["const"] is not None:
        result["enum"] = [result.pop("const"), None]
        # a form shows the type of a constant, not its value
        result["fixed"] = True
    if "anyOf" in result and {"type": "null"} not in result["anyOf"]:
        result["anyOf"] = [*result["anyOf"], {"type": "null"}]
    return result


def nullable(schema: JsonSchema) -> dict[str, Any]:
    """Return a copy of a normalized object schema in which every field may be null.

    So may the fields of nested objects, but items of arrays stay as they are.
    """
    return _with_fields(
        schema,
        lambda field: or_null(nullable(field) if json_type(field) == "object" else field),
    )


def lenient(schema: JsonSchema) -> dict[str, Any]:
    """Return a copy of a normalized schema in which every property at any depth may be null.

    A document need not state a value even if the schema requires it. Lists may be empty instead,
    and so stay, unless they must have items.
    """
    kind = json_type(schema)
    if kind == "array":
        return {**schema, "items": lenient(schema["items"])}
    if kind != "object":
        return dict(schema)
    if is_map(schema):
        return {**schema, "additionalProperties": lenient(schema["additionalProperties"])}
    return _with_fields(schema, _lenient_field)


def _lenient_field(field: JsonSchema) -> dict[str, Any]:
    result = lenient(field)
    kind = json_type(field)
    empty_is_allowed = kind == "array" and not field.get("minItems")
    empty_is_allowed = empty_is_allowed or (is_map(field) and not field.get("minProperties"))
    return result if empty_is_allowed else or_null(result)


def _with_fields(
    schema: JsonSchema, change: Callable[[JsonSchema], dict[str, Any]]
) -> dict[str, Any]:
    """Return an object schema with changed properties, also of its members.

    The property that tells members apart stays: without it nothing is known of the object.
    """
    kept = schema.get("discriminator")
    properties = {
        name: dict(field) if name == kept else change(field)
        for name, field in schema["properties"].items()
    }
    result = {**schema, "properties": properties}
    if "members" in schema:
        result["members"] = [_with_fields(member, change) for member in schema["members"]]
    return result


def is_map(schema: JsonSchema) -> bool:
    """Return whether a normalized schema is of objects with any names, as `dict[str, X]`.

    The schema of their values is `additionalProperties`.
    """
    return isinstance(schema.get("additionalProperties"), Mapping)


def is_tuple(schema: JsonSchema) -> bool:
    """Return whether a normalized schema is of lists with a schema for each item: one value."""
    return "prefixItems" in schema


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


def field_schemas(value: Mapping[str, Any], schema: JsonSchema) -> dict[str, JsonSchema]:
    """Return the schemas of the fields that an object has by its schema, by name, in order.

    They are the properties of the schema or, in a union, of the member that `value` belongs to; of
    a map, one for each name in `value`.
    """
    if is_map(schema):
        values: JsonSchema = schema["additionalProperties"]
        return {name: values for name in value}
    return dict(member_of(value, schema).get("properties", {}))


def item_schema(schema: JsonSchema, index: int) -> JsonSchema:
    """Return the schema of a list's item; {} if it has none."""
    fixed = schema.get("prefixItems", ())
    items: JsonSchema = fixed[index] if index < len(fixed) else schema.get("items", {})
    return items


def empty_value(schema: JsonSchema) -> Any:
    """Return the value of a field for which nothing is stated: an empty list or map, else null.

    A list may be null as well, but readers with an optional list seldom expect that.
    """
    if is_map(schema):
        return {}
    return [] if "array" in json_types(schema) and not is_tuple(schema) else None


def json_types(schema: JsonSchema) -> list[str]:
    """Return the names of the JSON types that a schema allows, such as ["string", "null"].

    They are those in `type`. Without it, they are the types of the values in `enum` and `const`, so
    there are none if the schema has none of the three.
    """
    given = schema.get("type")
    if isinstance(given, str):
        return [given]
    if given is not None:
        return list(given)
    values = [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else ())]
    return list(dict.fromkeys(map(type_of, values)))


def type_of(value: Any) -> str:
    """Return the JSON type of a value."""
    names = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    names |= {list: "array", tuple: "array"}
    return names.get(type(value), "object")


def json_type(schema: JsonSchema) -> str:
    """Return the JSON type of a normalized schema, e.g. "string" for `type: [string, "null"]`."""
    return next(kind for kind in json_types(schema) if kind != "null")
