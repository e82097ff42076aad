"""Extraction tasks: their schema, the form put to the model, and the values read from its answer.

The model writes one JSON object: the schema's fields, and an object `quotes` with the words of the
text that show each field. The answer is decoded under the schema built here and validated again
when it is read. Knows no engine and no prompt around the form.

The messages of the InvalidAnswer errors raised here are sent to the model when it is asked to
repair its answer. They are part of the prompts: changing one requires a new PROMPT_VERSION.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from pipelines.documents import Fields, Quote
from pipelines.errors import InvalidAnswer
from pipelines.job.spec import ExtractTask
from pipelines.tasks.arrow import column_error
from pipelines.tasks.columns import RESERVED_FIELDS
from pipelines.tasks.conversion import converted
from pipelines.tasks.decoding import quotes_key
from pipelines.tasks.faults import raise_all
from pipelines.tasks.limits import check_literals
from pipelines.tasks.normalizing import normalize_schema
from pipelines.tasks.schema import (
    JsonSchema,
    from_shorthand,
    is_map,
    json_type,
    json_types,
    lenient,
)
from pipelines.tasks.validation import schema_violations
from pipelines.text.grounding import locate

_MIN_ANSWER_TOKENS, _MAX_ANSWER_TOKENS = 64, 1024
# Tokens reserved for one value, without the form's keys and punctuation around it.
_VALUE_TOKENS = {"string": 32, "number": 16, "integer": 16, "boolean": 4}
_QUOTE_TOKENS = 48
_LIST_ITEMS = 8


def schema_of(task: ExtractTask) -> dict[str, Any]:
    """Return the normalized JSON Schema of an extraction, from the task's `fields` or `schema`.

    Raises SpecError, with the key path, if the schema is not supported or if a field has one of
    the RESERVED_FIELDS names.
    """
    where = f"tasks.{task.name}"
    if task.json_schema is not None:
        schema = normalize_schema(task.json_schema, f"{where}.schema")
    else:
        schema = from_shorthand(task.fields or {})
    # references that have been replaced can have made it longer
    check_literals(schema, f"{where}.{'fields' if task.json_schema is None else 'schema'}")
    raise_all(
        f"{where}: a field cannot be named {name!r}, because the task's column already has a field "
        f"of that name. Reserved names: {', '.join(RESERVED_FIELDS)}. Rename the field"
        for name in schema["properties"]
        if name in RESERVED_FIELDS
    )
    return schema


def allowed_schema(task: ExtractTask, schema: JsonSchema) -> dict[str, Any]:
    """Return the schema that answers about a whole document follow.

    It is the task's `schema`, normalized, in which required fields may be null too, because a
    document need not state them; with the task's key `strict` it is `schema` itself.
    """
    return dict(schema) if task.strict else lenient(schema)


def form_template(schema: JsonSchema) -> str:
    """Return the form that the model is asked to fill in: JSON with type names for values.

    `schema` is normalized, or a part of a normalized schema.
    """
    if schema.get("enum") == [None]:
        return "null"
    text = _form_of_value(schema)
    if "null" in json_types(schema):
        text += " or null"
    description = schema.get("description")
    return f"{text} ({description})" if description else text


def _form_of_value(schema: JsonSchema) -> str:
    """Return the form of a value that is not null, without its description."""
    kind = json_type(schema)
    if "members" in schema:
        return " or ".join(map(_form_of_value, schema["members"]))
    if is_map(schema):
        return f'{{"NAME": {form_template(schema["additionalProperties"])}, ...}}'
    if kind == "object":
        inner = (
            f'"{name}": {json.dumps(field_schema["const"])}'
            if name == schema.get("discriminator") and "const" in field_schema
            else f'"{name}": {form_template(field_schema)}'
            for name, field_schema in schema["properties"].items()
        )
        return f"{{{', '.join(inner)}}}"
    if "prefixItems" in schema:
        return f"[{', '.join(map(form_template, schema['prefixItems']))}]"
    if kind == "array":
        return "[]" if schema.get("maxItems") == 0 else f"[{form_template(schema['items'])}, ...]"
    if "enum" in schema and not schema.get("fixed"):
        return " or ".join(json.dumps(value) for value in schema["enum"] if value is not None)
    return str(schema.get("format", kind) if kind == "string" else kind)


def max_answer_tokens(schema: JsonSchema, count: Callable[[str], int]) -> int:
    """Return the maximum length of an answer to this form, in tokens.

    It is estimated from the keys, types and quotes of `schema`, which is normalized, and limited to
    64 at least and 1,024 at most. `count` returns the number of tokens of a text.
    """
    skeleton = count(json.dumps(_skeleton(schema))) + count(json.dumps(list(schema["properties"])))
    quotes = _QUOTE_TOKENS * len(schema["properties"])
    estimate = skeleton + _value_tokens(schema, count) + quotes
    return max(_MIN_ANSWER_TOKENS, min(_MAX_ANSWER_TOKENS, estimate))


def _skeleton(schema: JsonSchema) -> Any:
    """Return a JSON value with all keys of the schema, empty lists, and null for all values."""
    if json_type(schema) == "object":
        return {
            name: _skeleton(field_schema) for name, field_schema in schema["properties"].items()
        }
    return [] if json_type(schema) == "array" else None


def _value_tokens(schema: JsonSchema, count: Callable[[str], int]) -> int:
    """Estimate the tokens of all values of the schema, without its keys."""
    kind = json_type(schema)
    if kind == "object":
        fields = schema["properties"].values()
        return sum(_value_tokens(field_schema, count) for field_schema in fields)
    if kind == "array":
        items = schema["items"]
        return _LIST_ITEMS * (_value_tokens(items, count) + count(json.dumps(_skeleton(items))))
    if "enum" in schema:
        return max(count(json.dumps(value)) for value in schema["enum"])
    return _VALUE_TOKENS[kind]


def parse_fields(
    answer: str, schema: JsonSchema, text: str, span: tuple[int, int], *, only_verified: bool
) -> Fields:
    """Parse the JSON that the model wrote, validate it, and locate its quotes in the text.

    Args:
        answer: the model's output.
        schema: the normalized schema of the fields, without `quotes`.
        text: the document.
        span: start and end, in characters, of the part of `text` that the model was shown; quotes
            are looked for in it.
        only_verified: set fields without a verified quote to null, or to an empty list.

    Raises InvalidAnswer, with a message that can be sent to the model, if the answer is not JSON or
    violates the schema.
    """
    values = _parse_json(answer)
    quoted_words = values.pop(quotes_key(schema), None)
    values = converted(values, schema)
    _check(values, schema)
    quotes = tuple(_locate_quotes(quoted_words, values, text, span))
    if only_verified:
        verified = {quote.field for quote in quotes if quote.verified}
        values = {
            name: value if name in verified else _empty(value) for name, value in values.items()
        }
    return Fields(values, quotes)


def _check(values: Mapping[str, Any], schema: JsonSchema) -> None:
    """Raise InvalidAnswer if the values violate the schema or do not fit their column.

    An error of the validator itself is an InvalidAnswer too: it concerns one task of one document,
    and must not end the run.
    """
    try:
        violations = schema_violations(values, schema)
        unfit = None if violations else column_error(values, schema)
    except Exception as error:
        raise InvalidAnswer(
            f"the answer cannot be checked with its schema: {type(error).__name__}: {error}"
        ) from error
    if violations:
        raise InvalidAnswer(
            "; ".join(
                f"{violation.path or 'it'}: {violation.message}" for violation in violations[:3]
            )
        )
    if unfit:
        raise InvalidAnswer(unfit)


def _parse_json(answer: str) -> dict[str, Any]:
    def reject(constant: str) -> NoReturn:
        raise InvalidAnswer(f"not JSON: {constant} is not a JSON number, write null instead")

    def finite(number: str) -> float:
        return float(number) if math.isfinite(float(number)) else reject(number)

    try:
        values = json.loads(answer, parse_constant=reject, parse_float=finite, strict=False)
    except ValueError as error:
        raise InvalidAnswer(f"not JSON: {error}") from error
    except RecursionError as error:
        raise InvalidAnswer("not JSON: nested too deeply") from error
    if not isinstance(values, dict):
        raise InvalidAnswer("not a JSON object")
    return values


def _locate_quotes(
    quoted_words: object, values: Mapping[str, Any], text: str, span: tuple[int, int]
) -> Iterator[Quote]:
    """Yield the quote of every field that has a value, with offsets into the whole text.

    Anything in `quoted_words` that is not a non-blank string is ignored.
    """
    if not isinstance(quoted_words, Mapping):
        return
    for name, value in values.items():
        words = quoted_words.get(name)
        if has_content(value) and isinstance(words, str) and words.strip():
            # a lone surrogate cannot be encoded as UTF-8, so it could be neither found nor stored
            quote = locate(words.strip().encode("utf-8", "replace").decode(), text, *span)
            yield Quote(quote.text, quote.start, quote.end, quote.verified, name)


def has_content(value: Any) -> bool:
    """Return False for null, a blank string, an empty list, and an object of only such values."""
    if isinstance(value, Mapping):
        return any(has_content(field_value) for field_value in value.values())
    if isinstance(value, str):
        return bool(value.strip())
    return value is not None and value != []


def _empty(value: Any) -> Any:
    return [] if isinstance(value, list) else None
