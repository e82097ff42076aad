"""The form in the question of an extraction: the names of its fields, and what each may hold.

A form looks like the JSON that fills it in, with words for values: `{"company":string or null}`.
All text here is part of the prompts: changing it requires a new PROMPT_VERSION. Knows no engine and
no task.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pipelines.tasks.schema import JsonSchema, is_map, item_schema, json_type, json_types

# What a form shows for a format of strings; for others it shows their name.
_FORMATS = {
    "date": "date (YYYY-MM-DD)",
    "date-time": "date and time (YYYY-MM-DDThh:mm:ssZ)",
    "time": "time (hh:mm:ss)",
}
_QUOTE = "quote or null"


def form_of_answer(schema: JsonSchema, quotes_key: str | None) -> str:
    """Return the form of a whole answer.

    `schema` is the normalized schema of the fields. `quotes_key` is the key of the quotes in the
    answer, which the form shows after the fields; None if no quotes are asked for.
    """
    quotes = ",".join(f"{_json(name)}:{_QUOTE}" for name in schema["properties"])
    forms = [_form_of_value(choice) for choice in schema.get("members", (schema,))]
    if quotes_key is not None:
        forms = [f"{form[:-1]},{_json(quotes_key)}:{{{quotes}}}}}" for form in forms]
    return _described(" or ".join(forms), schema)


def form_template(schema: JsonSchema) -> str:
    """Return the form of one value of a normalized schema.

    Names of types, restrictions and descriptions in parentheses stand in place of values.
    """
    if schema.get("enum") == [None]:
        return "null"
    text = _form_of_value(schema)
    if "null" in json_types(schema):
        text += " or null"
    return _described(text, schema)


def has_numbers(schema: JsonSchema) -> bool:
    """Return whether a value at any depth of a normalized schema may be a number."""
    if json_type(schema) in ("number", "integer"):
        return True
    parts = [*schema.get("properties", {}).values(), *schema.get("prefixItems", ())]
    parts += [schema["additionalProperties"]] if is_map(schema) else []
    parts += [item_schema(schema, 0)] if "items" in schema else []
    return any(map(has_numbers, parts))


def plain_json(value: Any) -> str:
    """Return a value as JSON in a prompt: without escapes, and whole numbers without a fraction."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


_json = plain_json


def _described(text: str, schema: JsonSchema) -> str:
    description = schema.get("description")
    return f"{text} ({description})" if description else text


def _form_of_value(schema: JsonSchema) -> str:
    """Return the form of a value that is not null, without its description."""
    kind = json_type(schema)
    if "members" in schema:
        return " or ".join(map(_form_of_value, schema["members"]))
    if is_map(schema):
        return _counted(f'{{"NAME":{form_template(schema["additionalProperties"])},...}}', schema)
    if kind == "object":
        return f"{{{','.join(_members(schema))}}}"
    if "prefixItems" in schema:
        return f"[{','.join(map(form_template, schema['prefixItems']))}]"
    if kind == "array":
        return _form_of_list(schema)
    if "enum" in schema and not schema.get("fixed"):
        return " or ".join(_json(value) for value in schema["enum"] if value is not None)
    return _form_of_string(schema) if kind == "string" else _form_of_scalar(kind, schema)


def _members(schema: JsonSchema) -> Iterator[str]:
    """Yield the members of an object's form; of a union's member, the constant that tells it."""
    for name, field in schema["properties"].items():
        is_constant = name == schema.get("discriminator") and "const" in field
        yield f"{_json(name)}:{_json(field['const']) if is_constant else form_template(field)}"


def _form_of_list(schema: JsonSchema) -> str:
    if schema.get("maxItems") == 0:
        return "[]"
    return _counted(f"[{form_template(schema['items'])},...]", schema)


def _counted(text: str, schema: JsonSchema) -> str:
    """Return the form of a list or map with the limits of its number of items."""
    least = schema.get("minItems", schema.get("minProperties", 0))
    most = schema.get("maxItems", schema.get("maxProperties"))
    limits = _from_to(least or None, most, "item")
    return f"{text} ({limits})" if limits else text


def _form_of_string(schema: JsonSchema) -> str:
    name = schema.get("format", "string")
    length = _from_to(schema.get("minLength") or None, schema.get("maxLength"), "character")
    text = f"{_FORMATS.get(name, name)}{f' of {length}' if length else ''}"
    return f"{text} that matches {schema['pattern']}" if "pattern" in schema else text


def _form_of_scalar(kind: str, schema: JsonSchema) -> str:
    """Return the form of a number, integer or boolean, with the range of a number."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        bounds = [f"from {_json(low)} to {_json(high)}"]
    else:
        bounds = [f"of at least {_json(low)}"] if low is not None else []
        bounds += [f"of at most {_json(high)}"] if high is not None else []
    for key, word in (("exclusiveMinimum", "above"), ("exclusiveMaximum", "below")):
        bounds += [f"{word} {_json(schema[key])}"] if key in schema else []
    bounds += [f"a multiple of {_json(schema['multipleOf'])}"] if "multipleOf" in schema else []
    return f"{kind} {' and '.join(bounds)}" if bounds else kind


def _from_to(least: Any, most: Any, noun: str) -> str:
    """Return limits of a number of things in words; "" without any. `noun` is their name."""
    limits = [limit for limit in (least, most) if limit is not None]
    if not limits:
        return ""
    things = noun if limits[-1] == 1 else f"{noun}s"
    if len(limits) == 2:
        return f"{least} {things}" if least == most else f"{least} to {most} {things}"
    return f"at {'most' if least is None else 'least'} {limits[0]} {things}"
