"""Tests that a schema from a job file or request reads nothing else and takes bounded time."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import InvalidAnswer, SpecError
from pipelines.job.task_specs import ExtractTask
from pipelines.tasks.extraction import parse_fields, schema_of
from pipelines.tasks.normalizing import normalize_schema
from pipelines.tasks.subschemas import self_contained, subschemas
from pipelines.text.search import DocumentSearch

TEXT: dict[str, Any] = {"type": "string"}


def form(**keywords: Any) -> dict[str, Any]:
    """Return the schema of an object with one text field `a`, with further keywords."""
    return {"type": "object", "properties": {"a": TEXT}, **keywords}


def field(schema: Any, **keywords: Any) -> dict[str, Any]:
    """Return the schema of an object whose field `a` has `schema`, with further keywords."""
    return {"type": "object", "properties": {"a": schema}, **keywords}


@pytest.fixture
def schema_server() -> Iterator[tuple[str, list[str]]]:
    """Yield the URL of a server that serves a schema, and the paths requested from it."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            body = b'{"type": "integer"}'
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", paths
    server.shutdown()
    thread.join()
    server.server_close()


def schemas_with_references_to(url: str) -> list[dict[str, Any]]:
    """Return schemas that refer to a document outside of them, each with another keyword."""
    reference = {"$ref": f"{url}/there.json"}
    return [
        field(reference),
        field({"type": "string", "allOf": [reference]}),
        field({"type": "string", "not": reference}),
        field({"type": "string", "$dynamicRef": f"{url}/there.json"}),
        field({"$id": f"{url}/there.json", "$ref": "other.json"}),
        field({"$ref": "there.json"}, **{"$id": f"{url}/here.json"}),
        field({"$ref": "#/$defs/a"}, **{"$defs": {"a": reference}}),
        form(**{"$defs": {"unused": reference}}),
        form(dependentSchemas={"a": reference}),
    ]


@pytest.mark.parametrize("number", range(9))
def test_no_schema_makes_a_process_send_a_request(
    number: int, schema_server: tuple[str, list[str]]
) -> None:
    url, paths = schema_server
    schema = schemas_with_references_to(url)[number]
    with pytest.raises((SpecError, InvalidAnswer)):
        parse_fields(
            '{"a": "x"}',
            normalize_schema(schema, "s"),
            DocumentSearch(""),
            (0, 0),
            only_verified=False,
        )
    assert paths == []


@pytest.mark.parametrize("number", range(9))
def test_no_schema_makes_a_process_read_a_file(number: int, tmp_path: Path) -> None:
    # if the file were read, the schema would be valid
    (tmp_path / "there.json").write_text(json.dumps({"type": "string"}))
    schema = schemas_with_references_to(tmp_path.as_uri())[number]
    with pytest.raises(SpecError):
        normalize_schema(schema, "s")


def test_the_validator_itself_follows_no_reference_out_of_the_schema(
    schema_server: tuple[str, list[str]],
) -> None:
    url, paths = schema_server
    for schema in schemas_with_references_to(url)[:6]:
        with pytest.raises(InvalidAnswer, match="cannot be checked"):
            parse_fields('{"a": "x"}', schema, DocumentSearch(""), (0, 0), only_verified=False)
    assert paths == []


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        (field({"$ref": "http://127.0.0.1:1/a.json"}), r"s\.properties\.a\.\$ref"),
        (field({"$ref": "file:///etc/hostname"}), r"s\.properties\.a\.\$ref"),
        (field({"$ref": "other.json#/$defs/a"}), r"s\.properties\.a\.\$ref"),
        (field({"$ref": ""}), r"s\.properties\.a\.\$ref"),
        (field({"$ref": "#a"}), r"s\.properties\.a\.\$ref"),
        (
            field({"$ref": "#/$defs/a"}),
            r"s\.properties\.a\.\$ref: '#/\$defs/a' is not a definition",
        ),
        (
            field({"$ref": "#/$defs/a/const"}, **{"$defs": {"a": {"const": TEXT}}}),
            "not a definition",
        ),
        (field({"$ref": "#/$defs/a/b"}, **{"$defs": {"a/b": TEXT}}), "not a definition"),
        (field({"$recursiveRef": "#"}), r"s\.properties\.a\.\$recursiveRef"),
        (field({"$dynamicRef": "#/$defs/a"}), r"s\.properties\.a\.\$dynamicRef"),
        (field({"$id": "a", **TEXT}), r"s\.properties\.a\.\$id"),
        (field({"$anchor": "a", **TEXT}), r"s\.properties\.a\.\$anchor"),
        (field({"$dynamicAnchor": "a", **TEXT}), r"s\.properties\.a\.\$dynamicAnchor"),
        (field({"$schema": "http://json-schema.org/draft-07/schema#", **TEXT}), r"\.a\.\$schema"),
        (form(allOf=[{}, {"$ref": "x"}]), r"s\.allOf\.1\.\$ref"),
        (form(patternProperties={"^b": {"$ref": "x"}}), r"s\.patternProperties\.\^b\.\$ref"),
        (form(definitions={"b": {"items": [{"$ref": "x"}]}}), r"definitions\.b\.items\.0\.\$ref"),
    ],
)
def test_other_references_and_names_are_rejected_with_their_key_path(
    schema: dict[str, Any], path: str
) -> None:
    with pytest.raises(SpecError, match=path):
        self_contained(schema, "s")


