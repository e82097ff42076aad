"""Extraction tasks: their schema, and the values read from the answer.

The model writes one JSON object: the schema's fields, and, if quotes are asked for, an object
`quotes` with the words of the text that show each field. It writes null in place of the object
where the text states nothing. The answer is decoded under a schema (`decoding.py`) and validated
again when it is read. Knows no engine and no prompt.

The messages of the InvalidAnswer errors raised here are sent to the model when it is asked to
repair its answer. They are part of the prompts: changing one requires a new PROMPT_VERSION.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from pipelines.documents import Fields
from pipelines.errors import InvalidAnswer
from pipelines.job.task_specs import EvidenceKind, ExtractTask
from pipelines.tasks.arrow import column_error
from pipelines.tasks.columns import RESERVED_FIELDS
from pipelines.tasks.conversion import converted, with_texts
from pipelines.tasks.decoding import quotes_key
from pipelines.tasks.evidence import evidence_of_fields
from pipelines.tasks.evidence import only_verified as only_verified_values
from pipelines.tasks.faults import raise_all
from pipelines.tasks.limits import check_literals
from pipelines.tasks.missing import completed, without_least_counts
from pipelines.tasks.normalizing import normalize_schema
from pipelines.tasks.schema import (
    JsonSchema,
    empty_value,
    field_schemas,
    from_shorthand,
    lenient,
    member_of,
    nullable,
)
from pipelines.tasks.truncated import complete_values
from pipelines.tasks.validation import schema_violations
from pipelines.text.search import DocumentSearch


def schema_of(task: ExtractTask) -> dict[str, Any]:
    """Return the normalized JSON Schema of an extraction, from the task's `fields` or `schema`.

    Raises SpecError, with the key path and the remedy of each fault, if the schema is not
    supported, or if a field has a name in RESERVED_FIELDS.
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
    """Return the normalized schema that answers about a whole document must follow.

    `schema` is the normalized schema of the task, as `schema_of` returns it. With the task's key
    `strict` the result is a copy of it. Otherwise required fields may be null too, because a
    document need not state them (`schema.lenient`).
    """
    return dict(schema) if task.strict else lenient(schema)


def parse_fields(
    answer: str,
    schema: JsonSchema,
    search: DocumentSearch,
    span: tuple[int, int],
    *,
    only_verified: bool,
    cut_off: bool = False,
    own: tuple[int, int] | None = None,
    evidence: EvidenceKind = "quotes",
    may_be_null: bool = False,
) -> Fields:
    """Parse the model's answer to an extraction, validate it, and look for evidence of its values.

    Args:
        answer: the text that the model generated: JSON with the fields and the model's quotes.
        schema: the normalized schema of the fields, without `quotes`.
        search: finds quotes and values in the document.
        span: start and end, in characters, of the part of the document that the model was shown;
            evidence is looked for in it.
        only_verified: keep only the values that the document supports (`evidence.py`).
        cut_off: the answer reached its limit of tokens; its complete and valid values are kept, and
            all other fields are null, or an empty list or map, whatever the schema requires.
        own: start and end, in characters, of the chunk that the model was asked about, without the
            words shown around it; None if the model was asked about all of `span`.
        evidence: what the model was asked to write as evidence.
        may_be_null: whether the answer may be null, which states nothing: all fields are empty.

    Raises InvalidAnswer, with a message that can be sent to the model, if the answer is not JSON or
    violates the schema.
    """
    if may_be_null and answer.strip() == "null":
        return Fields(empty_fields(schema))
    values = _parse_beginning(answer) if cut_off else _parse_json(answer)
    quotes = values.pop(quotes_key(schema), None)
    values = converted(values, schema)
    if cut_off:
        values = _valid_values(values, schema)
    else:
        check_values(values, schema)
    if evidence == "none":
        return Fields(values)
    quoted = {} if evidence == "values" else _quoted_words(quotes)
    rows = evidence_of_fields(
        values, schema, quoted, search, *span, own, anchored=evidence == "anchors"
    )
    return (
        Fields(*only_verified_values(values, schema, rows))
        if only_verified
        else Fields(values, rows)
    )


def empty_fields(schema: JsonSchema) -> dict[str, Any]:
    """Return the fields of an answer that states nothing: null, or an empty list or map, in each.

    Of a union of objects it is {}, since nothing tells which of them it would be.
    """
    if "members" in schema:
        return {}
    return {name: empty_value(field) for name, field in schema["properties"].items()}


def check_values(values: Mapping[str, Any], schema: JsonSchema) -> None:
    """Raise InvalidAnswer if values by field name violate their schema or do not fit their column.

    The message names the first 3 violations. An unexpected error of the validator itself is raised
    as an InvalidAnswer too: it concerns one task of one document, and must not end the run.
    """
    try:
        violations = schema_violations(with_texts(values, schema), schema)
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
    allowed = member_of(values, without_least_counts(nullable(schema)))
    kept: dict[str, Any] = {}
    for name, field_schema in field_schemas(values, schema).items():
        value = completed(values.get(name), field_schema)
        part = {**allowed, "properties": {name: allowed["properties"][name]}, "required": []}
        try:
            check_values({name: value}, part)
        except InvalidAnswer:
            value = empty_value(field_schema)
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
    """Return whether a JSON value states anything.

    Null, a blank string, an empty list, and an object with only such values, or with none, do not.
    A list with an item, even a null one, does.
    """
    if isinstance(value, Mapping):
        return any(has_content(field_value) for field_value in value.values())
    if isinstance(value, str):
        return bool(value.strip())
    return value is not None and value != []
