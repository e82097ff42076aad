"""Schemas of extractions: the shorthand, files, Arrow types, values."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest

from pipelines.errors import SpecError
from pipelines.tasks.schema import arrow_type, from_shorthand, normalised, typed
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


def test_the_shorthand_has_the_columns_it_names() -> None:
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


def test_a_value_goes_into_its_column_and_comes_back() -> None:
    schema = from_shorthand(FIELDS)
    assert schema_violations(VALUE, schema) == []
    back = pa.array([typed(VALUE, schema)], arrow_type(schema)).to_pylist()[0]
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
def test_a_value_that_breaks_its_schema_is_told_by_its_path(
    change: dict[str, Any], path: str
) -> None:
    assert [
        fault.path for fault in schema_violations({**VALUE, **change}, from_shorthand(FIELDS))
    ] == [path]


def test_a_schema_as_pydantic_writes_it_is_understood() -> None:
    schema = normalised(
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
    assert typed(value, schema)["seen"] == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert [fault.path for fault in schema_violations({**value, "seen": "yesterday"}, schema)] == [
        "seen"
    ]
    assert [
        each.path for each in schema_violations({**value, "risks": [{"kind": "c"}]}, schema)
    ] == ["risks.0.kind"]


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "string"}, "schema: must be an object"),
        ({"type": "objekt"}, "schema: not a JSON Schema"),
        (
            {"type": "object", "properties": {"a": {"type": ["string", "number"]}}},
            r"schema\.properties\.a\.type: string or number, must be one of",
        ),
        ({"type": "object", "properties": {"a": {}}}, r"properties\.a\.type: none, must be"),
        ({"type": "object", "properties": {"a": {"type": "array"}}}, "what its items are"),
        ({"type": "object", "properties": {"a": {"type": "object"}}}, "must name its properties"),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}}, "is no definition"),
        (
            {
                "$defs": {"b": {"type": "object", "properties": {"c": {"$ref": "#/$defs/b"}}}},
                "type": "object",
                "properties": {"a": {"$ref": "#/$defs/b"}},
            },
            "contains itself",
        ),
        (
            {
                "type": "object",
                "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "number"}]}},
            },
            "a column has one type",
        ),
        (
            {"type": "object", "properties": {"a": {"anyOf": [True, {"type": "null"}]}}},
            "a column has one type",
        ),
        ({"type": "object", "properties": {"a": True}}, r"properties\.a: True, must be a schema"),
        (
            {
                "$defs": {"b": {"pattern": "^[A-Z]"}},
                "type": "object",
                "properties": {"a": {"type": "string", "allOf": [{"$ref": "#/$defs/b"}]}},
            },
            r"properties\.a\.allOf: a \$ref is not followed here",
        ),
        (
            {
                "$defs": {"b": {"type": "string"}},
                "type": "object",
                "properties": {"a": {"type": "string"}},
                "not": {"required": ["b"], "properties": {"a": {"$ref": "#/$defs/b"}}},
            },
            r"schema\.not: a \$ref is not followed here",
        ),
    ],
)
def test_a_schema_without_a_column_is_refused(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        normalised(schema, "schema")