@pytest.mark.parametrize(
    ("definitions", "place"),
    [
        ({"a": {"$ref": "#/$defs/a"}}, r"\$defs\.a"),
        ({"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, r"\$defs\.[ab]"),
        ({"a": {"anyOf": [{"$ref": "#/$defs/a"}, TEXT]}}, r"\$defs\.a\.anyOf\.0"),
        ({"a": {"if": {"$ref": "#/$defs/a"}}}, r"\$defs\.a\.if"),
        ({"a": {"dependentSchemas": {"x/y": {"$ref": "#/$defs/a"}}}}, r"\$defs\.a\.depend.*x/y"),
    ],
)
def test_a_reference_that_leads_back_to_itself_is_rejected(
    definitions: dict[str, Any], place: str
) -> None:
    schema = {"$ref": "#/$defs/a", "$defs": definitions}
    with pytest.raises(SpecError, match=rf"s\.{place}\.\$ref: .* leads back to itself"):
        self_contained(schema, "s")


def test_a_reference_may_lead_back_to_itself_through_properties_and_items() -> None:
    lists = {"type": "array", "items": {"$ref": "#/$defs/a"}}
    schema = {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [lists, field({"$ref": "#/$defs/a"})]}}}
    assert self_contained(schema, "s") == schema


@pytest.mark.parametrize("key", ["$defs", "definitions"])
def test_references_to_own_definitions_are_followed(key: str) -> None:
    schema = field({"$ref": f"#/{key}/b"}, **{key: {"b": {"type": "integer"}}})
    assert normalize_schema(schema, "s")["properties"]["a"]["type"] == ["integer", "null"]


def test_the_names_at_the_root_of_a_schema_are_removed() -> None:
    named = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "http://127.0.0.1:1/here.json",
        "$anchor": "here",
    }
    assert self_contained(form(**named), "s") == form()
    assert not {*named} & {*normalize_schema(form(**named), "s")}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"$ref": TEXT, "$id": TEXT, "pattern": TEXT}},
        field({"enum": ["x", None], "default": {"$ref": "http://127.0.0.1:1/"}}),
        field({"type": "string", "examples": [{"$dynamicRef": "#a"}, {"pattern": "("}]}),
        field({"type": "string", "default": {"$ref": "x", "pattern": "("}}),
        form(dependentRequired={"$ref": ["a"]}, required=["a"]),
        form(**{"not": {"properties": {"$ref": {"const": 1}}, "required": ["$ref"]}}),
        form(description="$ref", title="(", **{"x-more": {"$ref": "http://127.0.0.1:1/"}}),
    ],
)
def test_property_names_and_values_are_not_taken_for_references(schema: dict[str, Any]) -> None:
    assert normalize_schema(schema, "s")["properties"]


def test_every_schema_within_a_schema_is_found() -> None:
    one = {"type": "null"}
    schema: dict[str, Any] = {
        key: {"x": one}
        for key in ("$defs", "definitions", "properties", "patternProperties", "dependentSchemas")
    }
    schema |= {key: [one] for key in ("allOf", "anyOf", "oneOf", "prefixItems")}
    schema |= {
        key: one
        for key in ("items", "contains", "not", "if", "then", "else", "propertyNames",
                    "additionalProperties", "unevaluatedItems", "unevaluatedProperties",
                    "additionalItems", "contentSchema")
    }  # fmt: skip
    assert [subschema.schema for subschema in subschemas(schema)].count(one) == 21


