"""A form is filled in under a schema: what is asked, what is decoded, what is read back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pipelines.documents import Answer, Usage
from pipelines.errors import InvalidAnswer, SpecError
from pipelines.job.spec import ExtractTask
from pipelines.tasks.columns import AnswerColumn
from pipelines.tasks.extraction import (
    answer_schema,
    form_template,
    max_answer_tokens,
    parse_fields,
    schema_of,
)
from pipelines.tasks.schema import nullable
from pipelines.tasks.validation import schema_violations

FIELDS = {"company": "string", "revenue": "number", "risks": ["string"], "on": "date"}
TEXT = "Acme earned 12.5 on a day in May. Risks: fire, flood."
VALUES = {"company": "Acme", "revenue": 12.5, "risks": ["fire", "flood"], "on": None}
QUOTES = {"company": "Acme earned", "revenue": "earned  12.5", "risks": "Risks: storm", "on": None}


def task(schema: Any = None, **fields: Any) -> ExtractTask:
    given = {"schema": schema} if schema else {"fields": fields or FIELDS}
    return ExtractTask.model_validate({"name": "facts", "kind": "extract", **given})


def read(values: dict[str, Any], quotes: Any = QUOTES, *, only_verified: bool = False) -> Any:
    answer = json.dumps({**values, "quotes": quotes})
    schema = schema_of(task())
    return parse_fields(answer, schema, TEXT, (0, len(TEXT)), only_verified=only_verified)


def test_the_form_says_in_few_words_what_goes_where() -> None:
    schema = {
        "type": "object",
        "properties": {
            "sector": {"enum": ["bank", "oil", None]},
            "people": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"age": {"type": "integer", "description": "in years"}},
                    "required": ["age"],
                },
            },
            "on": {"type": "string", "format": "date"},
        },
        "required": ["people", "on"],
    }
    assert form_template(schema_of(task(schema))) == (
        '{"sector": "bank" or "oil" or null, "people": [{"age": integer (in years)}, ...], '
        '"on": date}'
    )


def test_what_is_decoded_has_the_fields_and_a_quote_for_each() -> None:
    decoded = answer_schema(schema_of(task()))
    check = Draft202012Validator(decoded)
    assert list(decoded["properties"]) == [*FIELDS, "quotes"]
    assert check.is_valid({**VALUES, "quotes": QUOTES})
    assert not check.is_valid(VALUES)
    assert not check.is_valid({**VALUES, "company": 3, "quotes": QUOTES})


def test_what_no_grammar_follows_is_not_decoded_and_still_checked() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "multipleOf": 5}}}
    assert "multipleOf" not in json.dumps(answer_schema(schema_of(task(schema))))
    with pytest.raises(InvalidAnswer, match="not a multiple of 5"):
        parse_fields('{"n": 7}', schema_of(task(schema)), "", (0, 0), only_verified=False)


def test_ranges_are_decoded_and_a_length_beside_a_format_is_not() -> None:
    schema = {
        "type": "object",
        "properties": {
            "n": {"type": "integer", "minimum": 1, "maximum": 5},
            "on": {"type": "string", "format": "date", "maxLength": 10},
        },
        "required": ["n", "on"],
    }
    fields = answer_schema(schema_of(task(schema)))["properties"]
    assert fields["n"] == {"type": "integer", "minimum": 1, "maximum": 5}
    assert fields["on"] == {"type": "string", "format": "date"}


def test_a_bigger_form_may_take_a_longer_answer_within_bounds() -> None:
    def tokens(**fields: Any) -> int:
        return max_answer_tokens(schema_of(task(**fields)), lambda text: len(text) // 3 + 1)

    assert 64 <= tokens(ok="boolean") < tokens(a="string", b=["string"]) <= 1024
    assert tokens(**{f"field_{n}": ["string"] for n in range(50)}) == 1024


def test_values_are_read_with_their_quotes_looked_up() -> None:
    found = read(VALUES)
    assert found.values == VALUES
    assert [(quote.field, quote.verified) for quote in found.quotes] == [
        ("company", True), ("revenue", True), ("risks", False),
    ]  # fmt: skip
    assert TEXT[found.quotes[1].start : found.quotes[1].end] == "earned 12.5"


def test_a_field_that_says_nothing_has_no_quote() -> None:
    empty: dict[str, Any] = {"company": None, "revenue": None, "risks": [], "on": None}
    assert read(empty).quotes == ()


def test_only_verified_fields_stand_where_the_job_wants_it() -> None:
    found = read({**VALUES, "on": "2020-01-01"}, only_verified=True)
    assert found.values == {"company": "Acme", "revenue": 12.5, "risks": [], "on": None}


@pytest.mark.parametrize("quotes", [None, [], "Acme", {"company": 3}, {"company": " "}])
def test_quotes_that_are_none_do_no_harm(quotes: Any) -> None:
    assert read(VALUES, quotes).quotes == ()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("", "not JSON"),
        ('{"company": "Acme', "not JSON"),
        ("[1]", "not a JSON object"),
        ("[" * 100_000, "not JSON"),
        ('{"company": "Acme", "revenue": NaN, "risks": [], "on": null}', "NaN is no number"),
        ('{"company": "Acme", "revenue": 1e999, "risks": [], "on": null}', "1e999 is no number"),
        ('{"company": "A", "revenue": "much", "risks": [], "on": null}', "revenue: 'much' is not"),
        ('{"company": "A", "revenue": 1, "risks": [], "on": "2020-02-31"}', "on: '2020-02-31'"),
        ('{"company": "A", "revenue": 1, "risks": [], "on": null, "more": 1}', "it: Additional"),
        ('{"company": "\\ud800", "revenue": 1, "risks": [], "on": null}', "surrogates"),
    ],
)
def test_an_answer_that_breaks_the_schema_says_where(answer: str, message: str) -> None:
    with pytest.raises(InvalidAnswer, match=message):
        parse_fields(answer, schema_of(task()), TEXT, (0, len(TEXT)), only_verified=False)


def test_a_number_too_big_for_its_column_is_invalid() -> None:
    schema = schema_of(task(n="integer"))
    with pytest.raises(InvalidAnswer):
        parse_fields('{"n": 1' + "0" * 30 + "}", schema, "", (0, 0), only_verified=False)


def test_a_number_too_big_to_be_checked_is_invalid() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "number", "multipleOf": 0.5}}}
    with pytest.raises(InvalidAnswer, match=r"cannot be checked|n: "):
        parse_fields(
            '{"n": 1' + "0" * 400 + "}", schema_of(task(schema)), "", (0, 0), only_verified=False
        )


def test_half_a_character_in_a_quote_does_no_harm() -> None:
    answer = '{"company": "Acme", "revenue": null, "risks": [], "on": null, "quotes": '
    answer += '{"company": "Acme \\ud83d earned"}}'
    found = parse_fields(answer, schema_of(task()), TEXT, (0, len(TEXT)), only_verified=False)
    assert found.quotes[0].text == "Acme ? earned"
    AnswerColumn("facts", "extract", schema_of(task())).cell(
        Answer("facts", found, None, "single", 1, Usage(), "stop")
    )


def test_a_chunk_need_not_state_what_the_schema_requires() -> None:
    schema = {
        "type": "object",
        "properties": {
            "sector": {"anyOf": [{"enum": ["bank", "oil"]}, {"type": "null"}]},
            "name": {"type": "string"},
            "place": {"type": "object", "properties": {"town": {"type": "string"}}},
            "rare": {"type": "integer"},
        },
        "required": ["sector", "name", "place"],
    }
    whole = schema_of(task(schema))
    said = {"sector": None, "name": "Acme", "place": {"town": None}, "rare": None}
    assert schema_violations(said, whole) == []
    nothing = dict.fromkeys(said)
    assert {fault.path for fault in schema_violations(nothing, whole)} == {"name", "place"}
    assert schema_violations(nothing, nullable(whole)) == []


def test_a_text_with_a_raw_line_break_is_read() -> None:
    found = parse_fields(
        '{"a": "x\ny"}', schema_of(task(a="string")), "", (0, 0), only_verified=False
    )
    assert found.values == {"a": "x\ny"}


@pytest.mark.parametrize("name", ["quotes", "status", "finish_reason"])
def test_a_field_named_as_an_answers_own_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match=rf"tasks\.facts: a field cannot be named '{name}'"):
        schema_of(task(**{name: "string"}))
