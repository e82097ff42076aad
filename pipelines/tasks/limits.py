"""Checks that values can satisfy a schema, and that an engine can quickly build a grammar from it.

The schemas checked are valid JSON Schema. Knows no tasks, no engine and no validator.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.tasks.faults import raise_all
from pipelines.tasks.subschemas import Subschema, shorten, subschemas

# Bytes of texts in a grammar; an engine takes about a second to compile one of 20,000, and the
# time grows with the square.
_MAX_BYTES, _MAX_LITERAL_BYTES = 20_000, 1000
# For each object, the number of optional properties squared times the mean bytes of a property; an
# engine takes about a second for a million.
_MAX_OPTIONAL_STEPS, _PROPERTY_BYTES = 2_000_000, 10
_NAME_CHARACTERS = 80
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_COUNTS = (
    ("minLength", "maxLength"),
    ("minItems", "maxItems"),
    ("minContains", "maxContains"),
    ("minProperties", "maxProperties"),
)
_LOWER, _UPPER = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")


def check_literals(schema: Mapping[str, Any], where: str) -> None:
    """Raise SpecError if a grammar built from a schema would have too long literal texts.

    These texts are the property names and the values of `enum` and `const` of the schema and of all
    schemas within it, as JSON in UTF-8: at most 1,000 bytes each and 20,000 bytes in all. `where`
    is the key path of the schema in the job file, with which the messages begin.
    """
    raise_all(_literal_faults(schema, where))


def _literal_faults(schema: Mapping[str, Any], where: str) -> Iterator[str]:
    total = 0
    for subschema in subschemas(schema):
        for keys, literal in _literals(subschema.schema):
            text = json.dumps(literal, ensure_ascii=False, default=str)
            size = len(text.encode("utf-8", "replace"))
            total += size
            place = _place(where, (*subschema.keys, *keys))
            if size > _MAX_LITERAL_BYTES:
                yield (
                    f"{place}: {shorten(literal)} has {size} bytes as JSON, more than "
                    f"{_MAX_LITERAL_BYTES}, the limit of a name or value. Shorten it"
                )
            if total > _MAX_BYTES:
                yield (
                    f"{place}: up to this one, the names and enum and const values of the schema "
                    f"have {total} bytes as JSON, more than {_MAX_BYTES}, the limit. Use fewer or "
                    f"shorter ones"
                )
                return


def _literals(schema: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the names and values of this schema itself, not of those within it, with their keys."""
    for name in schema.get("properties", ()):
        yield ("properties", str(name)), str(name)
    for at, value in enumerate(schema.get("enum", ())):
        yield ("enum", str(at)), value
    if "const" in schema:
        yield ("const",), schema["const"]


def _place(where: str, keys: tuple[str, ...]) -> str:
    cut = (f"{key[:_NAME_CHARACTERS]}..." if len(key) > _NAME_CHARACTERS else key for key in keys)
    return ".".join((where, *cut))


def check_optional(schema: Mapping[str, Any], where: str) -> None:
    """Raise SpecError if an object has too many optional properties for a grammar.

    A grammar for them takes an engine time that grows with the square of their number. About 300
    optional properties with short names are allowed, and fewer with long names. `where` is the key
    path of the schema in the job file or request, with which the messages begin.
    """
    raise_all(_optional_faults(schema, where))


def _optional_faults(schema: Mapping[str, Any], where: str) -> Iterator[str]:
    for subschema in subschemas(schema):
        required = subschema.schema.get("required", ())
        names = [name for name in subschema.schema.get("properties", ()) if name not in required]
        size = sum(_PROPERTY_BYTES + len(str(name).encode("utf-8", "replace")) for name in names)
        if len(names) * size > _MAX_OPTIONAL_STEPS:
            place = _place(where, (*subschema.keys, "properties"))
            yield (
                f"{place}: {len(names)} optional properties are too many for the engine's grammar; "
                f"with names as long as these at most {_MAX_OPTIONAL_STEPS // size} can be "
                f"optional. List more of them in required, or split the task"
            )


