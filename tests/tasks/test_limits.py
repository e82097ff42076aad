"""Tests that a schema that no value can satisfy, or with too large values, is rejected."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pipelines.errors import SpecError
from pipelines.job.task_specs import ExtractTask
from pipelines.tasks.extraction import schema_of
from pipelines.tasks.normalizing import normalize_schema
from pipelines.tasks.validity import valid_schema

INTEGER: dict[str, Any] = {"type": "integer"}
NUMBER: dict[str, Any] = {"type": "number"}


def field(schema: Any) -> dict[str, Any]:
    """Return the schema of an object whose field `a` has `schema`."""
    return {"type": "object", "properties": {"a": schema}, "required": ["a"]}


@pytest.mark.parametrize(
    ("schema", "key", "remedy"),
    [
        ({"type": "string", "enum": []}, "enum", "add a value"),
        ({"type": "array", "items": {"enum": []}}, "items.enum", "add a value"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "minLength", "maxLength"),
        ({"type": "array", "items": NUMBER, "minItems": 3, "maxItems": 2}, "minItems", "maxItems"),
        ({**NUMBER, "minimum": 2, "maximum": 1}, "minimum", "maximum"),
        ({**NUMBER, "minimum": 2, "exclusiveMaximum": 2}, "minimum", "exclusiveMaximum"),
        ({**INTEGER, "exclusiveMinimum": 2, "exclusiveMaximum": 3}, "exclusiveMinimum", "exclus"),
        ({**INTEGER, "minimum": 1.2, "maximum": 1.8}, "minimum", "maximum"),
        ({**INTEGER, "minimum": 2**63}, "minimum", "64 bits"),
        ({**INTEGER, "maximum": -1e300}, "maximum", "64 bits"),
        ({"enum": [1, 2**63]}, "enum.1", "64 bits"),
        ({"type": "string", "maxLength": 2**63}, "maxLength", "64 bits"),
        ({"type": "string", "maxLength": 5.0}, "maxLength", "whole number"),
        ({**NUMBER, "minimum": math.inf}, "minimum", "finite"),
        ({**NUMBER, "maximum": 10**5000}, "maximum", "finite"),
        ({**NUMBER, "default": [math.nan]}, "default.0", "finite"),
        ({**NUMBER, "multipleOf": 0}, "multipleOf", "Correct this key"),
        ({"anyOf": []}, "anyOf", "Correct this key"),
        ({"oneOf": []}, "oneOf", "Correct this key"),
        ({"type": []}, "type", "Correct this key"),
    ],
)
def test_a_schema_that_no_value_satisfies_is_rejected_with_its_key_path(
    schema: dict[str, Any], key: str, remedy: str
) -> None:
    for check in (normalize_schema, valid_schema):
        with pytest.raises(SpecError) as error:
            check(field(schema), "s")
        assert error.value.message.startswith(f"s.properties.a.{key}: ")
        assert remedy in error.value.message


@pytest.mark.parametrize(
    "schema",
    [
        {**INTEGER, "minimum": -(2**63), "maximum": 2**63 - 1},
        {**INTEGER, "exclusiveMinimum": 1, "exclusiveMaximum": 3},
        {**NUMBER, "minimum": 2, "maximum": 2.0, "default": 1e300},
        {"type": "string", "minLength": 2, "maxLength": 2},
    ],
)
def test_narrow_and_wide_ranges_are_allowed(schema: dict[str, Any]) -> None:
    assert valid_schema(field(schema), "s") == field(schema)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (field({"enum": ["b", "x" * 1001]}), r"s\.properties\.a\.enum\.1: .* 1003 bytes .* 1000"),
        (field({"const": {"k": "é" * 600}}), r"s\.properties\.a\.const: .* 1209 bytes"),
        (
            {"type": "object", "properties": {"x" * 1001: NUMBER}},
            r"s\.properties\.x{80}\.\.\.: .* 1003 bytes",
        ),
        (field({"enum": [f"{n}" + "x" * 400 for n in range(60)]}), r"\.enum\.49: .* 20\d\d\d byt"),
    ],
)
def test_a_schema_of_too_long_texts_is_rejected_with_its_key_path(
    schema: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        valid_schema(schema, "s")


def test_a_schema_whose_texts_become_too_long_by_its_references_is_rejected() -> None:
    schema = {
        "type": "object",
        "properties": {f"p{n}": {"$ref": "#/$defs/a"} for n in range(30)},
        "$defs": {"a": {"enum": ["x" * 900]}},
    }
    task = {"name": "facts", "kind": "extract", "schema": schema}
    with pytest.raises(SpecError, match=r"tasks\.facts\.schema\.properties\.p\d+\.enum\.0: "):
        schema_of(ExtractTask.model_validate(task))


def test_a_shorthand_of_too_long_names_is_rejected() -> None:
    fields = {f"{n}" + "x" * 900: "string" for n in range(30)}
    task = {"name": "facts", "kind": "extract", "fields": fields}
    with pytest.raises(SpecError, match=r"tasks\.facts\.fields\.properties\.22x"):
        schema_of(ExtractTask.model_validate(task))
