"""The JSON Schema under which the engine decodes an answer: what xgrammar really enforces.

xgrammar ignores some keywords, misreads others, and forbids correct values for a few; those are
left out here and checked when the answer is read. Of strings it restricts the format only: with a
pattern or a length it forbids every escape, so that no quotation mark, backslash or line break
could be written, and counting characters takes it a second to compile and 5 ms for each token. A
string is bounded by the answer's `max_tokens`; values come before quotes, so that a quote without
end costs none of them. Knows no prompts and no engine.
"""

from __future__ import annotations

import math
from typing import Any

from pipelines.tasks.schema import JsonSchema, is_map, json_type, json_types, object_of

QUOTES = "quotes"
"""The key of an answer under which the model puts its quotes, by field name."""
JSON_SEPARATORS = (",", ":")
"""The texts after an item and after a key of an answer that is JSON, as in `json.dumps`. Answers
have no other white space outside strings. With blanks they would take a tenth more tokens."""
# Formats whose grammar accepts all that validation does. Others reject some: `time` one without a
# zone, `duration` fractions, `email` other scripts.
_FORMATS = ("date", "date-time", "uuid", "ipv4", "ipv6")
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
# Counting more items makes a grammar slow.
_MAX_COUNTED_ITEMS = 256


def quotes_key(schema: JsonSchema) -> str:
    """Return the key of an answer under which the model puts its quotes.

    It is QUOTES, with as many underscores before it as are needed to differ from the names of the
    properties of `schema`, the normalized schema of the fields.
    """
    key = QUOTES
    while key in schema["properties"]:
        key = f"_{key}"
    return key


def answer_schema(
    schema: JsonSchema, *, quoted: bool = True, may_be_null: bool = False
) -> dict[str, Any]:
    """Return the JSON Schema under which the engine decodes an answer of an extraction.

    Its objects have the fields of `schema`, the normalized schema of the extraction, as far as the
    grammar can enforce them (`decodable`). With `quoted`, an object of quotes comes after them,
    with a string or null for each field, under the key that `quotes_key` returns. With
    `may_be_null`, the answer may be null. If there are several alternatives, as if `schema` is a
    union of objects, the result is an `anyOf` of them.
    """
    quote = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    quotes = object_of(dict.fromkeys(schema["properties"], quote))
    added = {quotes_key(schema): quotes} if quoted else {}
    choices: list[dict[str, Any]] = [
        object_of({**_decodable_fields(choice), **added})
        for choice in schema.get("members", (schema,))
    ]
    choices += [{"type": "null"}] if may_be_null else []
    return choices[0] if len(choices) == 1 else {"anyOf": choices}


def _decodable_fields(schema: JsonSchema) -> dict[str, Any]:
    return {name: decodable(field) for name, field in schema["properties"].items()}


def decodable(schema: JsonSchema) -> dict[str, Any]:
    """Return a copy of a normalized schema of one value with only the keywords for decoding.

    These are the keywords that xgrammar enforces as JSON Schema defines them; the value is
    validated with the others after decoding. A type that includes null becomes an `anyOf` of the
    type and null.
    """
    if "const" in schema:
        return _constants([schema["const"]], schema)
    if "enum" in schema:
        return _constants(schema["enum"], schema)
    choices = _choices(schema)
    if "null" in json_types(schema):
        choices = [*choices, {"type": "null"}]
    return choices[0] if len(choices) == 1 else {"anyOf": choices}


def _choices(schema: JsonSchema) -> list[dict[str, Any]]:
    """Return the alternatives, without null, for a value of a normalized schema."""
    kind = json_type(schema)
    if "texts" in schema:
        return _text_choices(schema["texts"])
    if kind == "string" and "anyOf" in schema:
        return [decodable(choice) for choice in schema["anyOf"] if choice != {"type": "null"}]
    if "members" in schema:
        return [decodable(member) for member in schema["members"]]
    if is_map(schema):
        kept = {"type": kind, "additionalProperties": decodable(schema["additionalProperties"])}
        return [kept | _counts(schema, "minProperties", "maxProperties")]
    if kind == "object":
        return [object_of(_decodable_fields(schema))]
    if kind == "array":
        return [_array(schema)]
    if kind == "integer":
        return [{"type": kind, **_range(schema)}]
    # a range of numbers would allow six decimals and no exponent, so that 0.1234567 were forbidden
    return [_string(schema) if kind == "string" else {"type": kind}]


def _text_choices(choices: list[JsonSchema]) -> list[dict[str, Any]]:
    """Return what is decoded for a text of one of several types.

    Only strings and integers if one of them is a string: as a number, 12.50 would lose its zero.
    """
    strings = [choice for choice in choices if json_type(choice) == "string"]
    free = any("enum" not in choice and "const" not in choice for choice in strings)
    if not free:
        return [decodable(choice) for choice in choices]
    decoded = [decodable(choice) for choice in strings]
    integers = [decodable(choice) for choice in choices if json_type(choice) == "integer"]
    return [*([{"type": "string"}] if {"type": "string"} in decoded else decoded), *integers]


def _constants(values: list[Any], schema: JsonSchema) -> dict[str, Any]:
    """Return an `enum`, unless it has fractions: for 0.1 the grammar wants 0.10000000000000001."""
    if any(isinstance(value, float) for value in values):
        choices = [{"type": json_type(schema)}]
        choices += [{"type": "null"}] * (None in values)
        return choices[0] if len(choices) == 1 else {"anyOf": choices}
    return {"enum": list(values)}


def _array(schema: JsonSchema) -> dict[str, Any]:
    counts = _counts(schema, "minItems", "maxItems")
    if "prefixItems" in schema:
        items = [decodable(item) for item in schema["prefixItems"]]
        return {"type": "array", "prefixItems": items, **counts}
    return {"type": "array", "items": decodable(schema["items"]), **counts}


def _counts(schema: JsonSchema, *keys: str) -> dict[str, int]:
    return {key: schema[key] for key in keys if schema.get(key, math.inf) <= _MAX_COUNTED_ITEMS}


def _range(schema: JsonSchema) -> dict[str, int]:
    """Return the bounds of an integer, as whole numbers of 64 bits."""
    lowest = [math.ceil(schema[key]) for key in ("minimum",) if key in schema]
    lowest += [math.floor(schema[key]) + 1 for key in ("exclusiveMinimum",) if key in schema]
    highest = [math.floor(schema[key]) for key in ("maximum",) if key in schema]
    highest += [math.ceil(schema[key]) - 1 for key in ("exclusiveMaximum",) if key in schema]
    bounds = {}
    if lowest and _INT64_MIN < max(lowest) <= _INT64_MAX:
        bounds["minimum"] = max(lowest)
    if highest and _INT64_MIN <= min(highest) < _INT64_MAX:
        bounds["maximum"] = min(highest)
    return bounds


def _string(schema: JsonSchema) -> dict[str, Any]:
    if schema.get("format") in _FORMATS:
        return {"type": "string", "format": schema["format"]}
    return {"type": "string"}
