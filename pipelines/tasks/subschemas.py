"""Iterates over all schemas within a JSON Schema, and checks that a schema is safe to use.

A schema from a job file or a request must not make a process fetch anything or work without bound.
So it may refer to its own definitions only, and its patterns must be supported by `patterns.py`.
Property names, and values held by a schema (enum, const, default, examples), are data and are not
checked. Knows no tasks, no engine and no validator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any
from urllib.parse import unquote

from pipelines.errors import SpecError
from pipelines.tasks.escapes import PatternError
from pipelines.tasks.faults import raise_all
from pipelines.tasks.patterns import MAX_POSITIONS, compile_pattern

DEFINITIONS = ("$defs", "definitions")
"""The keys at the root of a schema under which its definitions stand."""
# Keywords whose value is a schema, a list of schemas, or a mapping of names to schemas.
_SINGLE = (
    "additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if", "items",
    "not", "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
)  # fmt: skip
_LISTS = ("allOf", "anyOf", "items", "oneOf", "prefixItems")
_BY_NAME = (*DEFINITIONS, "dependencies", "dependentSchemas", "patternProperties", "properties")
# Keywords whose schemas apply to the same value as the schema that holds them.
_SAME_VALUE = (
    "allOf", "anyOf", "dependencies", "dependentSchemas", "else", "if", "not", "oneOf", "then",
)  # fmt: skip
# Keywords that name a schema. No schema is looked up by name, so at the root they have no effect.
_NAMES = ("$schema", "$id", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary")
_DYNAMIC = ("$dynamicRef", "$recursiveRef")
# The maximum nesting of schemas: functions that follow it recurse several times per level.
_MAX_LEVELS = 64
_REMEDY = "put the definition under $defs and refer to it as #/$defs/NAME"


@dataclass(frozen=True, slots=True)
class Subschema:
    """A schema within a root schema, or the root itself.

    Attributes:
        keys: the keys and list indexes that lead to it from the root, such as ("anyOf", "0");
            empty for the root itself.
        schema: the schema; not a copy.
    """

    keys: tuple[str, ...]
    schema: Mapping[str, Any]


def subschemas(schema: object) -> Iterator[Subschema]:
    """Yield the schema itself and every schema within it, in no particular order.

    Schemas in keywords of older drafts, such as `definitions`, are included. The schemas `true` and
    `false` are skipped, since they contain nothing. References are not followed.
    """
    waiting: list[tuple[tuple[str, ...], object]] = [((), schema)]
    while waiting:
        keys, subschema = waiting.pop()
        if isinstance(subschema, Mapping):
            yield Subschema(keys, subschema)
            waiting += [((*keys, *path), child) for path, child in _children(subschema)]


def _children(schema: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], object]]:
    """Yield the schemas directly within a schema, each with the keys that lead to it."""
    for key in _SINGLE:
        if key in schema:
            yield (key,), schema[key]
    for key in _LISTS:
        if isinstance(listed := schema.get(key), list | tuple):
            yield from (((key, str(at)), child) for at, child in enumerate(listed))
    for key in _BY_NAME:
        if isinstance(named := schema.get(key), Mapping):
            yield from (((key, str(name)), child) for name, child in named.items())


def copied(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a schema in which each schema within it is a new dict, free to be changed.

    Values held by a schema, such as those of `enum` and `default`, are not copied. Uses no
    recursion, so that it works at any depth.
    """
    result = dict(schema)
    waiting = [result]

    def own(child: Any) -> Any:
        if not isinstance(child, Mapping):
            return child
        waiting.append(dict(child))
        return waiting[-1]

    while waiting:
        current = waiting.pop()
        for key in _SINGLE:
            if key in current:
                current[key] = own(current[key])
        for key in _LISTS:
            if isinstance(current.get(key), list | tuple):
                current[key] = [own(child) for child in current[key]]
        for key in _BY_NAME:
            if isinstance(current.get(key), Mapping):
                current[key] = {name: own(child) for name, child in current[key].items()}
    return result


