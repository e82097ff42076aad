"""Tests of extraction schemas: shorthand, JSON Schema, Arrow types and values."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest

from pipelines.errors import SpecError
from pipelines.tasks.arrow import arrow_type, to_arrow_value
from pipelines.tasks.normalizing import normalize_schema
from pipelines.tasks.schema import from_shorthand
from pipelines.tasks.validation import schema_violations

FIELDS = {
    "company": "string",
    "revenue": "number",
    "employees": "integer",
    "listed": "boolean",
    "founded": "date",
    "risks": ["string"],
    "auditor": {"name": "string", "offices": ["string"]},
}
VALUE: dict[str, Any] = {
    "company": "Acme",
    "revenue": 12,
    "employees": 3.0,
    "listed": None,
    "founded": "1999-12-31",
    "risks": ["fire", "flood"],
    "auditor": {"name": "Smith", "offices": []},
}


def test_the_shorthand_becomes_the_columns_it_names() -> None:
    text = pa.string()
    assert arrow_type(from_shorthand(FIELDS)) == pa.struct(
        [
            ("company", text),
            ("revenue", pa.float64()),
            ("employees", pa.int64()),
            ("listed", pa.bool_()),
            ("founded", pa.date32()),
            ("risks", pa.list_(text)),
            ("auditor", pa.struct([("name", text), ("offices", pa.list_(text))])),
        ]
    )


def test_a_value_is_stored_in_its_column_and_read_back() -> None:
    schema = from_shorthand(FIELDS)
    assert schema_violations(VALUE, schema) == []
    back = pa.array([to_arrow_value(VALUE, schema)], arrow_type(schema)).to_pylist()[0]
    assert back == {**VALUE, "founded": date(1999, 12, 31), "employees": 3}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"revenue": "much"}, "revenue"),
        ({"founded": "in spring"}, "founded"),
        ({"risks": ["fire", None]}, "risks.1"),
        ({"auditor": {"name": "Smith"}}, "auditor"),
        ({"unknown": 1}, ""),
    ],
)
def test_a_violation_of_the_schema_names_the_path_of_the_value(
    change: dict[str, Any], path: str
) -> None:
    violations = schema_violations({**VALUE, **change}, from_shorthand(FIELDS))
    assert [violation.path for violation in violations] == [path]


def test_a_schema_written_by_pydantic_is_supported() -> None:
    schema = normalize_schema(
        {
            "$defs": {"Risk": {"type": "object", "properties": {"kind": {"enum": ["a", "b"]}}}},
            "type": "object",
            "title": "Facts",
            "properties": {
                "seen": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
                "risks": {"type": "array", "items": {"$ref": "#/$defs/Risk"}},
            },
        },
        "schema",
    )
    risk = pa.struct([("kind", pa.string())])
    moment = pa.timestamp("us", tz="UTC")
    assert arrow_type(schema) == pa.struct([("seen", moment), ("risks", pa.list_(risk))])
    value = {"seen": "2026-01-02T03:04:05", "risks": [{"kind": "a"}]}
    assert schema_violations(value, schema) == []
    assert to_arrow_value(value, schema)["seen"] == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    (bad_time,) = schema_violations({**value, "seen": "yesterday"}, schema)
    (bad_kind,) = schema_violations({**value, "risks": [{"kind": "c"}]}, schema)
    assert (bad_time.path, bad_kind.path) == ("seen", "risks.0.kind")


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "string"}, r"schema\.type: got 'string', must be object"),
        ({"type": "objekt"}, r"schema\.type: not a valid JSON Schema .*'objekt'"),
        (
            {"type": "object", "properties": {"a": {"type": ["string", "array"], "items": {}}}},
            r"schema\.properties\.a\.items\.type: missing",
        ),
        ({"type": "object", "properties": {"a": {}}}, r"properties\.a\.type: missing, must be"),
        (
            {"type": "object", "properties": {"a": {"type": "array"}}},
            r"\.a\.items: missing, must be the schema",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "object"}}},
            r"\.a\.properties: .* must name its properties",
        ),
        (
            {"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}},
            r"'#/\$defs/b' is not a definition",
        ),
        (
            {
                "$defs": {
                    "b": {
                        "type": "object",
                        "properties": {"c": {"$ref": "#/$defs/b"}},
                        "required": ["c"],
                    }
                },
                "type": "object",
                "properties": {"a": {"$ref": "#/$defs/b"}},
                "required": ["a"],
            },
            r"schema: #/\$defs/b contains itself in every value",
        ),
        (
            {
                "type": "object",
                "properties": {
                    "a": {
                        "anyOf": [
                            {"type": "string"},
                            {"type": "array", "items": {"type": "string"}},
                        ]
                    }
                },
            },
            r"\.a\.anyOf: a column has one type.*always a list",
        ),
        (
            {"type": "object", "properties": {"a": {"anyOf": [True, {"type": "null"}]}}},
            r"\.a: got True, must be a schema",
        ),
        (
            {"type": "object", "properties": {"a": True}},
            r"properties\.a: got True, must be a schema",
        ),
        (
            {
                "$defs": {"b": {"type": "string"}},
                "type": "object",
                "properties": {"a": {"type": "string"}},
                "not": {"required": ["b"], "properties": {"a": {"$ref": "#/$defs/b"}}},
            },
            r"schema\.not\.properties\.a\.\$ref: '#/\$defs/b' is not followed here",
        ),
    ],
)
def test_a_schema_that_has_no_column_is_rejected(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        normalize_schema(schema, "schema")
