"""Every schema within a JSON Schema, and what one from outside may hold.

A schema of a job file or a request describes values; it must not make a process fetch anything or
work without bound. So it refers to its own definitions only, and its patterns are those of
`patterns.py`. Values that a schema holds (enum, const, default, examples) and names of properties
are data and may be anything. Knows no tasks, no engine and no validator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.errors import SpecError
from pipelines.tasks.patterns import MOST_POSITIONS, PatternError, compiled

DEFINITIONS = ("$defs", "definitions")
_ONE = (
    "additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if", "items",
    "not", "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
)  # fmt: skip
_LISTS = ("allOf", "anyOf", "items", "oneOf", "prefixItems")
_BY_NAME = (*DEFINITIONS, "dependencies", "dependentSchemas", "patternProperties", "properties")
# They say what a schema is called. Nothing is looked up by a name, so at the root they do no harm.
_NAMES = ("$schema", "$id", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary")
_DYNAMIC = ("$dynamicRef", "$recursiveRef")
# Levels of schemas in schemas. Whoever follows them calls itself a few times for each.
_MOST_LEVELS = 64
_REMEDY = "put the definition under $defs and refer to it as #/$defs/NAME"


@dataclass(frozen=True, slots=True)
class Subschema:
    """A schema within a schema. `keys` lead to it from the root."""

    keys: tuple[str, ...]
    schema: Mapping[str, Any]

    @property
    def pointer(self) -> str | None:
        """The only reference that names it; None where a key would have to be escaped in one."""
        plain = not any(character in key for key in self.keys for character in "/~%")
        return "/".join(("#", *self.keys)) if plain else None


def subschemas(schema: object) -> Iterator[Subschema]:
    """The schema itself and every schema within it, where JSON Schema has one (also in what older
    drafts had). True and False, which hold nothing, are left out."""
    waiting: list[tuple[tuple[str, ...], object]] = [((), schema)]
    while waiting:
        keys, each = waiting.pop()
        if isinstance(each, Mapping):
            yield Subschema(keys, each)
            waiting += [((*keys, *more), child) for more, child in _children(each)]


def _children(schema: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], object]]:
    for key in _ONE:
        if key in schema:
            yield (key,), schema[key]
    for key in _LISTS:
        if isinstance(listed := schema.get(key), list | tuple):
            yield from (((key, str(at)), each) for at, each in enumerate(listed))
    for key in _BY_NAME:
        if isinstance(named := schema.get(key), Mapping):
            yield from (((key, str(name)), each) for name, each in named.items())


def self_contained(schema: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The schema without the names that its root has, once it is known to refer to nothing but
    itself and to hold no pattern that takes long. Raises SpecError with the path of the key."""
    bare = {key: value for key, value in schema.items() if key not in _NAMES}
    found = list(_checked_depth(bare, where))
    pointers = {each.pointer for each in found}
    for each in found:
        _check_references(each, pointers, where)
    _check_patterns(found, where)
    return bare


def _checked_depth(schema: Mapping[str, Any], where: str) -> Iterator[Subschema]:
    for each in subschemas(schema):
        if len(each.keys) > 2 * _MOST_LEVELS:
            raise SpecError(f"{where}: schemas in schemas more than {_MOST_LEVELS} levels deep")
        yield each


def _check_references(each: Subschema, pointers: set[str | None], where: str) -> None:
    place = ".".join((where, *each.keys))
    for key in _DYNAMIC:
        if key in each.schema:
            raise SpecError(f"{place}.{key}: not followed; {_REMEDY}")
    for key in _NAMES:
        if key in each.schema:
            raise SpecError(
                f"{place}.{key}: allowed at the root of a schema only, and ignored there; leave it "
                f"out, and refer to a definition as #/$defs/NAME"
            )
    if "$ref" not in each.schema:
        return
    reference = each.schema["$ref"]
    if not str(reference).startswith(tuple(f"#/{key}/" for key in DEFINITIONS)):
        raise SpecError(
            f"{place}.$ref: {_short(reference)}, must be a definition of this schema, for nothing "
            f"outside it is read; {_REMEDY}"
        )
    if reference not in pointers:
        raise SpecError(f"{place}.$ref: {_short(reference)} is no definition in this schema")


def _check_patterns(found: list[Subschema], where: str) -> None:
    positions = 0
    for each in found:
        for keys, pattern in _patterns(each.schema):
            place = ".".join((where, *each.keys, *keys))
            try:
                positions += compiled(pattern).positions
            except PatternError as error:
                raise SpecError(f"{place}: {_short(pattern)}: {error}") from error
            if positions > MOST_POSITIONS:
                raise SpecError(
                    f"{place}: {_short(pattern)}: with it the patterns of the schema have more "
                    f"than {MOST_POSITIONS} positions, repetitions counted; use minLength and "
                    f"maxLength for lengths, or fewer patterns"
                )


def positions(schema: Mapping[str, Any]) -> int:
    """How many positions the patterns of a checked schema have together."""
    return sum(
        compiled(pattern).positions
        for each in subschemas(schema)
        for _, pattern in _patterns(each.schema)
    )


def _patterns(schema: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """The patterns that stand in this schema itself, with their keys."""
    if isinstance(pattern := schema.get("pattern"), str):
        yield ("pattern",), pattern
    if isinstance(named := schema.get("patternProperties"), Mapping):
        yield from ((("patternProperties", str(each)), str(each)) for each in named)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
