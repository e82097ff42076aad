"""Test which answers the engine's grammar accepts and rejects, with xgrammar's own matcher."""

from __future__ import annotations

import json
from typing import Any

import pytest
from matcher import accepts

from pipelines.tasks.decoding import answer_schema, decodable
from pipelines.tasks.normalizing import normalize_schema
from pipelines.tasks.schema import from_shorthand, lenient

TEXT: dict[str, Any] = {"type": "string"}
INTEGER: dict[str, Any] = {"type": "integer"}
NUMBER: dict[str, Any] = {"type": "number"}
QUOTES = [
    'He said "no"', "a\\b", "two\nlines\tand\rmore", "契" * 300, "ไทย " * 80, "😀", "", "é\u2028",
    '"', "\\", "\\n", '\\"', "x" * 2000,
]  # fmt: skip


def field(schema: Any) -> dict[str, Any]:
    """Return what is decoded for a required field of this schema."""
    root = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return decodable(normalize_schema(root, "s")["properties"]["a"])


@pytest.mark.parametrize("quote", QUOTES)
@pytest.mark.parametrize("ascii_only", [False, True])
def test_quotes_and_texts_may_have_any_character(quote: str, ascii_only: bool) -> None:
    schema = answer_schema(from_shorthand({"a": "string", "b": ["string"]}))
    answer = {"a": quote, "b": [quote, quote], "quotes": {"a": quote, "b": None}}
    assert accepts(schema, json.dumps(answer, ensure_ascii=ascii_only))


@pytest.mark.parametrize(
    ("schema", "accepted", "rejected"),
    [
        (TEXT, ['"a"'], ["1", "null"]),
        ({**TEXT, "minLength": 2, "maxLength": 3}, ['"a\\""'], ["1"]),
        ({**TEXT, "pattern": "^[^a]$"}, ['"\\""'], ["1"]),
        ({**TEXT, "format": "date"}, ['"2020-01-31"'], ['"2020-13-01"', '"2020-1-1"']),
        ({**TEXT, "format": "date", "maxLength": 10}, ['"2020-01-31"'], ['"x"']),
        ({**TEXT, "format": "date-time"}, ['"2020-01-31T01:02:03.4Z"'], ['"2020-01-31"']),
        ({**TEXT, "format": "time"}, ['"01:02:03"', '"01:02:03Z"'], ["1"]),
        ({**TEXT, "format": "duration"}, ['"PT1.5S"'], ["1"]),
        ({**TEXT, "format": "email"}, ['"jürgen@müller.de"'], ["1"]),
        ({**TEXT, "format": "uuid"}, ['"123e4567-e89b-12d3-a456-426614174000"'], ['"x"']),
        ({**TEXT, "format": "ipv4"}, ['"1.2.3.4"'], ['"256.1.1.1"']),
        ({**TEXT, "format": "ipv6"}, ['"2001:db8::8a2e:370:7334"'], ['"x"']),
        (INTEGER, ["0", "-3", "12"], ["1.0", "01"]),
        ({"type": ["integer", "string"]}, ["12", '"12"', '"iv"'], ["1.5", "true", "01"]),
        ({"type": ["number", "string"]}, ['"12.50"'], ["12.5"]),
        ({**INTEGER, "minimum": 1, "maximum": 5}, ["1", "5"], ["0", "6"]),
        ({**INTEGER, "exclusiveMinimum": 0, "exclusiveMaximum": 10}, ["1", "9"], ["0", "10"]),
        ({**INTEGER, "minimum": 0.5, "maximum": 1.5}, ["1"], ["0", "2"]),
        ({**INTEGER, "minimum": -(2**63), "maximum": 2**63 - 1}, [str(2**63 - 1)], ["1.0"]),
        ({**INTEGER, "multipleOf": 5}, ["5"], ["x"]),
        ({**NUMBER, "minimum": 0, "maximum": 1}, ["0.123456789", "1e-3", "0", "1.0"], ["x"]),
        ({**NUMBER, "maximum": 1e300}, ["1e10"], ["x"]),
        ({"enum": ["a", 'b"\\', "é漢", ""]}, ['"a"', '"b\\"\\\\"', '"é漢"', '""'], ['"c"']),
        ({"enum": ["a", None]}, ['"a"', "null"], ['"b"']),
        ({"enum": [0.1, 0.5]}, ["0.1"], ['"a"']),
        ({"const": "a"}, ['"a"'], ['"b"']),
        ({"type": "array", "items": INTEGER, "minItems": 1, "maxItems": 2}, ["[1]", "[1, 2]"],
         ["[]", "[1, 2, 3]"]),
        ({"type": "array", "items": TEXT, "uniqueItems": True}, ['["a", "a"]'], ["[1]"]),
        ({"type": "array", "prefixItems": [INTEGER, TEXT]}, ['[1, "a"]'],
         ["[1]", '[1, "a", 2]', '["a", 1]']),
        ({"type": "object", "additionalProperties": INTEGER}, ["{}", '{"a\\"b": 1, "c": 2}'],
         ['{"a": "b"}']),
        ({"type": "object", "additionalProperties": INTEGER, "maxProperties": 1}, ['{"a": 1}'],
         ['{"a": 1, "b": 2}']),
        ({"anyOf": [NUMBER, TEXT]}, ['"12.50"'], ["12.50"]),
        ({"anyOf": [INTEGER, {"type": "boolean"}]}, ["1", "true"], ['"a"']),
        ({"anyOf": [NUMBER, {"type": "null"}]}, ["1.5", "null"], ['"a"']),
        ({"type": ["integer", "null"], "minimum": 3}, ["3", "null"], ["2"]),
    ],
)  # fmt: skip
def test_the_grammar_enforces_what_it_can_and_forbids_no_right_value(
    schema: dict[str, Any], accepted: list[str], rejected: list[str]
) -> None:
    decoded = field(schema)
    assert [text for text in accepted if not accepts(decoded, text)] == []
    assert [text for text in rejected if accepts(decoded, text)] == []


