"""An extraction: its schema, the form that the model fills in, and the values in what it wrote.

The model writes one JSON object: the schema's fields, and `quotes` with the words that show each of
them. It is decoded under a schema made here, and checked again. Knows no prompts and no engine.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from pipelines.documents import Fields, Quote
from pipelines.errors import InvalidAnswer, SpecError
from pipelines.job.spec import ExtractTask
from pipelines.tasks.columns import RESERVED_FIELDS
from pipelines.tasks.schema import column_fault, from_shorthand, kind_of, normalised, types_of
from pipelines.tasks.validation import JsonSchema, schema_violations
from pipelines.text.grounding import locate

QUOTES = "quotes"
_QUOTE_CHARACTERS = 300
_LEAST_ANSWER_TOKENS, _MOST_ANSWER_TOKENS = 64, 1024
# Room for one value, in tokens, beside the words of the form around it.
_VALUE_TOKENS = {"string": 32, "number": 16, "integer": 16, "boolean": 4}
_QUOTE_TOKENS = 48
_LIST_ITEMS = 8
# What the engine decodes under; what else a schema says is checked when the answer is read.
_DECODED = ("type", "enum", "const", "items", "properties", "required", "additionalProperties")
_DECODED_RANGES = ("minimum", "maximum", "minItems", "maxItems", "minLength", "maxLength")
_DECODED_FORMATS = ("date", "date-time")


def schema_of(task: ExtractTask) -> dict[str, Any]:
    """The normalised schema of a task's fields. Raises SpecError naming the task and the place."""
    where = f"tasks.{task.name}"
    if task.json_schema is not None:
        schema = normalised(task.json_schema, f"{where}.schema")
    else:
        schema = from_shorthand(task.fields or {})
    for name in schema["properties"]:
        if name in RESERVED_FIELDS:
            raise SpecError(
                f"{where}: a field cannot be named {name!r}, which every extraction has beside its "
                f"fields; so are {', '.join(RESERVED_FIELDS)}. Name it otherwise"
            )
    return schema


def form_template(schema: JsonSchema) -> str:
    """What is to be filled in, in few words: JSON with types in the place of values."""
    kind = kind_of(schema)
    if kind == "object":
        inner = ", ".join(
            f'"{name}": {form_template(each)}' for name, each in schema["properties"].items()
        )
        text = f"{{{inner}}}"
    elif kind == "array":
        text = f"[{form_template(schema['items'])}, ...]"
    elif "enum" in schema:
        text = " or ".join(json.dumps(value) for value in schema["enum"] if value is not None)
    else:
        text = schema.get("format", kind) if kind == "string" else kind
    if "null" in types_of(schema):
        text += " or null"
    meaning = schema.get("description")
    return f"{text} ({meaning})" if meaning else text


def answer_schema(schema: JsonSchema) -> dict[str, Any]:
    """The schema of what the model writes: the fields, and a quote or null for each."""
    quote = {"anyOf": [{"type": "string", "maxLength": _QUOTE_CHARACTERS}, {"type": "null"}]}
    names = list(schema["properties"])
    quotes = {
        "type": "object",
        "properties": dict.fromkeys(names, quote),
        "required": names,
        "additionalProperties": False,
    }
    fields = {name: _decodable(each) for name, each in schema["properties"].items()}
    return {
        "type": "object",
        "properties": {**fields, QUOTES: quotes},
        "required": [*names, QUOTES],
        "additionalProperties": False,
    }


def _decodable(schema: JsonSchema) -> dict[str, Any]:
    """A place of the schema with only what every grammar can follow, null as its own choice."""
    kept = {key: schema[key] for key in (*_DECODED, *_DECODED_RANGES) if key in schema}
    if schema.get("format") in _DECODED_FORMATS:
        # a grammar knows the format of a text or its length
        kept = {key: each for key, each in kept.items() if not key.endswith("Length")}
        kept["format"] = schema["format"]
    kind = kind_of(schema)
    if kind == "object":
        kept["properties"] = {n: _decodable(each) for n, each in schema["properties"].items()}
    if kind == "array":
        kept["items"] = _decodable(schema["items"])
    if "enum" in kept or "const" in kept:
        kept.pop("type", None)
        return kept
    kept["type"] = kind
    return {"anyOf": [kept, {"type": "null"}]} if "null" in types_of(schema) else kept


