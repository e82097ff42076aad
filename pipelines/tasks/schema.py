"""The schema of an extraction: JSON Schema in, Arrow types and typed values out.

A schema is plain JSON Schema data of which every place has one type, so that it has a column:
objects with named properties, arrays of one kind of item, strings, numbers, integers, booleans,
dates, and null beside any of them. What restricts a value further (enum, pattern, minimum...) is
left to the engine's decoding and to jsonschema. Knows no prompts and no engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError

from pipelines.errors import SpecError
from pipelines.tasks.subschemas import self_contained, subschemas
from pipelines.tasks.validation import JsonSchema

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
# Of a schema itself no format is checked: `regex` would compile it as Python's.
_NO_FORMATS = FormatChecker(())
# More than a table has columns, or a model fills in.
_MOST_PLACES = 2000
# Where no reference stands any more.
_PUT_IN = ("properties", "items")


def from_shorthand(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Schema of the job file's shorthand: `{company: string, risks: [string]}`.

    Any single value may be null, for a document need not say it; a list may be empty.
    """
    return _object({name: _of_shorthand(kind) for name, kind in fields.items()})


def _of_shorthand(kind: Any) -> dict[str, Any]:
    if isinstance(kind, Mapping):
        return {**from_shorthand(kind), "type": ["object", "null"]}
    if isinstance(kind, list | tuple):
        return {"type": "array", "items": _not_null(_of_shorthand(kind[0]))}
    if kind == "date":
        return {"type": ["string", "null"], "format": "date"}
    return {"type": [kind, "null"]}


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "type": kind_of(schema)}


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def normalised(schema: JsonSchema, where: str) -> dict[str, Any]:
    """A schema from a file in the form that the rest of this module takes.

    References to its own definitions are put in their place, `anyOf` with null becomes a type with
    null, and so do properties that need not be there: now all must be, and none besides. Raises
    SpecError at `where`.
    """
    schema = self_contained(schema, where)
    try:
        Draft202012Validator.check_schema(schema, format_checker=_NO_FORMATS)
    except SchemaError as error:
        raise SpecError(f"{where}: not a JSON Schema: {error.message}") from error
    for each in subschemas(schema):
        if "patternProperties" in each.schema:
            place = ".".join((where, *each.keys, "patternProperties"))
            raise SpecError(f"{place}: a column's fields have names; list them in properties")
    whole = _normalised(schema, _Root(schema), where, ())
    if whole["type"] != "object" or not whole["properties"]:
        raise SpecError(f"{where}: must be an object with at least one property")
    return whole


class _Root:
    """The schema that references are looked up in, and how many places it has come to so far: a
    few definitions that refer to each other twice each would come to millions."""

    def __init__(self, schema: JsonSchema) -> None:
        self.schema = schema
        self._places = 0

    def count(self, where: str) -> None:
        self._places += 1
        if self._places > _MOST_PLACES:
            raise SpecError(f"{where}: more than {_MOST_PLACES} places, with definitions put in")


def _normalised(
    schema: JsonSchema, root: _Root, where: str, seen: tuple[str, ...]
) -> dict[str, Any]:
    root.count(where)
    if not isinstance(schema, Mapping):
        raise SpecError(f"{where}: {schema}, must be a schema that names a type")
    if reference := schema.get("$ref"):
        if reference in seen:
            raise SpecError(f"{where}: {reference} contains itself; a column has a fixed depth")
        target = _referred(str(reference), root.schema, where)
        own = {key: value for key, value in schema.items() if key != "$ref"}
        return _normalised({**target, **own}, root, where, (*seen, str(reference)))
    if "anyOf" in schema or "oneOf" in schema:
        return _without_choice(schema, root, where, seen)
    kind = _one_type(schema, where)
    named = {key: value for key, value in schema.items() if key not in ("$defs", "definitions")}
    nullable = "null" in types_of(schema) or ("enum" in schema and None in schema["enum"])
    named["type"] = [kind, "null"] if nullable else kind
    if kind == "object":
        required = schema.get("required", ())
        properties = {
            name: each if name in required else _or_null(each)
            for name, each in _properties(schema, root, where, seen)
        }
        if not properties:
            raise SpecError(f"{where}: an object must name its properties")
        named |= {**_object(properties), "type": named["type"]}
    if kind == "array":
        if not isinstance(schema.get("items"), Mapping):
            raise SpecError(f"{where}: an array must say what its items are")
        named["items"] = _normalised(schema["items"], root, f"{where}.items", seen)
    rest = {key: value for key, value in named.items() if key not in _PUT_IN}
    for each in subschemas(rest):
        if "$ref" in each.schema:
            raise SpecError(
                f"{where}.{each.keys[0]}: a $ref is not followed here; write the definition out"
            )
    return named