def check_satisfiable(schema: Mapping[str, Any], where: str) -> None:
    """Raise SpecError if no value can satisfy a schema, or if it has a number that is too large.

    Reported are an empty `enum`; a minimum above the maximum of a number, a length or a count; a
    length or count with a decimal point; an integer that does not fit 64 bits; a number that is
    not finite. `where` is the key path of the schema, with which the messages begin.
    """
    raise_all(
        f"{_place(where, keys)}: must be a finite number of at most about 1.8e308; correct or "
        "remove it"
        for keys, number in _numbers(schema)
        if not _is_finite(number)
    )
    raise_all(
        fault
        for subschema in subschemas(schema)
        for check in (_enum_faults, _count_faults, _range_faults)
        for fault in check(subschema, where)
    )


def _numbers(value: Any) -> Iterator[tuple[tuple[str, ...], int | float]]:
    """Yield all numbers in a JSON value with the keys that lead to them."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), value)]
    while waiting:
        keys, item = waiting.pop()
        if isinstance(item, Mapping):
            waiting += [((*keys, str(key)), child) for key, child in item.items()]
        elif isinstance(item, list | tuple):
            waiting += [((*keys, str(at)), child) for at, child in enumerate(item)]
        elif isinstance(item, int | float):
            yield keys, item


def _is_finite(number: int | float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def _enum_faults(subschema: Subschema, where: str) -> Iterator[str]:
    schema = subschema.schema
    if "enum" in schema and not schema["enum"]:
        place = _place(where, (*subschema.keys, "enum"))
        yield f"{place}: empty, so no value is valid; add a value, or remove enum"
    values = {key: schema[key] for key in ("enum", "const") if key in schema}
    for keys, number in _numbers(values):
        if isinstance(number, int):
            yield from _int64_faults(number, _place(where, (*subschema.keys, *keys)))


def _int64_faults(number: int | float, place: str) -> Iterator[str]:
    if not _INT64_MIN <= number <= _INT64_MAX:
        yield (
            f"{place}: {shorten(number)} does not fit 64 bits; use a number from {_INT64_MIN} to "
            f"{_INT64_MAX}, or remove it"
        )


def _count_faults(subschema: Subschema, where: str) -> Iterator[str]:
    schema = subschema.schema
    for pair in _COUNTS:
        for key in pair:
            place = _place(where, (*subschema.keys, key))
            if isinstance(schema.get(key), float):
                yield f"{place}: {schema[key]}, must be a whole number without a decimal point"
            yield from _int64_faults(schema.get(key, 0), place)
        least, most = pair
        if least in schema and most in schema and schema[least] > schema[most]:
            yield _empty_range(subschema, where, least, most)


def _range_faults(subschema: Subschema, where: str) -> Iterator[str]:
    schema = subschema.schema
    whole = "integer" in (schema.get("type") or ())
    if whole:
        for key in (*_LOWER, *_UPPER, "multipleOf"):
            yield from _int64_faults(schema.get(key, 0), _place(where, (*subschema.keys, key)))
    for low_key in (key for key in _LOWER if key in schema):
        for high_key in (key for key in _UPPER if key in schema):
            if _is_empty(schema, low_key, high_key, whole=whole):
                yield _empty_range(subschema, where, low_key, high_key)


def _is_empty(schema: Mapping[str, Any], low_key: str, high_key: str, *, whole: bool) -> bool:
    low, high = schema[low_key], schema[high_key]
    open_low, open_high = low_key == "exclusiveMinimum", high_key == "exclusiveMaximum"
    if whole:
        low = math.floor(low) + 1 if open_low else math.ceil(low)
        high = math.ceil(high) - 1 if open_high else math.floor(high)
        return bool(low > high)
    return bool(low >= high if open_low or open_high else low > high)


def _empty_range(subschema: Subschema, where: str, low_key: str, high_key: str) -> str:
    schema = subschema.schema
    return (
        f"{_place(where, (*subschema.keys, low_key))}: no value is valid between {low_key} "
        f"({schema[low_key]}) and {high_key} ({schema[high_key]}); correct one of them"
    )
