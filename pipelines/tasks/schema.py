"""The schema of an extraction: read the job file's shorthand, or normalize a JSON Schema.

A normalized schema is a JSON Schema in which every value has one type, so that it has a column
(`columns.py`): an object with named properties, an array of items of one schema, a string, number,
integer, boolean or date, each optionally null. Keywords that restrict a value further (enum,
pattern, minimum, ...) stay in the schema and are enforced elsewhere: by the engine's decoding and
by `validation.py`.
Knows no prompts and no engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError

from pipelines.errors import SpecError
from pipelines.tasks.limits import check_literals, check_satisfiable
from pipelines.tasks.subschemas import self_contained, shorten, subschemas
from pipelines.tasks.validation import JsonSchema

_TYPES = ("string", "number", "integer", "boolean", "object", "array")
# The schema itself is checked without formats: `regex` would compile patterns with Python's `re`.
_NO_FORMATS = FormatChecker(())
# More than the columns of a sensible table, and than a model can fill in.
_MAX_SUBSCHEMAS = 2000
# Keywords in which references have been replaced by their definitions.
_EXPANDED = ("properties", "items")


def from_shorthand(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the normalized schema of a task's `fields`, as `{company: string, risks: [string]}`.

    Every value that is not a list may be null, since a document need not state it; a list may be
    empty.
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
    return {**schema, "type": json_type(schema)}


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def normalize_schema(schema: JsonSchema, where: str) -> dict[str, Any]:
    """Check a JSON Schema from a job file or a request, and return it normalized.

    In a normalized schema every value has one type besides null, and so a column. References are
    replaced by the schema's own definitions. `anyOf` with null becomes a type with null. Optional
    properties become required ones that may be null, and no others are allowed. `where` is the key
    path of the schema. Raises SpecError with the key path of what is not supported.
    """
    schema = valid_schema(schema, where)
    for subschema in subschemas(schema):
        if "patternProperties" in subschema.schema:
            place = ".".join((where, *subschema.keys, "patternProperties"))
            raise SpecError(
                f"{place}: not supported, because the fields of a column have fixed names; "
                f"list them in properties"
            )
    normalized = _normalized(schema, _Expansion(schema), where, ())
    if normalized["type"] != "object":
        raise SpecError(
            f"{where}.type: got {normalized['type']!r}, must be object: an extraction "
            f"fills in an object. Use {{type: object, properties: {{NAME: ...}}}}"
        )
    return normalized


def valid_schema(schema: JsonSchema, where: str) -> dict[str, Any]:
    """Check that a schema is valid, satisfiable, not too large, and that it is self-contained.

    Returns it without the names at its root. Raises SpecError with the key path.
    """
    schema = self_contained(schema, where)
    try:
        Draft202012Validator.check_schema(schema, format_checker=_NO_FORMATS)
    except SchemaError as error:
        place = ".".join((where, *map(str, error.absolute_path)))
        raise SpecError(
            f"{place}: not a valid JSON Schema (draft 2020-12): {error.message}. Correct this key"
        ) from error
    check_satisfiable(schema, where)
    check_literals(schema, where)
    return schema


class _Expansion:
    """Counts the subschemas made while the references of one schema are replaced.

    A few definitions that refer to each other twice each would expand to millions.
    """

    def __init__(self, root: JsonSchema) -> None:
        self.root = root
        self._subschemas = 0

    def count(self, where: str) -> None:
        self._subschemas += 1
        if self._subschemas > _MAX_SUBSCHEMAS:
            raise SpecError(
                f"{where}: the schema has more than {_MAX_SUBSCHEMAS} subschemas once its "
                f"references are replaced by their definitions, the limit. Remove fields, or refer "
                f"to fewer definitions"
            )


def _normalized(
    schema: JsonSchema, expansion: _Expansion, where: str, followed: tuple[str, ...]
) -> dict[str, Any]:
    """Normalize one subschema; `followed` are the references that led to it."""
    expansion.count(where)
    if not isinstance(schema, Mapping):
        raise SpecError(
            f"{where}: got {shorten(schema)}, must be a schema with a type, such as "
            "{type: string}"
        )
    if reference := schema.get("$ref"):
        target = _definition(str(reference), expansion.root, where, followed)
        siblings = {key: value for key, value in schema.items() if key != "$ref"}
        return _normalized({**target, **siblings}, expansion, where, (*followed, str(reference)))
    if "anyOf" in schema or "oneOf" in schema:
        return _without_alternatives(schema, expansion, where, followed)
    kind = _one_type(schema, where)
    result = {key: value for key, value in schema.items() if key not in ("$defs", "definitions")}
    nullable = "null" in json_types(schema) or ("enum" in schema and None in schema["enum"])
    result["type"] = [kind, "null"] if nullable else kind
    if kind == "object":
        result |= {
            **_object(_properties(schema, expansion, where, followed)),
            "type": result["type"],
        }
    if kind == "array":
        result["items"] = _items(schema, expansion, where, followed)
    _reject_other_references(result, where)
    return result


def _properties(
    schema: JsonSchema, expansion: _Expansion, where: str, followed: tuple[str, ...]
) -> dict[str, Any]:
    required = schema.get("required", ())
    properties = {}
    for name, subschema in schema.get("properties", {}).items():
        place = f"{where}.properties.{name}"
        normalized = _normalized(subschema, expansion, place, followed)
        properties[name] = normalized if name in required else _or_null(normalized)
    if not properties:
        raise SpecError(
            f"{where}.properties: missing or empty; an object must name its properties, which are "
            f"the fields of its column. Add at least one as NAME: {{type: string}}"
        )
    return properties


def _items(
    schema: JsonSchema, expansion: _Expansion, where: str, followed: tuple[str, ...]
) -> dict[str, Any]:
    items = schema.get("items")
    if not isinstance(items, Mapping):
        value = "missing" if items is None else f"got {shorten(items)}"
        raise SpecError(
            f"{where}.items: {value}, must be the schema of all items, such as {{type: string}}"
        )
    return _normalized(items, expansion, f"{where}.items", followed)


def _reject_other_references(schema: JsonSchema, where: str) -> None:
    """Raise SpecError for a reference in a keyword whose references are not replaced."""
    others = {key: value for key, value in schema.items() if key not in _EXPANDED}
    for subschema in subschemas(others):
        if "$ref" in subschema.schema:
            place = ".".join((where, *subschema.keys, "$ref"))
            raise SpecError(
                f"{place}: {shorten(subschema.schema['$ref'])} is not followed here, only in "
                f"properties, items, anyOf and oneOf. Write the definition out in its place"
            )


def _definition(
    reference: str, root: JsonSchema, where: str, followed: tuple[str, ...]
) -> JsonSchema:
    """Return the definition that a reference names. Raises SpecError."""
    if reference in followed:
        raise SpecError(
            f"{where}.$ref: {reference} contains itself, but a column has a fixed depth. Write "
            f"nested objects out down to the depth that you need"
        )
    target: Any = root
    for part in reference.removeprefix("#/").split("/"):
        target = target.get(part) if isinstance(target, Mapping) else None
    if not reference.startswith("#/") or not isinstance(target, Mapping):
        raise SpecError(
            f"{where}.$ref: {shorten(reference)} is not a definition of this schema; add it under "
            f"$defs, or correct the name"
        )
    return target


def _without_alternatives(
    schema: JsonSchema, expansion: _Expansion, where: str, followed: tuple[str, ...]
) -> dict[str, Any]:
    """Replace an `anyOf` or `oneOf` of one schema and null by that schema, nullable."""
    key = "anyOf" if "anyOf" in schema else "oneOf"
    alternatives = [choice for choice in schema[key] if not _is_null(choice)]
    if len(alternatives) != 1 or not isinstance(alternatives[0], Mapping):
        raise SpecError(
            f"{where}.{key}: {shorten(schema[key])}, must be one schema and optionally "
            f"{{type: 'null'}}: a column has one type. Use a separate field for each type"
        )
    siblings = {name: value for name, value in schema.items() if name != key}
    only = _normalized({**alternatives[0], **siblings}, expansion, where, followed)
    return _or_null(only) if len(alternatives) < len(schema[key]) else only


def _is_null(schema: Any) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") == "null"


def _or_null(schema: JsonSchema) -> dict[str, Any]:
    """Return a normalized schema that also allows null."""
    nullable_schema = {**schema, "type": [json_type(schema), "null"]}
    if None not in nullable_schema.get("enum", [None]):
        nullable_schema["enum"] = [*nullable_schema["enum"], None]
    return nullable_schema


def nullable(schema: JsonSchema) -> dict[str, Any]:
    """Return a copy of a normalized object schema in which every field may be null.

    So may the fields of nested objects, but items of arrays stay as they are.
    """
    properties = {
        name: _or_null(nullable(subschema) if json_type(subschema) == "object" else subschema)
        for name, subschema in schema["properties"].items()
    }
    return {**schema, "properties": properties}


def _one_type(schema: JsonSchema, where: str) -> str:
    """Return the only type of a schema besides null. Raises SpecError if there is not one."""
    kinds = [kind for kind in json_types(schema) if kind != "null"]
    if len(kinds) != 1 or kinds[0] not in _TYPES:
        raise SpecError(
            f"{where}.type: {_listed(kinds)}, must be one of {', '.join(_TYPES)}, optionally with "
            f"null, as [string, 'null']"
        )
    return str(kinds[0])


def _listed(kinds: list[str]) -> str:
    return f"got {' and '.join(kinds)}" if kinds else "missing"


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
    names = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    values = [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else ())]
    return list(dict.fromkeys(names.get(type(value), "object") for value in values))


def json_type(schema: JsonSchema) -> str:
    """Return the JSON type of a normalized schema, e.g. "string" for `type: [string, "null"]`."""
    return next(kind for kind in json_types(schema) if kind != "null")
