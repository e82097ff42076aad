"""One schema for a value to which several apply: the parts of `allOf`, and siblings of `$ref`.

Knows no columns and no tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pipelines.tasks.faults import Faults
from pipelines.tasks.schema import JsonSchema, json_types
from pipelines.tasks.subschemas import shorten

# Keywords that describe a value without restricting it: of two, the outer one counts.
_DESCRIPTIONS = (
    "$comment", "additionalProperties", "default", "deprecated", "description", "discriminator",
    "example", "examples", "nullable", "readOnly", "title", "writeOnly", "xml", "externalDocs",
)  # fmt: skip
_GREATER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_LESSER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_CONDITION = ("if", "then", "else")


def conjunction(inner: JsonSchema, outer: JsonSchema, where: str, faults: Faults) -> dict[str, Any]:
    """Return one schema for the values that both of two schemas allow.

    A restriction that cannot be merged into one keyword, such as a second pattern, goes into the
    result's `allOf`, where validation finds it.

    Args:
        inner: the schema that a `$ref` names, or an earlier part of an `allOf`.
        outer: the keywords beside that `$ref` or `allOf`, or the next part. Its title, description
            and other keywords that do not restrict a value replace those of `inner`.
        where: the key path of the schema in the job file.
        faults: receives a message, with `where` and a keyword, if `type` or `enum` of the two have
            no value in common, or if both have a different `anyOf` or `oneOf`.
    """
    result = dict(inner)
    rest: list[Any] = [*inner.get("allOf", ()), *outer.get("allOf", ())]
    if "if" in inner and "if" in outer:
        rest.append({key: inner[key] for key in _CONDITION if key in inner})
        result = {key: value for key, value in result.items() if key not in _CONDITION}
    for key, value in outer.items():
        if key == "allOf":
            continue
        if key not in result or result[key] == value:
            result[key] = value
        elif key in _MERGED:
            result[key] = _MERGED[key](result[key], value)
        elif key in ("anyOf", "oneOf"):
            faults.add(
                f"{where}.{key}",
                "given twice for one value, by allOf or beside $ref; a column has one type. Write "
                "out the combinations in one anyOf",
            )
        else:
            rest.append({key: result[key]})
            result[key] = value
    if rest:
        result["allOf"] = rest
    _check(result, (inner, outer), where, faults)
    return result


def _check(result: JsonSchema, parts: tuple[JsonSchema, ...], where: str, faults: Faults) -> None:
    for key in ("type", "enum"):
        if result.get(key) == [] and all(part.get(key) for part in parts):
            first, second = (shorten(part[key]) for part in parts)
            faults.add(
                f"{where}.{key}",
                f"no value is both {first} and {second}, but allOf and keywords beside $ref apply "
                "together. Remove one of them, or use anyOf for a choice",
            )


def _both_types(inner: Any, outer: Any) -> Any:
    ours, theirs = json_types({"type": inner}), json_types({"type": outer})
    both = [kind for kind in ours if kind in theirs]
    for one, other in ((ours, theirs), (theirs, ours)):
        if "integer" in one and "number" in other and "integer" not in both:
            both.append("integer")
    return both


def _both_properties(inner: Any, outer: Any) -> dict[str, Any]:
    return {
        name: {"allOf": [inner[name], outer[name]]}
        if name in inner and name in outer
        else (inner | outer)[name]
        for name in {**inner, **outer}
    }


def _both_schemas(inner: Any, outer: Any) -> Any:
    if isinstance(inner, Mapping) and isinstance(outer, Mapping):
        return {"allOf": [inner, outer]}
    return outer if isinstance(inner, bool) else inner


_MERGED: Mapping[str, Callable[[Any, Any], Any]] = {
    "type": _both_types,
    "properties": _both_properties,
    "items": _both_schemas,
    "required": lambda inner, outer: list(dict.fromkeys([*inner, *outer])),
    "enum": lambda inner, outer: [value for value in inner if value in outer],
    "uniqueItems": lambda inner, outer: inner or outer,
    **dict.fromkeys(_GREATER, max),
    **dict.fromkeys(_LESSER, min),
    **dict.fromkeys(_DESCRIPTIONS, lambda _, outer: outer),
}
