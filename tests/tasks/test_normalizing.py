"""Schemas as zod, OpenAPI and tools' APIs write them, and the faults of a schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest

from pipelines.errors import InvalidAnswer, SpecError
from pipelines.job.task_specs import ExtractTask
from pipelines.tasks.arrow import arrow_type, to_arrow_value
from pipelines.tasks.extraction import allowed_schema, parse_fields, schema_of
from pipelines.tasks.form import form_template
from pipelines.tasks.normalizing import normalize_schema
from pipelines.tasks.questions import tokenize_tasks
from pipelines.tasks.validation import schema_violations
from pipelines.text.search import DocumentSearch
from pipelines.text.tokens import ChatTokenizer

TEXT: dict[str, Any] = {"type": "string"}
NUMBER: dict[str, Any] = {"type": "number"}


def root(properties: dict[str, Any], **keywords: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
        **keywords,
    }


def field(schema: Any, **keywords: Any) -> dict[str, Any]:
    """Return the normalized schema of a required field."""
    field_schema: dict[str, Any] = normalize_schema(root({"a": schema}, **keywords), "s")[
        "properties"
    ]["a"]
    return field_schema


def column(schema: Any, **keywords: Any) -> str:
    return str(arrow_type(field(schema, **keywords)))


ZOD = "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({"anyOf": [TEXT, {"type": "null"}]}, "string"),
        ({"type": "integer", "minimum": -9007199254740991, "maximum": 9007199254740991}, "int64"),
        ({"type": "number", "exclusiveMinimum": 0}, "double"),
        ({**TEXT, "format": "email", "pattern": "^[^@]+@[^@]+$"}, "string"),
        ({**TEXT, "format": "date-time", "pattern": "^2"}, "timestamp[us, tz=UTC]"),
        ({**TEXT, "minLength": 1}, "string"),
        ({"anyOf": [{"const": "a"}, {"const": "b"}]}, "string"),
        ({"oneOf": [{"const": 1, "title": "One"}, {"const": 2}]}, "int64"),
        ({"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "string", "const": "b"}]},
         "string"),
        ({"enum": ["a", None]}, "string"),
        ({"enum": [1, 2.5]}, "double"),
        ({"type": ["string", "number"]}, "string"),
        ({"type": ["integer", "number", "null"]}, "double"),
        ({"allOf": [{"type": "integer"}]}, "int64"),
        ({"allOf": [root({"x": TEXT}), root({"y": NUMBER})]}, "struct<x: string, y: double>"),
        ({"allOf": [{**NUMBER, "minimum": 0}, {"type": "integer", "maximum": 5}]}, "int64"),
        ({"properties": {"x": TEXT}}, "struct<x: string>"),
        ({"items": TEXT}, "list<item: string>"),
        ({"pattern": "^a"}, "string"),
        ({"type": "object", "propertyNames": TEXT, "additionalProperties": NUMBER},
         "map<string, double>"),
        ({"type": "array", "prefixItems": [TEXT, NUMBER]}, "list<item: string>"),
        ({"type": "array", "items": [NUMBER, NUMBER], "additionalItems": False},
         "list<item: double>"),
        ({**TEXT, "nullable": True}, "string"),
        ({**NUMBER, "minimum": 0, "exclusiveMinimum": True}, "double"),
        ({"anyOf": [{**TEXT, "format": "date"}, {**TEXT, "format": "date-time"}]}, "string"),
        ({"oneOf": [root({"t": {"const": "a"}, "x": TEXT}), root({"t": {"const": "b"}})]},
         "struct<t: string, x: string>"),
        ({"oneOf": [root({"t": {"const": "a"}, "x": TEXT}),
                    root({"t": {"const": "b"}, "x": NUMBER})]},
         "struct<t: string, x: string>"),
    ],
)  # fmt: skip
def test_a_schema_of_zod_or_openapi_has_a_column(schema: Any, wanted: str) -> None:
    assert column(schema) == wanted


@pytest.mark.parametrize(
    "wrapper",
    [
        {"name": "facts", "strict": True, "schema": root({"a": TEXT})},
        {"type": "json_schema", "json_schema": {"name": "f", "schema": root({"a": TEXT})}},
        {"schema_definition": root({"a": TEXT})},
        {"type": "function", "function": {"name": "x", "parameters": root({"a": TEXT})}},
        {"name": "tool", "description": "d", "parameters": root({"a": TEXT})},
        {"$schema": ZOD, **root({"a": TEXT})},
    ],
)
def test_a_wrapper_is_removed(wrapper: dict[str, Any]) -> None:
    assert form_template(normalize_schema(wrapper, "s")) == '{"a":string}'


def test_a_fault_inside_a_wrapper_has_its_key_path() -> None:
    with pytest.raises(SpecError, match=r"s\.schema\.properties\.a\.type: missing"):
        normalize_schema({"name": "n", "schema": root({"a": {}})}, "s")


@pytest.mark.parametrize(
    ("reference", "names"),
    [
        ("#/$defs/Page%5BItem%5D", {"Page[Item]": NUMBER}),
        ("#/$defs/a~1b", {"a/b": NUMBER}),
        ("#/$defs/a~0b", {"a~b": NUMBER}),
        ("#/$defs/x/properties/y", {"x": root({"y": NUMBER})}),
        ("#/properties/b", {}),
    ],
)
def test_a_reference_may_have_escapes_and_lead_anywhere(
    reference: str, names: dict[str, Any]
) -> None:
    schema = root({"a": {"$ref": reference}, "b": NUMBER}, **{"$defs": names})
    assert normalize_schema(schema, "s")["properties"]["a"]["type"] == "number"


def test_a_schema_that_contains_itself_has_four_levels() -> None:
    child = {"type": "array", "items": {"$ref": "#"}}
    schema = normalize_schema({**root({"n": TEXT, "c": child}), "required": ["n"]}, "s")
    inner = '{"n":string,"c":[%s,...] or null}'
    expected = '{"n":string}'
    for _ in range(4):
        expected = inner % expected
    assert form_template(schema) == expected


def test_all_faults_are_reported_at_once_with_key_and_remedy() -> None:
    schema = root(
        {
            "a": {"type": "object"},
            "b": {"type": "array"},
            "c": {"anyOf": [TEXT, {"type": "array", "items": {}}]},
            "d": {**TEXT, "format": "isbn"},
            "e": {"enum": ["a", 1]},
            "f": {"allOf": [TEXT, NUMBER]},
            "g": {"const": "a", "type": "integer"},
            "h": {"type": "object", "patternProperties": {"^a": TEXT, "^b": TEXT}},
        }
    )
    with pytest.raises(SpecError) as error:
        normalize_schema(schema, "s")
    lines = error.value.message.splitlines()
    for start in (
        "s.properties.a.properties: missing or empty",
        "s.properties.b.items: missing",
        "s.properties.c.anyOf.1.items.type: missing",
        "s.properties.c.anyOf: a column has one type",
        "s.properties.d.format: 'isbn' is not checked by phifleet; remove it or use a pattern",
        "s.properties.e.enum: values of the types string and integer",
        "s.properties.f.type: no value is both",
        "s.properties.g.const: 'a' is not of the type integer",
        "s.properties.h.patternProperties: not supported",
    ):
        assert [line for line in lines if line.startswith(start)], start


def test_faults_of_ranges_and_references_are_reported_together() -> None:
    low = {"type": "integer", "minimum": 2, "maximum": 1}
    with pytest.raises(SpecError) as error:
        normalize_schema(root({"a": low, "b": low, "c": {"enum": []}}), "s")
    assert len(error.value.message.splitlines()) == 3
    with pytest.raises(SpecError) as error:
        normalize_schema(root({"a": {"$ref": "x"}, "b": {"$ref": "#/$defs/y"}}), "s")
    assert len(error.value.message.splitlines()) == 2


@pytest.mark.parametrize(
    ("schema", "valid", "invalid"),
    [
        ({**NUMBER, "multipleOf": 0.1}, [0.3, 1.1, 0, -0.7], [0.35]),
        ({**TEXT, "format": "date"}, ["2020-02-29"], ["2020-02-30", "2021-02-29", "x"]),
        ({**TEXT, "format": "time"}, ["01:02:03"], ["25:00:00"]),
        ({**TEXT, "format": "duration"}, ["P1DT1.5S", "PT5M"], ["P", "1 day", "PT"]),
        ({**TEXT, "format": "uuid"}, ["123e4567-e89b-12d3-a456-426614174000"], ["123"]),
        ({**TEXT, "format": "email"}, ["a@b.c"], ["a", "@b"]),
        ({**TEXT, "format": "uri"}, ["https://a.b/c"], ["a b", "foo"]),
        ({**TEXT, "format": "ipv4"}, ["1.2.3.4"], ["1.2.3"]),
        ({**TEXT, "format": "hostname"}, ["a.b"], ["-a"]),
        ({"type": "integer", "format": "int32"}, [2**31 - 1], [2**31]),
        ({**TEXT, "minLength": 2, "maxLength": 3}, ["a\n", "日本語"], ["a", "abcd"]),
        ({**NUMBER, "minimum": 0, "maximum": 1}, [0.5], [1.5]),
        ({"anyOf": [{**NUMBER, "minimum": 0}, TEXT]}, ["1.5", "abc"], ["-1"]),
        ({"anyOf": [{"type": "integer"}, {"type": "boolean"}]}, ["3", "true"], ["x", "1.5"]),
        ({"anyOf": [{**TEXT, "pattern": "^a"}, {**TEXT, "maxLength": 1}]}, ["abc", "b"], ["bc"]),
        ({"allOf": [{**TEXT, "pattern": "^a"}, {"pattern": "b$"}]}, ["ab"], ["a", "b"]),
        ({"type": "object", "propertyNames": {"pattern": "^x"}, "additionalProperties": NUMBER},
         [{"xa": 1}], [{"y": 1}, {"xa": "b"}]),
        ({"type": "array", "items": TEXT, "uniqueItems": True}, [["a"]], [["a", "a"]]),
        ({"type": "array", "prefixItems": [TEXT, NUMBER]}, [["a", 1]], [["a"], [1, "a"]]),
    ],
)  # fmt: skip
def test_what_is_not_decoded_is_checked_afterwards(
    schema: Any, valid: list[Any], invalid: list[Any]
) -> None:
    normalized = field(schema)
    assert [value for value in valid if schema_violations(value, normalized)] == []
    assert [value for value in invalid if not schema_violations(value, normalized)] == []


def test_every_amount_in_cents_is_a_multiple_of_a_cent() -> None:
    cents = {**NUMBER, "multipleOf": 0.01}
    assert [n for n in range(10_000) if schema_violations(n / 100, cents)] == []
    assert schema_violations(0.005, cents)


def read(answer: str, schema: dict[str, Any]) -> Mapping[str, Any]:
    normalized = normalize_schema(schema, "s")
    return parse_fields(answer, normalized, DocumentSearch(""), (0, 0), only_verified=False).values


def test_a_set_loses_what_was_said_twice() -> None:
    schema = root({"a": {"type": "array", "items": TEXT, "uniqueItems": True}})
    assert read('{"a": ["x", "y", "x"]}', schema) == {"a": ["x", "y"]}


def test_a_number_in_a_text_column_is_its_text() -> None:
    schema = root({"a": {"anyOf": [NUMBER, TEXT]}, "b": {"type": ["boolean", "integer"]}})
    values = read('{"a": 12.5, "b": true}', schema)
    assert values == {"a": 12.5, "b": True}
    assert to_arrow_value(values, normalize_schema(schema, "s")) == {"a": "12.5", "b": "true"}


def test_members_of_a_union_are_checked_by_their_constant() -> None:
    union = {"oneOf": [root({"t": {"const": "a"}, "x": TEXT}), root({"t": {"const": "b"}})]}
    for right in ('{"a": {"t": "a", "x": "y"}}', '{"a": {"t": "b", "x": null}}'):
        assert read(right, root({"a": union}))
    for wrong in ('{"a": {"t": "a"}}', '{"a": {"t": "b", "x": "y"}}', '{"a": {"t": "c"}}'):
        with pytest.raises(InvalidAnswer):
            read(wrong, root({"a": union}))


@pytest.mark.parametrize(
    "answer", ['{"a": 1' + "0" * 400 + "}", '{"a": "\\ud800"}', '{"a": 1e999}']
)
def test_a_value_that_no_column_holds_is_an_invalid_answer(answer: str) -> None:
    for schema in ({"type": "integer"}, NUMBER, TEXT):
        with pytest.raises(InvalidAnswer):
            read(answer, root({"a": schema}))


def task(schema: dict[str, Any], **keys: Any) -> ExtractTask:
    return ExtractTask.model_validate({"name": "f", "kind": "extract", "schema": schema, **keys})


def test_a_required_field_may_be_null_unless_the_task_is_strict() -> None:
    stated = task(root({"a": TEXT}))
    assert not schema_violations({"a": None}, allowed_schema(stated, schema_of(stated)))
    strict = task(root({"a": TEXT}), strict=True)
    assert schema_violations({"a": None}, allowed_schema(strict, schema_of(strict)))


def test_the_form_of_a_required_field_does_not_offer_null(tiny_tokenizer: ChatTokenizer) -> None:
    (prepared,) = tokenize_tasks([task(root({"name": TEXT}))], tiny_tokenizer)
    form = '{"name":string,"quotes":{"name":quote or null}}'
    assert prepared.question.text.endswith(f"\n{form}")


def test_a_list_at_the_root_is_the_field_items() -> None:
    schema = normalize_schema({"type": "array", "items": TEXT}, "s")
    assert arrow_type(schema) == pa.struct([("items", pa.list_(pa.string()))])