def max_answer_tokens(schema: JsonSchema, count: Callable[[str], int]) -> int:
    """The most tokens that an answer may take; `count` are those of a text."""
    skeleton = count(json.dumps(_skeleton(schema))) + count(json.dumps(list(schema["properties"])))
    quotes = _QUOTE_TOKENS * len(schema["properties"])
    wanted = skeleton + _tokens_of_values(schema, count) + quotes
    return max(_LEAST_ANSWER_TOKENS, min(_MOST_ANSWER_TOKENS, wanted))


def _skeleton(schema: JsonSchema) -> Any:
    if kind_of(schema) == "object":
        return {name: _skeleton(each) for name, each in schema["properties"].items()}
    return [] if kind_of(schema) == "array" else None


def _tokens_of_values(schema: JsonSchema, count: Callable[[str], int]) -> int:
    kind = kind_of(schema)
    if kind == "object":
        return sum(_tokens_of_values(each, count) for each in schema["properties"].values())
    if kind == "array":
        items = schema["items"]
        return _LIST_ITEMS * (_tokens_of_values(items, count) + count(json.dumps(_skeleton(items))))
    if "enum" in schema:
        return max(count(json.dumps(value)) for value in schema["enum"])
    return _VALUE_TOKENS[kind]


def parse_fields(
    answer: str, schema: JsonSchema, text: str, span: tuple[int, int], *, only_verified: bool
) -> Fields:
    """The values in what the model wrote, and its quotes looked up in that span of the text.

    Raises InvalidAnswer that says what is wrong, in words that can be put to the model.
    """
    values = _parsed(answer)
    quotes = values.pop(QUOTES, None)
    _check(values, schema)
    looked_up = tuple(_quotes(quotes, values, text, span))
    if only_verified:
        verified = {quote.field for quote in looked_up if quote.verified}
        values = {n: each if n in verified else _nothing(each) for n, each in values.items()}
    return Fields(values, looked_up)


def _check(values: Mapping[str, Any], schema: JsonSchema) -> None:
    """Raises InvalidAnswer where the values break the schema or fit in no column, also where they
    cannot be checked at all: that is one task's trouble, not the run's."""
    try:
        found = schema_violations(values, schema)
        fault = None if found else column_fault(values, schema)
    except Exception as error:
        raise InvalidAnswer(f"cannot be checked: {type(error).__name__}: {error}") from error
    if found:
        raise InvalidAnswer("; ".join(f"{each.path or 'it'}: {each.message}" for each in found[:3]))
    if fault:
        raise InvalidAnswer(fault)


def _parsed(answer: str) -> dict[str, Any]:
    def refuse(constant: str) -> NoReturn:
        raise InvalidAnswer(f"{constant} is no number of JSON")

    def finite(number: str) -> float:
        return float(number) if math.isfinite(float(number)) else refuse(number)

    try:
        values = json.loads(answer, parse_constant=refuse, parse_float=finite, strict=False)
    except ValueError as error:
        raise InvalidAnswer(f"not JSON: {error}") from error
    except RecursionError as error:
        raise InvalidAnswer("not JSON: too deep") from error
    if not isinstance(values, dict):
        raise InvalidAnswer("not a JSON object")
    return values


def _quotes(
    quotes: object, values: Mapping[str, Any], text: str, span: tuple[int, int]
) -> Iterator[Quote]:
    """A field's quote where the field says something; offsets are those of the whole text."""
    if not isinstance(quotes, Mapping):
        return
    for name, value in values.items():
        words = quotes.get(name)
        if has_content(value) and isinstance(words, str) and words.strip():
            # half of a surrogate pair is no text that could be looked for or stored
            found = locate(words.strip().encode("utf-8", "replace").decode(), text, *span)
            yield Quote(found.text, found.start, found.end, found.verified, name)


def has_content(value: Any) -> bool:
    """Whether a value is more than null, a blank text, an empty list, or an object of these."""
    if isinstance(value, Mapping):
        return any(has_content(each) for each in value.values())
    if isinstance(value, str):
        return bool(value.strip())
    return value is not None and value != []


def _nothing(value: Any) -> Any:
    return [] if isinstance(value, list) else None
