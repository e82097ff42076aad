"""Whether a JSON value keeps its schema, and where it does not.

The validator follows no reference out of the schema, and matches patterns by `patterns.py`. Knows
no columns and no tasks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from jsonschema.validators import extend
from referencing import Registry

from pipelines.tasks.patterns import compiled
from pipelines.tasks.subschemas import positions

JsonSchema = Mapping[str, Any]

# How often a pattern's position is tried at a character, for one answer: a second at the most.
_MOST_TRIES = 10_000_000
_FORMAT_CHECKER = FormatChecker(("date",))


@_FORMAT_CHECKER.checks("date-time", ValueError)
def _is_datetime(value: object) -> bool:
    return not isinstance(value, str) or bool(datetime.fromisoformat(value))


def _matches(
    validator: Any, pattern: str, value: object, schema: JsonSchema
) -> Iterator[ValidationError]:
    if isinstance(value, str) and not compiled(pattern).found_in(value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


# types-jsonschema leaves it untyped
_Validator = extend(Draft202012Validator, {"pattern": _matches})  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class SchemaViolation:
    """Where a value breaks its schema, and how."""

    path: str
    message: str


def schema_violations(value: Any, schema: JsonSchema) -> list[SchemaViolation]:
    """Everywhere that a JSON value breaks its schema. Raises ValueError where its texts are too
    long for the schema's patterns."""
    tries = positions(schema) * _characters(value)
    if tries > _MOST_TRIES:
        raise ValueError("its texts are too long to be matched with the schema's patterns")
    validator = _Validator(schema, registry=Registry(), format_checker=_FORMAT_CHECKER)
    found = validator.iter_errors(value)
    return [
        SchemaViolation(".".join(str(part) for part in error.absolute_path), error.message)
        for error in found
    ]


def _characters(value: Any) -> int:
    """The length of all texts in a JSON value, names of properties too."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(len(name) + _characters(each) for name, each in value.items())
    return sum(map(_characters, value)) if isinstance(value, list) else 0
