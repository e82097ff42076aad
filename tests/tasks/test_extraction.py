"""Tests of extraction: the form, the schema it is decoded under, and parsing of the answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pipelines.documents import Answer, Usage
from pipelines.errors import InvalidAnswer, SpecError
from pipelines.job.task_specs import ExtractTask
from pipelines.tasks.columns import AnswerColumn
from pipelines.tasks.decoding import answer_schema
from pipelines.tasks.extraction import (
    parse_fields,
    schema_of,
)
from pipelines.tasks.form import form_of_answer, form_template
from pipelines.tasks.schema import nullable
from pipelines.tasks.validation import schema_violations
from pipelines.text.search import DocumentSearch

FIELDS = {"company": "string", "revenue": "number", "risks": ["string"], "on": "date"}
TEXT = "Acme earned 12.5 on a day in May. Risks: fire, flood."
VALUES = {"company": "Acme", "revenue": 12.5, "risks": ["fire", "flood"], "on": None}
QUOTES = {"company": "Acme earned", "revenue": "earned  12.5", "risks": "Risks: storm", "on": None}


def task(schema: Any = None, **fields: Any) -> ExtractTask:
    given = {"schema": schema} if schema else {"fields": fields or FIELDS}
    return ExtractTask.model_validate({"name": "facts", "kind": "extract", **given})


def read(values: dict[str, Any], quotes: Any = QUOTES, *, only_verified: bool = False) -> Any:
    """Parse an answer with these values and quotes."""
    answer = json.dumps({**values, "quotes": quotes})
    schema = schema_of(task())
    return parse_fields(
        answer, schema, DocumentSearch(TEXT), (0, len(TEXT)), only_verified=only_verified
    )


def test_the_form_shows_types_choices_and_descriptions() -> None:
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
        '{"sector":"bank" or "oil" or null,"people":[{"age":integer (in years)},...],'
        '"on":date (YYYY-MM-DD)}'
    )


@pytest.mark.parametrize(
    ("schema", "form"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 5}, "integer from 1 to 5"),
        ({"type": "number", "minimum": 0.0}, "number of at least 0"),
        (
            {"type": "number", "exclusiveMinimum": 0, "maximum": 7420000.0},
            "number of at most 7420000 and above 0",
        ),
        ({"type": "integer", "multipleOf": 5}, "integer a multiple of 5"),
        ({"type": "string", "pattern": "^[A-Z]{3}$"}, "string that matches ^[A-Z]{3}$"),
        ({"type": "string", "minLength": 2, "maxLength": 4}, "string of 2 to 4 characters"),
        ({"type": "string", "maxLength": 1}, "string of at most 1 character"),
        ({"type": "string", "format": "email"}, "email"),
        ({"enum": ["Zürich", "Genève"]}, '"Zürich" or "Genève"'),
        ({"enum": [7420000, 10]}, "7420000 or 10"),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 3},
            "[string,...] (1 to 3 items)",
        ),
        (
            {"type": "array", "items": {"type": "string"}, "maxItems": 3},
            "[string,...] (at most 3 items)",
        ),
        (
            {"type": "object", "additionalProperties": {"type": "number"}, "minProperties": 2},
            '{"NAME":number,...} (at least 2 items)',
        ),
    ],
)
def test_the_form_states_restrictions_in_words(schema: dict[str, Any], form: str) -> None:
    root = {"type": "object", "properties": {"ü": schema}, "required": ["ü"]}
    assert form_template(schema_of(task(root))) == f'{{"ü":{form}}}'


def test_the_form_of_an_answer_shows_the_quotes_behind_the_fields() -> None:
    schema = schema_of(task(company="string", on="date"))
    fields = '{"company":string or null,"on":date (YYYY-MM-DD) or null'
    assert form_of_answer(schema, None) == fields + "}"
    quotes = '"quotes":{"company":quote or null,"on":quote or null}'
    assert form_of_answer(schema, "quotes") == f"{fields},{quotes}}}"


def test_null_in_place_of_the_form_leaves_every_field_empty() -> None:
    schema = schema_of(task())
    search = DocumentSearch(TEXT)
    empty: dict[str, Any] = {"company": None, "revenue": None, "risks": [], "on": None}
    for cut_off in (False, True):
        fields = parse_fields(
            " null", schema, search, (0, 9), only_verified=True, cut_off=cut_off, may_be_null=True
        )
        assert (fields.values, fields.evidence) == (empty, ())
    with pytest.raises(InvalidAnswer, match="not a JSON object"):
        parse_fields("null", schema, search, (0, 9), only_verified=False)


def test_null_is_decoded_in_place_of_the_form_only_where_it_is_allowed() -> None:
    schema = schema_of(task())
    assert not Draft202012Validator(answer_schema(schema)).is_valid(None)
    check = Draft202012Validator(answer_schema(schema, may_be_null=True))
    assert check.is_valid(None) and check.is_valid({**VALUES, "quotes": QUOTES})


def test_without_quotes_values_are_looked_for_or_nothing_is() -> None:
    schema = schema_of(task())
    assert Draft202012Validator(answer_schema(schema, quoted=False)).is_valid(VALUES)
    search, span, answer = DocumentSearch(TEXT), (0, len(TEXT)), json.dumps(VALUES)
    looked = parse_fields(
        answer, schema, search, span, only_verified=False, evidence="values"
    ).evidence
    assert [row.path for row in looked] == ["company", "revenue", "risks[0]", "risks[1]"]
    assert {row.status.value for row in looked} == {"near"}
    nothing = parse_fields(answer, schema, search, span, only_verified=False, evidence="none")
    assert (nothing.values, nothing.evidence) == (VALUES, ())


def test_the_decoding_schema_has_the_fields_and_a_quote_for_each() -> None:
    decoded = answer_schema(schema_of(task()))
    check = Draft202012Validator(decoded)
    assert list(decoded["properties"]) == [*FIELDS, "quotes"]
    assert check.is_valid({**VALUES, "quotes": QUOTES})
    assert not check.is_valid(VALUES)
    assert not check.is_valid({**VALUES, "company": 3, "quotes": QUOTES})


def test_keywords_without_grammar_support_are_not_decoded_but_validated() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "multipleOf": 5}}}
    assert "multipleOf" not in json.dumps(answer_schema(schema_of(task(schema))))
    with pytest.raises(InvalidAnswer, match="not a multiple of 5"):
        parse_fields(
            '{"n": 7}', schema_of(task(schema)), DocumentSearch(""), (0, 0), only_verified=False
        )


def test_ranges_are_decoded_and_a_length_with_a_format_is_not() -> None:
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


def test_values_are_parsed_and_their_quotes_located() -> None:
    fields = read(VALUES)
    assert fields.values == VALUES
    assert [(row.path, row.status.value) for row in fields.evidence] == [
        ("company", "shown"), ("revenue", "shown"), ("risks[0]", "near"),
        ("risks[1]", "near"),
    ]  # fmt: skip
    assert TEXT[fields.evidence[1].start : fields.evidence[1].end] == "earned 12.5"


def test_an_empty_field_has_no_quote() -> None:
    empty: dict[str, Any] = {"company": None, "revenue": None, "risks": [], "on": None}
    assert read(empty).evidence == ()


def test_only_verified_empties_fields_without_a_verified_quote() -> None:
    fields = read({**VALUES, "on": "2020-01-01"}, only_verified=True)
    assert fields.values == {"company": "Acme", "revenue": 12.5, "risks": [], "on": None}


@pytest.mark.parametrize("quotes", [None, [], "Acme", {"company": 3}, {"company": " "}])
def test_quotes_of_a_wrong_type_are_ignored(quotes: Any) -> None:
    assert all(row.quote is None for row in read(VALUES, quotes).evidence)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("", "not JSON"),
        ('{"company": "Acme', "not JSON"),
        ("[1]", "not a JSON object"),
        ("[" * 100_000, "not JSON"),
        (
            '{"company": "Acme", "revenue": NaN, "risks": [], "on": null}',
            "NaN is not a JSON number",
        ),
        (
            '{"company": "Acme", "revenue": 1e999, "risks": [], "on": null}',
            "1e999 is not a JSON number",
        ),
        ('{"company": "A", "revenue": "much", "risks": [], "on": null}', "revenue: 'much' is not"),
        ('{"company": "A", "revenue": 1, "risks": [], "on": "2020-02-31"}', "on: '2020-02-31'"),
        ('{"company": "A", "revenue": 1, "risks": [], "on": null, "more": 1}', "it: Additional"),
        ('{"company": "\\ud800", "revenue": 1, "risks": [], "on": null}', "surrogates"),
    ],
)
def test_an_invalid_answer_is_reported_with_its_path(answer: str, message: str) -> None:
    with pytest.raises(InvalidAnswer, match=message):
        parse_fields(
            answer, schema_of(task()), DocumentSearch(TEXT), (0, len(TEXT)), only_verified=False
        )


def test_a_number_too_large_for_its_column_is_invalid() -> None:
    schema = schema_of(task(n="integer"))
    with pytest.raises(InvalidAnswer):
        parse_fields(
            '{"n": 1' + "0" * 30 + "}", schema, DocumentSearch(""), (0, 0), only_verified=False
        )


def test_a_number_too_large_to_be_checked_is_invalid() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "number", "multipleOf": 0.5}}}
    with pytest.raises(InvalidAnswer, match=r"cannot be checked with its schema|n: "):
        parse_fields(
            '{"n": 1' + "0" * 400 + "}",
            schema_of(task(schema)),
            DocumentSearch(""),
            (0, 0),
            only_verified=False,
        )


def test_a_lone_surrogate_in_a_quote_is_replaced() -> None:
    answer = '{"company": "Acme", "revenue": null, "risks": [], "on": null, "quotes": '
    answer += '{"company": "Acme \\ud83d earned"}}'
    fields = parse_fields(
        answer, schema_of(task()), DocumentSearch(TEXT), (0, len(TEXT)), only_verified=False
    )
    assert fields.evidence[0].quote == "Acme ? earned"
    AnswerColumn("facts", "extract", schema_of(task())).cell(
        Answer("facts", fields, None, "single", 1, Usage(), "stop")
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
    stated = {"sector": None, "name": "Acme", "place": {"town": None}, "rare": None}
    assert schema_violations(stated, whole) == []
    empty = dict.fromkeys(stated)
    assert {violation.path for violation in schema_violations(empty, whole)} == {"name", "place"}
    assert schema_violations(empty, nullable(whole)) == []


def test_a_string_with_an_unescaped_line_break_is_parsed() -> None:
    fields = parse_fields(
        '{"a": "x\ny"}',
        schema_of(task(a="string")),
        DocumentSearch(""),
        (0, 0),
        only_verified=False,
    )
    assert fields.values == {"a": "x\ny"}


@pytest.mark.parametrize("name", ["_evidence", "_answer"])
def test_a_field_with_a_reserved_name_is_rejected(name: str) -> None:
    with pytest.raises(SpecError, match=rf"tasks\.facts: a field cannot be named '{name}'"):
        schema_of(task(**{name: "string"}))


def test_fields_may_be_named_as_the_keys_beside_them() -> None:
    schema = schema_of(task(quotes="string", status="string", _quotes="integer"))
    assert list(answer_schema(schema)["properties"])[-1] == "__quotes"
    answer = {
        "quotes": "Acme",
        "status": "Acme",
        "_quotes": 7,
        "__quotes": {"quotes": "Acme earned"},
    }
    search = DocumentSearch(TEXT)
    fields = parse_fields(json.dumps(answer), schema, search, (0, len(TEXT)), only_verified=False)
    assert fields.values == {"quotes": "Acme", "status": "Acme", "_quotes": 7}
    assert fields.evidence[0].text == "Acme earned"
