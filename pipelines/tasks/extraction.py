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
from collections.abc import Mapping
from typing import Any, NoReturn

from pipelines.documents import Fields
from pipelines.errors import InvalidAnswer, SpecError
from pipelines.job.spec import ExtractTask
from pipelines.tasks.columns import RESERVED_FIELDS, column_error
from pipelines.tasks.evidence import evidence_of_fields
from pipelines.tasks.evidence import only_verified as only_verified_values
from pipelines.tasks.limits import check_literals
from pipelines.tasks.missing import completed, without_min_items
from pipelines.tasks.schema import (
    from_shorthand,
    json_type,
    json_types,
    normalize_schema,
    nullable,
)
from pipelines.tasks.truncated import complete_values
from pipelines.tasks.validation import JsonSchema, schema_violations
from pipelines.text.search import DocumentSearch

QUOTES = "quotes"
"""The key of an answer under which the model puts its quotes, by field name; see `quotes_key`."""
_QUOTE_CHARACTERS = 300
# Keywords that constrain decoding. All other keywords are checked when the answer is read.
_DECODED = ("type", "enum", "const", "items", "properties", "required", "additionalProperties")
_DECODED_RANGES = ("minimum", "maximum", "minItems", "maxItems", "minLength", "maxLength")
_DECODED_FORMATS = ("date", "date-time")


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
    for name in schema["properties"]:
        if name in RESERVED_FIELDS:
            raise SpecError(
                f"{where}: a field cannot be named {name!r}, because the task's column already has "
                f"a field of that name. Reserved names: {', '.join(RESERVED_FIELDS)}. "
                f"Rename the field"
            )
    return schema


def quotes_key(schema: JsonSchema) -> str:
    """Return the key of an answer under which the model puts its quotes.

    It is QUOTES, with as many `_` before it as it takes to be no field of `schema`.
    """
    key = QUOTES
    while key in schema["properties"]:
        key = f"_{key}"
    return key


def form_template(schema: JsonSchema) -> str:
    """Return the form that the model is asked to fill in: JSON with type names for values.

    `schema` is normalized, or a part of a normalized schema.
    """
    kind = json_type(schema)
    if kind == "object":
        inner = ", ".join(
            f'"{name}": {form_template(field_schema)}'
            for name, field_schema in schema["properties"].items()
        )
        text = f"{{{inner}}}"
    elif kind == "array":
        text = f"[{form_template(schema['items'])}, ...]"
    elif "enum" in schema:
        text = " or ".join(json.dumps(value) for value in schema["enum"] if value is not None)
    else:
        text = schema.get("format", kind) if kind == "string" else kind
    if "null" in json_types(schema):
        text += " or null"
    description = schema.get("description")
    return f"{text} ({description})" if description else text


def answer_schema(schema: JsonSchema) -> dict[str, Any]:
    """Return the JSON Schema under which the engine decodes the answer to a form.

    It has the fields of `schema`, which is normalized, and `quotes` with a string or null for each
    field. Keywords that not every decoder supports are left out, such as `pattern`: they are
    checked when the answer is read.
    """
    quote = {"anyOf": [{"type": "string", "maxLength": _QUOTE_CHARACTERS}, {"type": "null"}]}
    names = list(schema["properties"])
    quotes = {
        "type": "object",
        "properties": dict.fromkeys(names, quote),
        "required": names,
        "additionalProperties": False,
    }
    fields = {name: _decodable(field_schema) for name, field_schema in schema["properties"].items()}
    return {
        "type": "object",
        "properties": {**fields, quotes_key(schema): quotes},
        "required": [*names, quotes_key(schema)],
        "additionalProperties": False,
    }


def _decodable(schema: JsonSchema) -> dict[str, Any]:
    """Return a subschema with only the keywords that every grammar backend supports.

    A type that includes null becomes an `anyOf` of the type and null.
    """
    kept = {key: schema[key] for key in (*_DECODED, *_DECODED_RANGES) if key in schema}
    if schema.get("format") in _DECODED_FORMATS:
        # a grammar follows either the format of a string or its length limits, not both
        kept = {key: value for key, value in kept.items() if not key.endswith("Length")}
        kept["format"] = schema["format"]
    kind = json_type(schema)
    if kind == "object":
        kept["properties"] = {
            name: _decodable(field_schema) for name, field_schema in schema["properties"].items()
        }
    if kind == "array":
        kept["items"] = _decodable(schema["items"])
    if "enum" in kept or "const" in kept:
        kept.pop("type", None)
        return kept
    kept["type"] = kind
    return {"anyOf": [kept, {"type": "null"}]} if "null" in json_types(schema) else kept


