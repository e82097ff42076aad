"""Checks of the keywords of one normalized subschema. Knows no columns and no tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipelines.tasks.faults import Faults
from pipelines.tasks.formats import KNOWN_FORMATS
from pipelines.tasks.schema import JsonSchema, json_type, type_of
from pipelines.tasks.subschemas import shorten, subschemas
from pipelines.tasks.unions import TYPES

# Keywords in which references have been replaced by their definitions.
_EXPANDED = ("properties", "items", "prefixItems", "additionalProperties", "members", "texts")
_NO_COLUMN = {
    "patternProperties": (
        "not supported beside properties or with several patterns, because the fields of a column "
        "have fixed names; list them in properties, or use additionalProperties for a map"
    ),
}


def check_constants(schema: dict[str, Any], where: str, faults: Faults) -> None:
    """Check the `enum`, `const` and `format` of one schema, and remove invalid values of `enum`.

    Constants must have the schema's type, which must not be an object or an array, and the format
    must be one of KNOWN_FORMATS. Changes `schema`, a schema with one type: values of `enum` with
    another type are removed, since the type forbids them.

    Args:
        schema: the schema; those within it are not checked.
        where: its key path in the job file.
        faults: receives a message for each fault found.
    """
    kind = json_type(schema)
    if "enum" in schema:
        fit = [value for value in schema["enum"] if value is None or _is_a(value, kind)]
        if not any(value is not None for value in fit) and fit != [None]:
            faults.add(
                f"{where}.enum",
                f"none of {shorten(schema['enum'])} is of the type {kind}; correct the type or the "
                "values",
            )
        schema["enum"] = fit
    if "const" in schema and not _is_a(schema["const"], kind):
        faults.add(
            f"{where}.const",
            f"{shorten(schema['const'])} is not of the type {kind}; correct one of them",
        )
    if kind in ("object", "array") and ("enum" in schema or "const" in schema):
        faults.add(
            f"{where}.{'enum' if 'enum' in schema else 'const'}",
            f"not supported for the type {kind}; give each field its own constants",
        )
    if schema.get("format", "date") not in KNOWN_FORMATS:
        faults.add(
            f"{where}.format",
            f"{shorten(schema['format'])} is not checked by phifleet; remove it or use a "
            f"pattern. Checked are {', '.join(KNOWN_FORMATS)}",
        )


def _is_a(value: Any, kind: str) -> bool:
    """Return whether a constant has a JSON type."""
    if isinstance(value, float) and kind == "integer":
        return value.is_integer()
    return type_of(value) in ((kind, "integer") if kind == "number" else (kind,))


def report_type(schema: JsonSchema, types: Sequence[str], where: str, faults: Faults) -> None:
    """Record in `faults` that a schema has no single type that a column can have.

    Called if `types`, the names of the schema's types besides null, are none, several, or one that
    is not a JSON type. `where` is the schema's key path; the message is about its `enum` if only
    that gives the types, else about its `type`.
    """
    named = "enum" if "enum" in schema and "type" not in schema else "type"
    if named == "enum" and types:
        got = f"values of the types {' and '.join(types)}, but a column has one type"
        faults.add(f"{where}.enum", f"{got}; use one type for all, such as strings")
        return
    got = f"got {' and '.join(types)}" if types else "missing"
    faults.add(
        f"{where}.type",
        f"{got}, must be one of {', '.join(TYPES)}, optionally with null, as [string, 'null']",
    )


def check_others(schema: JsonSchema, where: str, faults: Faults) -> None:
    """Record in `faults` what normalizing does not support in a schema's remaining keywords.

    These are the keywords other than those whose schemas become columns (`properties`, `items`,
    ...), such as `not` or `contains`. A `$ref` in them is a fault, because only references in
    columns are replaced, and so is `patternProperties`. `where` is the schema's key path.
    """
    others = {key: value for key, value in schema.items() if key not in _EXPANDED}
    for subschema in subschemas(others):
        for key, message in _NO_COLUMN.items():
            if key in subschema.schema:
                faults.add(".".join((where, *subschema.keys, key)), message)
        if "$ref" in subschema.schema:
            faults.add(
                ".".join((where, *subschema.keys, "$ref")),
                f"{shorten(subschema.schema['$ref'])} is not followed here, only in "
                f"properties, items, prefixItems, additionalProperties, allOf, anyOf and oneOf. "
                f"Replace it by the definition itself",
            )