def test_a_schema_nested_too_deep_is_rejected() -> None:
    schema: dict[str, Any] = form()
    for _ in range(400):
        schema = form(allOf=[schema])
    with pytest.raises(SpecError, match="more than 64 levels"):
        normalize_schema(schema, "s")


def test_a_schema_of_the_deepest_allowed_nesting_is_validated() -> None:
    schema: dict[str, Any] = form()
    for _ in range(60):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    value: Any = {"a": "x"}
    for _ in range(60):
        value = {"a": value}
    fields = parse_fields(
        json.dumps(value),
        normalize_schema(schema, "s"),
        DocumentSearch(""),
        (0, 0),
        only_verified=False,
    )
    assert fields.values == value


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (
            field({"type": "string", "pattern": "(a)\\1"}),
            r"s\.properties\.a\.pattern: .*backreference",
        ),
        (form(allOf=[{"propertyNames": {"pattern": "("}}]), r"allOf\.0\.propertyNames\.pattern: "),
        (form(patternProperties={"(?<=a)b": TEXT}), r"s\.patternProperties\.\(\?<=a\)b: "),
        (form(allOf=[{"pattern": "a{450}" + str(n)} for n in range(20)]), "more than 5000"),
    ],
)
def test_an_unsupported_pattern_is_rejected_with_its_key_path(
    schema: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        self_contained(schema, "s")


def test_pattern_properties_are_rejected() -> None:
    schema = form(allOf=[{"patternProperties": {"^b": TEXT}}])
    with pytest.raises(SpecError, match=r"s\.patternProperties: .*list them"):
        normalize_schema(schema, "s")


def test_a_pattern_is_checked_together_with_its_lookahead() -> None:
    schema = schema_of(
        ExtractTask.model_validate(
            {
                "name": "facts",
                "kind": "extract",
                "schema": field({"type": "string", "pattern": r"^(?!^[-+.]*$)[+-]?\d*\.?\d*$"}),
            }
        )
    )
    assert parse_fields(
        '{"a": "12.5"}', schema, DocumentSearch(""), (0, 0), only_verified=False
    ).values
    with pytest.raises(InvalidAnswer, match=r"a: '\+\.' does not match"):
        parse_fields('{"a": "+."}', schema, DocumentSearch(""), (0, 0), only_verified=False)


@pytest.mark.parametrize(
    "keys",
    [
        {"pattern": "^([a-zA-Z]+[ '-]?)+$"},
        {"pattern": "^(a|a)*$"},
        {"allOf": [{"pattern": "^([a-zA-Z]+[ '-]?)+$"}]},
        {"allOf": [{"$schema": "http://json-schema.org/draft-07/schema#", "pattern": "^(a|a)*$"}]},
        {"allOf": [{"pattern": f"(a?){{{n}}}$"} for n in range(300, 312)]},
        {"allOf": [{"pattern": "(?i)" + "[\0-\U0010ffff]" * 300}]},
    ],
)
def test_no_pattern_keeps_a_process_busy(keys: dict[str, Any]) -> None:
    """Each of these patterns takes Python's `re` minutes or hours."""
    schema = field({"type": "string", **keys})
    program = (
        "import sys, json\n"
        "from pipelines.errors import InvalidAnswer, SpecError\n"
        "from pipelines.tasks.extraction import parse_fields\n"
        "from pipelines.text.search import DocumentSearch\n"
        "from pipelines.tasks.normalizing import normalize_schema\n"
        "try:\n"
        "    schema = normalize_schema(json.loads(sys.argv[1]), 's')\n"
        "    answer = json.dumps({'a': 'a' * 4000 + '!'})\n"
        "    parse_fields(answer, schema, DocumentSearch(''), (0, 0), only_verified=False)\n"
        "    print('fits')\n"
        "except (SpecError, InvalidAnswer) as error:\n"
        "    print(type(error).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(schema)],
        capture_output=True, text=True, check=True, timeout=20,
    )  # fmt: skip
    assert done.stdout.strip() in ("SpecError", "InvalidAnswer", "fits")


def test_a_text_too_long_for_its_patterns_is_an_invalid_answer() -> None:
    schema = normalize_schema(field({"type": "string", "pattern": "^(?:.{0,100}x)+$"}), "s")
    answer = json.dumps({"a": "x" * 60_000})
    with pytest.raises(InvalidAnswer, match="too long to be matched"):
        parse_fields(answer, schema, DocumentSearch(""), (0, 0), only_verified=False)
