"""Validation of JSON values against a JSON Schema.

The validator follows no reference out of the schema, and matches patterns with `patterns.py`. Its
messages are sent to the model when it is asked to repair an answer: they are part of the prompts.
Knows no columns and no tasks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, DecimalException
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend
from referencing import Registry

from pipelines.tasks.formats import FORMAT_CHECKER
from pipelines.tasks.patterns import compile_pattern
from pipelines.tasks.schema import JsonSchema, json_type, member_of
from pipelines.tasks.subschemas import positions

# The maximum of pattern positions times characters for one answer: about a second of matching.
_MAX_STEPS = 10_000_000


def _check_pattern(
    validator: Any, pattern: str, value: object, schema: JsonSchema
) -> Iterator[ValidationError]:
    if isinstance(value, str) and not compile_pattern(pattern).matches(value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _check_multiple(
    validator: Any, divisor: int | float, value: object, schema: JsonSchema
) -> Iterator[ValidationError]:
    """Divide as decimals: as binary floats, 0.07 is no multiple of 0.01."""
    if not validator.is_type(value, "number"):
        return
    try:
        remainder = Decimal(str(value)) % Decimal(str(divisor))
    except DecimalException:
        # the quotient has more digits than a decimal holds
        remainder = Decimal(value % divisor)  # type: ignore[operator]
    if remainder:
        yield ValidationError(f"{value!r} is not a multiple of {divisor}")


def _check_unique(
    validator: Any, wanted: bool, value: object, schema: JsonSchema
) -> Iterator[ValidationError]:
    """Compare items by their JSON, which takes linear time."""
    if wanted and isinstance(value, list):
        different = {json.dumps(item, sort_keys=True) for item in value}
        if len(different) < len(value):
            yield ValidationError(f"{value!r} has non-unique elements")


def _check_texts(
    validator: Any, choices: list[JsonSchema], value: object, schema: JsonSchema
) -> Iterator[ValidationError]:
    """Check that a string is the text of a value of one of the schemas.

    A number's text must fit the schemas of numbers, if there are any: a schema of a decimal number
    has a string beside the number, without its limits.
    """
    if not isinstance(value, str):
        return
    number = _number(value)
    strings = [choice for choice in choices if json_type(choice) == "string"]
    numbers = [choice for choice in choices if json_type(choice) == "number"]
    others = [choice for choice in choices if json_type(choice) != "string"]
    if number is not None and numbers:
        fits = any(validator.evolve(schema=choice).is_valid(number) for choice in others)
    else:
        fits = any(validator.evolve(schema=choice).is_valid(value) for choice in strings)
        parsed = {"true": True, "false": False}.get(value, number)
        fits = fits or (
            parsed is not None
            and any(validator.evolve(schema=choice).is_valid(parsed) for choice in others)
        )
    if not fits:
        yield ValidationError(f"{value!r} is not valid under any of the given schemas")


def _number(text: str) -> int | float | None:
    try:
        number = json.loads(text.strip().removeprefix("+"))
    except (ValueError, RecursionError):
        return None
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    return number if is_number else None


def _check_members(
    validator: Any, members: list[JsonSchema], value: object, schema: JsonSchema
) -> Iterator[ValidationError]:
    """Check a value against the member of a union that it belongs to.

    Null properties of other members are allowed: the column has them.
    """
    if isinstance(value, Mapping) and (member := member_of(value, schema)) is not schema:
        own = {
            name: item
            for name, item in value.items()
            if item is not None or name in member["properties"]
        }
        yield from validator.descend(own, member)


_Validator = extend(  # type: ignore[no-untyped-call]  # types-jsonschema has no type for it
    Draft202012Validator,
    {
        "pattern": _check_pattern,
        "multipleOf": _check_multiple,
        "uniqueItems": _check_unique,
        "texts": _check_texts,
        "members": _check_members,
    },
)


@dataclass(frozen=True, slots=True)
class SchemaViolation:
    """A violation of a schema by a JSON value.

    Attributes:
        path: the keys and indexes of the wrong part, such as `parties.2.name`; "" for the whole
            value.
        message: what is wrong with it, in English, without the path.
    """

    path: str
    message: str


def schema_violations(value: Any, schema: JsonSchema) -> list[SchemaViolation]:
    """Return all violations of a normalized schema by a JSON value; empty if the value is valid.

    Raises ValueError if the value's strings are too long to be matched with the schema's patterns
    in about a second.
    """
    pattern_positions, characters = positions(schema), _characters(value)
    if pattern_positions * characters > _MAX_STEPS:
        raise ValueError(
            f"the answer's texts have {characters} characters, too long to be matched with the "
            f"schema's patterns: at most {_MAX_STEPS // pattern_positions} are allowed. Set "
            "maxLength for the fields, or use fewer or shorter patterns"
        )
    validator = _Validator(schema, registry=Registry(), format_checker=FORMAT_CHECKER)
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