def _properties(
    schema: JsonSchema, root: _Root, where: str, seen: tuple[str, ...]
) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, each in schema.get("properties", {}).items():
        yield name, _normalised(each, root, f"{where}.properties.{name}", seen)


def _referred(reference: str, root: JsonSchema, where: str) -> JsonSchema:
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part) if isinstance(found, Mapping) else None
    if not reference.startswith("#/") or not isinstance(found, Mapping):
        raise SpecError(f"{where}: {reference} is no definition in this schema")
    return found


def _without_choice(
    schema: JsonSchema, root: _Root, where: str, seen: tuple[str, ...]
) -> dict[str, Any]:
    key = "anyOf" if "anyOf" in schema else "oneOf"
    choices = [each for each in schema[key] if not _is_null(each)]
    if len(choices) != 1 or not isinstance(choices[0], Mapping):
        raise SpecError(f"{where}.{key}: a column has one type, and perhaps null")
    own = {name: value for name, value in schema.items() if name != key}
    only = _normalised({**choices[0], **own}, root, where, seen)
    return _or_null(only) if len(choices) < len(schema[key]) else only


def _is_null(schema: Any) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") == "null"


def _or_null(schema: JsonSchema) -> dict[str, Any]:
    """A normalised place that may be null besides."""
    either = {**schema, "type": [kind_of(schema), "null"]}
    if None not in either.get("enum", [None]):
        either["enum"] = [*either["enum"], None]
    return either


def nullable(schema: JsonSchema) -> dict[str, Any]:
    """A normalised object whose every field may be null, those of objects within it too."""
    properties = {
        name: _or_null(nullable(each) if kind_of(each) == "object" else each)
        for name, each in schema["properties"].items()
    }
    return {**schema, "properties": properties}


def _one_type(schema: JsonSchema, where: str) -> str:
    kinds = [each for each in types_of(schema) if each != "null"]
    if len(kinds) != 1 or kinds[0] not in (*_SCALARS, "object", "array"):
        found = " or ".join(kinds) or "none"
        known = ", ".join((*_SCALARS, "object", "array"))
        raise SpecError(f"{where}.type: {found}, must be one of {known}, perhaps with null")
    return str(kinds[0])


def types_of(schema: JsonSchema) -> list[str]:
    """The types that a place may have; of an enum without a type, those of its values."""
    given = schema.get("type")
    if isinstance(given, str):
        return [given]
    if given is not None:
        return list(given)
    names = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    values = [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else ())]
    return list(dict.fromkeys(names.get(type(value), "object") for value in values))


def kind_of(schema: JsonSchema) -> str:
    """The one type of a place, null left out."""
    return next(each for each in types_of(schema) if each != "null")


def arrow_type(schema: JsonSchema) -> pa.DataType:
    """The Arrow type of a place of a normalised schema."""
    kind = kind_of(schema)
    if kind == "object":
        return pa.struct([(n, arrow_type(each)) for n, each in schema["properties"].items()])
    if kind == "array":
        return pa.list_(arrow_type(schema["items"]))
    if kind == "string" and schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    return _SCALARS[kind]


def column_fault(value: Any, schema: JsonSchema) -> str | None:
    """Why a JSON value that keeps its schema has no place in its column, if it has none.

    A column's integers have 64 bits, and its texts can be written as UTF-8.
    """
    try:
        pa.array([typed(value, schema)], arrow_type(schema))
    except (pa.ArrowException, ArithmeticError, ValueError) as error:
        return str(error)
    return None


def typed(value: Any, schema: JsonSchema) -> Any:
    """A JSON value that keeps its schema, as Arrow takes it: dates and times made of their text."""
    if value is None:
        return None
    kind = kind_of(schema)
    if kind == "object":
        properties = schema["properties"]
        return {name: typed(value.get(name), each) for name, each in properties.items()}
    if kind == "array":
        return [typed(item, schema["items"]) for item in value]
    if kind == "string" and schema.get("format") == "date":
        return date.fromisoformat(value)
    if kind == "string" and schema.get("format") == "date-time":
        moment = datetime.fromisoformat(value)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return {"number": float, "integer": int}.get(kind, lambda same: same)(value)
