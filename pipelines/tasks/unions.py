"""One column for alternatives: `anyOf`, `oneOf`, several types, or the items of a tuple.

| alternatives | column |
|---|---|
| constants of one type | that type, with all constants |
| integers and numbers | number |
| scalars of other types | string: the text of the value |
| objects that a constant property tells apart | object with the properties of all |

In a column, "3" and 3 have one text, so a reader of it cannot tell them apart (`conversion.py` says
what they are elsewhere). Knows no tasks and no engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.tasks.faults import Faults
from pipelines.tasks.schema import (
    JsonSchema,
    is_map,
    json_type,
    json_types,
    not_null,
    object_of,
    or_null,
)

TYPES = ("string", "number", "integer", "boolean", "object", "array")
# What does not restrict a value.
_DESCRIPTIONS = ("title", "description", "default", "examples", "deprecated", "$comment")
_BY_KEYWORD = {
    "object": ("properties", "additionalProperties", "patternProperties", "required"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems"),
    "string": ("pattern", "format", "minLength", "maxLength"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
_TIMES = ("date", "date-time", "time", "duration")


def inferred_types(schema: JsonSchema) -> list[str]:
    """Return the names of the JSON types that a schema allows, such as ["string", "null"].

    They are those in `type` or, without it, the types of the values of `enum` and `const`, with
    "integer" left out beside "number". Without all three it is the single type to which a keyword
    belongs, such as "object" for `properties`; an empty list if no keyword tells.
    """
    kinds = json_types(schema)
    if set(kinds) >= {"integer", "number"} and "type" not in schema:
        kinds.remove("integer")
    if kinds:
        return kinds
    return [kind for kind, keys in _BY_KEYWORD.items() if any(key in schema for key in keys)][:1]


def union(choices: Sequence[dict[str, Any]], where: str, faults: Faults) -> dict[str, Any]:
    """Return one normalized schema, so one column, for a value that may follow any of several.

    The module's table has the resulting types. Null is allowed if it is in any alternative.

    Args:
        choices: the normalized schemas of the alternatives, at least one.
        where: their key path in the job file, such as `tasks.parties.schema.anyOf`.
        faults: receives a message at `where` if the alternatives have no common column; the result
            is then one of them, or otherwise of no use, and the caller must raise the faults.
    """
    nulls = any("null" in json_types(choice) for choice in choices)
    if len(choices) == 1:
        return choices[0]
    bare = [_bare(choice) for choice in choices]
    different = [choice for at, choice in enumerate(bare) if choice not in bare[:at]]
    result = different[0] if len(different) == 1 else _different(different, where, faults)
    return or_null(result) if nulls else result


def _bare(schema: JsonSchema) -> dict[str, Any]:
    return {key: value for key, value in not_null(schema).items() if key not in _DESCRIPTIONS}


def _different(choices: list[dict[str, Any]], where: str, faults: Faults) -> dict[str, Any]:
    kinds = {json_type(choice) for choice in choices}
    if kinds == {"object"} and not any(map(is_map, choices)):
        return _objects(choices, where, faults)
    if kinds & {"object", "array"}:
        faults.add(
            where,
            f"a column has one type, but these are {_named(choices)}; use a separate field for "
            "each or, if a list is for several values and the other for one, always a list",
        )
        return choices[0]
    return _scalars(choices, kinds, where, faults)


def _named(choices: Sequence[JsonSchema]) -> str:
    names = ["map" if is_map(choice) else json_type(choice) for choice in choices]
    return " and ".join(f"{'different ' * (names.count(name) > 1)}{name}" for name in {*names})


def _scalars(
    choices: list[dict[str, Any]], kinds: set[str], where: str, faults: Faults
) -> dict[str, Any]:
    constants = [_constants(choice) for choice in choices]
    numeric = kinds <= {"number", "integer"}
    if len(kinds) == 1 or numeric:
        kind = kinds.pop() if len(kinds) == 1 else "number"
        if all(constants):
            values = [value for listed in constants for value in listed or ()]
            return {"type": kind, "enum": list(dict.fromkeys(values))}
        if any(choice == {"type": kind} for choice in choices):
            return {"type": kind}
        if any("texts" in choice for choice in choices):
            return {"type": kind, "texts": list(_texts(choices))}
        if _formats(choices) == {"date"} or _formats(choices) == {"date-time"}:
            return {"type": kind, "format": choices[0]["format"], "anyOf": choices}
        return {"type": kind, "anyOf": choices}
    texts = list(_texts(choices))
    fixed = any(json_type(choice) != "string" and _constants(choice) for choice in texts)
    timed = any(choice.get("format") in _TIMES for choice in texts)
    if (fixed or timed) and not any(_is_plain_string(choice) for choice in texts):
        faults.add(
            where,
            f"the alternatives are {_named(choices)}, and constants or times among them cannot be "
            "told apart as texts in one column; use one type, or a separate field for each",
        )
    return {"type": "string", "texts": texts}


def _formats(choices: Sequence[JsonSchema]) -> set[Any]:
    return {choice.get("format") for choice in choices}


def _texts(choices: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for choice in choices:
        yield from choice.get("texts", (dict(choice),))


def _is_plain_string(schema: JsonSchema) -> bool:
    return (
        json_type(schema) == "string"
        and not _constants(schema)
        and schema.get("format") not in _TIMES
    )


def _constants(schema: JsonSchema) -> list[Any] | None:
    """Return the only values besides null that a normalized schema allows, or None."""
    if "const" in schema:
        return [schema["const"]]
    if "enum" in schema:
        return [value for value in schema["enum"] if value is not None]
    return None


def _objects(choices: list[dict[str, Any]], where: str, faults: Faults) -> dict[str, Any]:
    """Return one object with the properties of all, that which tells them apart first."""
    members = [member for choice in choices for member in choice.get("members", (choice,))]
    name = _discriminator(members)
    if name is None:
        faults.add(
            where,
            "these objects have no property that tells them apart, which a reader of the column "
            "needs. Give each a required constant of its own, such as kind: {const: NAME}",
        )
        return choices[0]
    ordered = [_led_by(member, name) for member in members]
    values = [value for member in ordered for value in _constants(member["properties"][name]) or ()]
    names = dict.fromkeys(key for member in ordered for key in member["properties"])
    properties = {}
    for key in names:
        given = [member["properties"][key] for member in ordered if key in member["properties"]]
        properties[key] = or_null(union(given, f"{where} (property {key})", faults))
    kind = json_type(ordered[0]["properties"][name])
    properties[name] = {"type": kind, "enum": values}
    return {
        **object_of(properties),
        "required": [name],
        "members": ordered,
        "discriminator": name,
    }


def _discriminator(members: Sequence[JsonSchema]) -> str | None:
    """Return the first property whose constants differ in all members, or None."""
    for name in members[0]["properties"]:
        if not all(name in member["properties"] for member in members):
            continue
        listed = [_constants(member["properties"][name]) for member in members]
        kinds = {json_type(member["properties"][name]) for member in members}
        values = [value for values in listed for value in values or ()]
        if all(listed) and len(kinds) == 1 and len(set(values)) == len(values):
            return str(name)
    return None


def _led_by(member: JsonSchema, name: str) -> dict[str, Any]:
    """Return a member of a union whose first property is `name`, which may not be null."""
    constant = not_null(member["properties"][name])
    constant.pop("fixed", None)
    rest = {key: field for key, field in member["properties"].items() if key != name}
    return {**member, **object_of({name: constant, **rest}), "discriminator": name}
