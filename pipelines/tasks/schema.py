"""The normalized schema of an extraction: from the job file's shorthand, and functions to read it.

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
    """Return the normalized schema of a task's `fields`, the shorthand for a schema.

    An example of `fields` is `{company: string, risks: [string]}`; the job file's checks have
    accepted it. Every value that is not a list or an item of one may be null, since a document need
    not state it; a list may be empty. A list of a type and a text, such as [string, "the issuer"],
    is a value of that type with a description.
    """
    return object_of({name: _of_shorthand(kind) for name, kind in fields.items()})


def _of_shorthand(kind: Any) -> dict[str, Any]:
    if isinstance(kind, list | tuple) and len(kind) == 2:
        return {**_of_shorthand(kind[0]), "description": " ".join(kind[1].split())}
    if isinstance(kind, Mapping):
        return {**from_shorthand(kind), "type": ["object", "null"]}
    if isinstance(kind, list | tuple):
        return {"type": "array", "items": not_null(_of_shorthand(kind[0]))}
    if kind == "date":
        return {"type": ["string", "null"], "format": "date"}
    return {"type": [kind, "null"]}


def object_of(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of an object that has exactly these properties, all of them required.

    `properties` has the schema of each property by name.
    """
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def not_null(schema: JsonSchema) -> dict[str, Any]:
    """Return a copy of a normalized schema that does not allow null."""
    result = {**schema, "type": json_type(schema)}
    if "enum" in result:
        result["enum"] = [value for value in result["enum"] if value is not None]
    return result


def or_null(schema: JsonSchema) -> dict[str, Any]:
    """Return a copy of a normalized schema that also allows null.

    A `const` becomes an `enum` of it and null, with the keyword `fixed`, by which a form shows the
    type and not the value.
    """
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

    It is the schema of an answer about one chunk, which need not state every field. Fields of
    nested objects may be null too. Items of arrays and values of maps stay as they are, and so does
    the property that tells the objects of a union apart.
    """
    return _with_fields(
        schema,
        lambda field: or_null(nullable(field) if json_type(field) == "object" else field),
    )


def lenient(schema: JsonSchema) -> dict[str, Any]:
    """Return a copy of a normalized schema in which every property at any depth may be null.

    It is the schema of answers of a task that is not `strict`: a document need not state a value
    even if the task's schema requires it. A list or map that may be empty does not become nullable,
    because an empty one says the same. The property that tells the objects of a union apart stays
    as it is. Unlike `nullable`, it also changes objects in lists and maps.
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
    """Return whether a normalized schema is that of a map: an object with any names.

    A Python type for it is `dict[str, X]`. The schema of its values is in `additionalProperties`.
    """
    return isinstance(schema.get("additionalProperties"), Mapping)


def is_tuple(schema: JsonSchema) -> bool:
    """Return whether a normalized schema is that of a fixed tuple.

    A fixed tuple is a list with a fixed number of items, each with a schema of its own in
    `prefixItems`. It is merged and verified as one value.
    """
    return "prefixItems" in schema


def member_of(value: Mapping[str, Any], schema: JsonSchema) -> JsonSchema:
    """Return the schema, among those of a union of objects, that an object belongs to.

    The members of a union are the schemas in `members`; an object belongs to the one that has, for
    the property that `discriminator` names, the object's value. Returns `schema` itself if it is
    not a union, or if the object belongs to none of its members.
    """
    for member in schema.get("members", ()):
        field = member["properties"][schema["discriminator"]]
        constants = field["enum"] if "enum" in field else [field["const"]]
        if value.get(schema["discriminator"]) in constants:
            chosen: JsonSchema = member
            return chosen
    return schema


def field_schemas(value: Mapping[str, Any], schema: JsonSchema) -> dict[str, JsonSchema]:
    """Return the schemas of the fields that an object has by its normalized schema, by name.

    They are the properties of the schema, in its order, or, if it is a union of objects, those of
    the member that `value` belongs to (`member_of`). Of a map they are the schema of its values for
    each name in `value`. {} if the schema is not that of an object.
    """
    if is_map(schema):
        values: JsonSchema = schema["additionalProperties"]
        return {name: values for name in value}
    return dict(member_of(value, schema).get("properties", {}))


def item_schema(schema: JsonSchema, index: int) -> JsonSchema:
    """Return the schema of the item at `index`, from 0, of a list with a normalized schema.

    In a fixed tuple each item has its own. {} if the schema has none for it.
    """
    fixed = schema.get("prefixItems", ())
    items: JsonSchema = fixed[index] if index < len(fixed) else schema.get("items", {})
    return items


def empty_value(schema: JsonSchema) -> Any:
    """Return the value of a field for which nothing is stated: [] or {} for a list or map, or None.

    It is None for a fixed tuple and any other value. A list is empty even if its schema allows
    null, because users with an optional list seldom expect null.
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
    """Return the name of a value's JSON type, such as "string"; an int is an "integer".

    A tuple is an "array", and a value of a type that JSON does not have an "object".
    """
    names = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    names |= {list: "array", tuple: "array"}
    return names.get(type(value), "object")


def json_type(schema: JsonSchema) -> str:
    """Return the JSON type of a normalized schema, e.g. "string" for `type: [string, "null"]`.

    Raises StopIteration if null is the only type, or if there is none, which normalizing rejects.
    """
    return next(kind for kind in json_types(schema) if kind != "null")