def test_a_member_of_a_union_is_decoded_with_its_own_fields_only() -> None:
    members = [
        {
            "type": "object",
            "properties": {"kind": {"const": kind}, name: NUMBER},
            "required": [name],
        }
        for kind, name in (("cash", "amount"), ("cashier", "pay"))
    ]
    for keyword in ("anyOf", "oneOf"):
        decoded = field({keyword: members})
        assert accepts(decoded, '{"kind": "cash", "amount": 1}')
        assert accepts(decoded, '{"kind": "cashier", "pay": 1}')
        assert not accepts(decoded, '{"kind": "cash", "pay": 1}')


def test_required_fields_may_be_null_unless_the_schema_is_kept_strict() -> None:
    inner = {"type": "object", "properties": {"n": NUMBER}, "required": ["n"]}
    root = {
        "type": "object",
        "properties": {"a": TEXT, "b": inner, "c": {"type": "array", "items": inner}},
        "required": ["a", "b", "c"],
    }
    strict = normalize_schema(root, "s")
    quotes = '"quotes": {"a": null, "b": null, "c": null}'
    absent = f'{{"a": null, "b": null, "c": [{{"n": null}}], {quotes}}}'
    assert accepts(answer_schema(lenient(strict)), absent)
    assert not accepts(answer_schema(strict), absent)
    assert accepts(answer_schema(strict), f'{{"a": "", "b": {{"n": 1}}, "c": [], {quotes}}}')


@pytest.mark.parametrize("quoted", [True, False])
def test_null_may_stand_in_place_of_the_answer_and_quotes_be_left_out(quoted: bool) -> None:
    fields = from_shorthand({"a": "string"})
    schema = answer_schema(fields, quoted=quoted, may_be_null=True)
    quotes = {"quotes": {"a": None}} if quoted else {}
    assert accepts(schema, "null")
    assert accepts(schema, json.dumps({"a": "x", **quotes}))
    assert accepts(answer_schema(fields, quoted=not quoted), json.dumps({"a": "x"})) is quoted
    assert not accepts(answer_schema(fields, quoted=quoted), "null")
