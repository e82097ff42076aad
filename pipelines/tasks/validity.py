"""Checks that a JSON Schema of a job file or a request is valid, safe and not too large.

Knows no columns, no tasks and no engine.
"""

from __future__ import annotations

import re
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from pipelines.tasks.faults import raise_all
from pipelines.tasks.limits import check_literals, check_satisfiable
from pipelines.tasks.schema import JsonSchema
from pipelines.tasks.subschemas import DEFINITIONS, copied, keys_of, self_contained, subschemas

# The schema itself is checked without formats: `regex` would compile patterns with Python's `re`.
_NO_FORMATS = FormatChecker(())
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]+")


def valid_schema(schema: JsonSchema, where: str) -> dict[str, Any]:
    """Check that a schema is valid, satisfiable, not too large, and refers to nothing outside it.

    `where` is its key path in the job file. Returns a copy without the keywords at its root that
    name it, such as `$id`. Definitions with other characters than letters, digits, `_`, `.` and `-`
    in their names are renamed, because a grammar does not look up escaped names such as
    `Page%5BItem%5D`. Raises SpecError with the key path and the remedy of each fault.
    """
    schema = self_contained(schema, where)
    validator = Draft202012Validator(Draft202012Validator.META_SCHEMA, format_checker=_NO_FORMATS)
    raise_all(
        f"{'.'.join((where, *map(str, error.absolute_path)))}: not a valid JSON Schema (draft "
        f"2020-12): {error.message}. Correct this key"
        for error in validator.iter_errors(schema)
    )
    check_satisfiable(schema, where)
    check_literals(schema, where)
    return _with_plain_names(schema)


def _with_plain_names(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema whose definitions have names that need no escape in a reference."""
    renamed = {
        (key, name): f"{re.sub('[^A-Za-z0-9_.-]', '_', name)}_{number}"
        for key in DEFINITIONS
        for number, name in enumerate(schema.get(key, ()))
        if not _PLAIN_NAME.fullmatch(name)
    }
    if not renamed:
        return schema
    schema = copied(schema)
    for subschema in subschemas(schema):
        keys = keys_of(subschema.schema.get("$ref"))
        if keys and keys[:2] in renamed:
            # a copy of our own, of plain dicts
            subschema.schema["$ref"] = "/".join(  # type: ignore[index]
                ("#", keys[0], renamed[keys[0], keys[1]], *keys[2:])
            )
    for key in DEFINITIONS:
        if key in schema:
            schema[key] = {renamed.get((key, name), name): at for name, at in schema[key].items()}
    return schema
