"""Validation of JSON values against a JSON Schema.

The validator follows no reference out of the schema, and matches patterns with `patterns.py`. Its
messages are sent to the model when it is asked to repair an answer: they are part of the prompts.
Knows no columns and no tasks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from jsonschema.validators import extend
from referencing import Registry

from pipelines.tasks.patterns import compile_pattern
from pipelines.tasks.subschemas import positions

JsonSchema = Mapping[str, Any]
"""A JSON Schema that is an object, as parsed from JSON or YAML."""

# The maximum of pattern positions times characters for one answer: about a second of matching.
_MAX_STEPS = 10_000_000
_FORMAT_CHECKER = FormatChecker(("date",))


@_FORMAT_CHECKER.checks("date-time", ValueError)
def _is_datetime(value: object) -> bool:
    return not isinstance(value, str) or bool(datetime.fromisoformat(value))


def _check_pattern(
    validator: Any, pattern: str, value: object, schema: JsonSchema
) -> Iterator[ValidationError]:
    if isinstance(value, str) and not compile_pattern(pattern).matches(value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


# types-jsonschema has no type for `extend`
_Validator = extend(Draft202012Validator, {"pattern": _check_pattern})  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class SchemaViolation:
    """A violation of a schema: the path of the wrong value, and a message about it.

    `path` is such as `parties.2.name`, and "" for the whole value.
    """

    path: str
    message: str


def schema_violations(value: Any, schema: JsonSchema) -> list[SchemaViolation]:
    """Return all violations of the schema by a JSON value; an empty list if it is valid.

    Raises ValueError if the value's strings are too long to be matched with the schema's patterns.
    """
    pattern_positions, characters = positions(schema), _characters(value)
    if pattern_positions * characters > _MAX_STEPS:
        raise ValueError(
            f"the answer's texts have {characters} characters, too long to be matched with the "
            f"schema's patterns: at most {_MAX_STEPS // pattern_positions} are allowed. Set "
            "maxLength for the fields, or use fewer or shorter patterns"
        )
    validator = _Validator(schema, registry=Registry(), format_checker=_FORMAT_CHECKER)
    return [
        SchemaViolation(".".join(str(part) for part in error.absolute_path), error.message)
        for error in validator.iter_errors(value)
    ]


def _characters(value: Any) -> int:
    """Return the total length of all strings in a JSON value, including property names."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(len(name) + _characters(item) for name, item in value.items())
    return sum(map(_characters, value)) if isinstance(value, list) else 0