def self_contained(schema: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check that a schema from a job file or a request is safe to use, and return a copy.

    The copy lacks the keywords at the root that name the schema, such as `$schema`, `$id` and
    `$anchor`, which have no effect. The schema may refer to its own definitions only, may be nested
    at most 64 levels deep, and its patterns must be supported and small. Raises SpecError with the
    key path and the remedy of each fault; `where` is the key path of the schema.
    """
    unnamed = {key: value for key, value in schema.items() if key not in _NAMES}
    checked = list(_checked_depth(unnamed, where))
    places = {subschema.keys for subschema in checked}
    raise_all(
        fault for subschema in checked for fault in _reference_faults(subschema, places, where)
    )
    _check_cycles(checked, where)
    raise_all(_pattern_faults(checked, where))
    return unnamed


def keys_of(reference: object) -> tuple[str, ...] | None:
    """Return the keys to which a `$ref` into the same schema leads, such as ("$defs", "Item").

    The reference is a JSON pointer, such as `#/$defs/Item`, in which `~1` means a slash, `~0` a
    tilde, and `%XX` a byte. `#` alone, the whole schema, has no keys. None if the reference is
    anything else.
    """
    if reference == "#":
        return ()
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return None
    parts = unquote(reference.removeprefix("#/")).split("/")
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in parts)


def _checked_depth(schema: Mapping[str, Any], where: str) -> Iterator[Subschema]:
    for subschema in subschemas(schema):
        # most levels take two keys, such as properties and a name
        if len(subschema.keys) > 2 * _MAX_LEVELS:
            raise SpecError(
                f"{where}: schemas nested more than {_MAX_LEVELS} levels deep, the limit, below "
                f"{'.'.join(subschema.keys[:4])}; use fewer levels"
            )
        yield subschema


def _reference_faults(
    subschema: Subschema, places: Set[tuple[str, ...]], where: str
) -> Iterator[str]:
    """Yield what is wrong with the names and references of one subschema.

    `places` are the keys of all subschemas.
    """
    place = ".".join((where, *subschema.keys))
    schema = subschema.schema
    for key in _DYNAMIC:
        if key in schema:
            yield (
                f"{place}.{key}: got {shorten(schema[key])}, but {key} is not supported; use $ref "
                f"instead: {_REMEDY}"
            )
    for key in _NAMES:
        if key in schema:
            yield (
                f"{place}.{key}: allowed at the root of a schema only, where it has no effect "
                f"({shorten(schema[key])}). Remove it; to refer to a definition, use #/$defs/NAME"
            )
    if "$ref" not in schema:
        return
    reference = schema["$ref"]
    keys = keys_of(reference)
    if keys is None:
        yield (
            f"{place}.$ref: {shorten(reference)}, must be a definition of this schema; nothing "
            f"outside it is read. Instead {_REMEDY}"
        )
    elif keys not in places:
        yield (
            f"{place}.$ref: {shorten(reference)} is not a definition of this schema; add it under "
            f"$defs, or correct the name"
        )


def _check_cycles(checked: list[Subschema], where: str) -> None:
    """Raise SpecError if references lead back to themselves without going into the value."""
    followed: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for keys, schema in ((subschema.keys, subschema.schema) for subschema in checked):
        followed[keys] = [(*keys, *path) for path, _ in _children(schema) if path[0] in _SAME_VALUE]
        if "$ref" in schema:
            followed[keys].append(keys_of(schema["$ref"]) or ())
    try:
        TopologicalSorter(followed).prepare()
    except CycleError as error:
        schemas = {subschema.keys: subschema.schema for subschema in checked}
        keys = next(keys for keys in error.args[1] if "$ref" in schemas[keys])
        place = ".".join((where, *keys))
        raise SpecError(
            f"{place}.$ref: {shorten(schemas[keys]['$ref'])} leads back to itself, and never to a "
            f"property or an item. Remove this reference, or put it under properties or items"
        ) from None


def _pattern_faults(checked: list[Subschema], where: str) -> Iterator[str]:
    total = 0
    for subschema in checked:
        for keys, pattern in _patterns(subschema.schema):
            place = ".".join((where, *subschema.keys, *keys))
            try:
                total += compile_pattern(pattern).positions
            except PatternError as error:
                yield f"{place}: {shorten(pattern)}: {error}"
                continue
            if total > MAX_POSITIONS:
                yield (
                    f"{place}: {shorten(pattern)}: with this pattern, the schema's patterns have "
                    f"{total} characters and classes, each counted as often as it is repeated, "
                    f"more than {MAX_POSITIONS}, the limit. Use minLength and maxLength for "
                    f"lengths, or fewer patterns"
                )
                return


def positions(schema: Mapping[str, Any]) -> int:
    """Return the size of all patterns in a schema: the sum of their `Pattern.positions`.

    The names in `patternProperties` are patterns too. The schema is one that `self_contained` has
    accepted; an unsupported pattern in another one raises PatternError.
    """
    return sum(
        compile_pattern(pattern).positions
        for subschema in subschemas(schema)
        for _, pattern in _patterns(subschema.schema)
    )


def _patterns(schema: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the patterns of this schema itself, not of those within it, each with its keys."""
    if isinstance(pattern := schema.get("pattern"), str):
        yield ("pattern",), pattern
    if isinstance(named := schema.get("patternProperties"), Mapping):
        yield from ((("patternProperties", str(name)), str(name)) for name in named)


def shorten(value: object) -> str:
    """Return Python's repr of a value for an error message.

    A repr of more than 200 characters is cut off after 200 and ends in "...".
    """
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