def parse_fields(
    answer: str,
    schema: JsonSchema,
    search: DocumentSearch,
    span: tuple[int, int],
    *,
    only_verified: bool,
    cut_off: bool = False,
    own: tuple[int, int] | None = None,
) -> Fields:
    """Parse the JSON that the model wrote, validate it, and look for evidence of its values.

    Args:
        answer: the model's output.
        schema: the normalized schema of the fields, without `quotes`.
        search: finds quotes and values in the document.
        span: start and end, in characters, of the part of the document that the model was shown;
            evidence is looked for in it.
        only_verified: keep only the values that the document supports (`evidence.py`).
        cut_off: the answer reached its limit of tokens; its complete values are kept, and all other
            fields are null, or an empty list, whatever the schema requires.
        own: start and end of the chunk that the model was asked about, without the words shown
            around it; None if there are none.

    Raises InvalidAnswer, with a message that can be sent to the model, if the answer is not JSON or
    violates the schema.
    """
    values = _parse_beginning(answer) if cut_off else _parse_json(answer)
    quotes = values.pop(quotes_key(schema), None)
    if cut_off:
        values = _valid_values(values, schema)
    else:
        _check(values, schema)
    evidence = evidence_of_fields(values, schema, _quoted_words(quotes), search, *span, own)
    return (
        Fields(*only_verified_values(values, evidence))
        if only_verified
        else Fields(values, evidence)
    )


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


def _valid_values(values: Mapping[str, Any], schema: JsonSchema) -> dict[str, Any]:
    """Return a value for every field: the one in `values` if it is valid, else an empty one.

    What is missing of an answer that was cut off is no violation: fields may be null, and lists too
    short.
    """
    allowed = without_min_items(nullable(schema))
    kept: dict[str, Any] = {}
    for name, field_schema in schema["properties"].items():
        value = completed(values.get(name), field_schema)
        part = {**allowed, "properties": {name: allowed["properties"][name]}, "required": []}
        try:
            _check({name: value}, part)
        except InvalidAnswer:
            value = [] if json_type(field_schema) == "array" else None
        kept[name] = value
    return kept


def _parse_beginning(answer: str) -> dict[str, Any]:
    """Return the complete values of an answer that was cut off."""

    def parse(part: str) -> Any:
        try:
            return _load_json(part)
        except InvalidAnswer:
            return None

    try:
        return complete_values(answer, parse)
    except ValueError as error:
        raise InvalidAnswer(f"not JSON: {error}") from error


def _parse_json(answer: str) -> dict[str, Any]:
    values = _load_json(answer)
    if not isinstance(values, dict):
        raise InvalidAnswer("not a JSON object")
    return values


def _load_json(text: str) -> Any:
    def reject(constant: str) -> NoReturn:
        raise InvalidAnswer(f"not JSON: {constant} is not a JSON number, write null instead")

    def finite(number: str) -> float:
        return float(number) if math.isfinite(float(number)) else reject(number)

    try:
        return json.loads(text, parse_constant=reject, parse_float=finite, strict=False)
    except ValueError as error:
        raise InvalidAnswer(f"not JSON: {error}") from error
    except RecursionError as error:
        raise InvalidAnswer("not JSON: nested too deeply") from error


def _quoted_words(quotes: object) -> dict[str, str]:
    """Return the model's quotes by field name; anything else than strings is ignored."""
    if not isinstance(quotes, Mapping):
        return {}
    return {name: words for name, words in quotes.items() if isinstance(words, str)}


def has_content(value: Any) -> bool:
    """Return False for null, a blank string, an empty list, and an object of only such values."""
    if isinstance(value, Mapping):
        return any(has_content(field_value) for field_value in value.values())
    if isinstance(value, str):
        return bool(value.strip())
    return value is not None and value != []
