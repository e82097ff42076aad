"""What a schema from outside may hold: itself, and nothing that is elsewhere or takes long."""

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
from pipelines.job.spec import ExtractTask
from pipelines.tasks.extraction import parse_fields, schema_of
from pipelines.tasks.schema import normalised
from pipelines.tasks.subschemas import self_contained, subschemas

TEXT: dict[str, Any] = {"type": "string"}


def form(**places: Any) -> dict[str, Any]:
    """An object with a field of its own, and these keys besides."""
    return {"type": "object", "properties": {"a": TEXT}, **places}


def field(schema: Any, **places: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": schema}, **places}


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """The address of a server that has a schema to give, and what it was asked for."""
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


def spellings(address: str) -> list[dict[str, Any]]:
    """Schemas that name a schema elsewhere, each in another place."""
    there = {"$ref": f"{address}/there.json"}
    return [
        field(there),
        field({"type": "string", "allOf": [there]}),
        field({"type": "string", "not": there}),
        field({"type": "string", "$dynamicRef": f"{address}/there.json"}),
        field({"$id": f"{address}/there.json", "$ref": "other.json"}),
        field({"$ref": "there.json"}, **{"$id": f"{address}/here.json"}),
        field({"$ref": "#/$defs/a"}, **{"$defs": {"a": there}}),
        form(**{"$defs": {"unused": there}}),
        form(dependentSchemas={"a": there}),
    ]


@pytest.mark.parametrize("spelling", range(9))
def test_no_schema_makes_a_process_ask_a_server(
    spelling: int, asked: tuple[str, list[str]]
) -> None:
    address, paths = asked
    schema = spellings(address)[spelling]
    with pytest.raises((SpecError, InvalidAnswer)):
        parse_fields('{"a": "x"}', normalised(schema, "s"), "", (0, 0), only_verified=False)
    assert paths == []


@pytest.mark.parametrize("spelling", range(9))
def test_no_schema_makes_a_process_read_a_file(spelling: int, tmp_path: Path) -> None:
    # the file would let the answer pass
    (tmp_path / "there.json").write_text(json.dumps({"type": "string"}))
    schema = spellings(tmp_path.as_uri())[spelling]
    with pytest.raises(SpecError):
        normalised(schema, "s")


def test_a_reference_that_comes_to_the_validator_all_the_same_is_not_followed(
    asked: tuple[str, list[str]],
) -> None:
    address, paths = asked
    for schema in spellings(address)[:6]:
        with pytest.raises(InvalidAnswer, match="cannot be checked"):
            parse_fields('{"a": "x"}', schema, "", (0, 0), only_verified=False)
    assert paths == []


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        (field({"$ref": "http://127.0.0.1:1/a.json"}), r"s\.properties\.a\.\$ref"),
        (field({"$ref": "file:///etc/hostname"}), r"s\.properties\.a\.\$ref"),
        (field({"$ref": "other.json#/$defs/a"}), r"s\.properties\.a\.\$ref"),
        (field({"$ref": "#"}), r"s\.properties\.a\.\$ref"),
        (field({"$ref": ""}), r"s\.properties\.a\.\$ref"),
        (field({"$ref": "#a"}), r"s\.properties\.a\.\$ref"),
        (field({"$ref": "#/properties/a"}), r"s\.properties\.a\.\$ref"),
        (field({"$ref": "#/$defs/a"}), r"s\.properties\.a\.\$ref: '#/\$defs/a' is no definition"),
        (field({"$ref": "#/$defs/a/const"}, **{"$defs": {"a": {"const": TEXT}}}), "no definition"),
        (field({"$ref": "#/$defs/a/b"}, **{"$defs": {"a/b": TEXT}}), "no definition"),
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
def test_a_reference_to_anything_else_is_refused_with_its_path(
    schema: dict[str, Any], path: str
) -> None:
    with pytest.raises(SpecError, match=path):
        self_contained(schema, "s")


@pytest.mark.parametrize("key", ["$defs", "definitions"])
def test_references_to_own_definitions_are_followed(key: str) -> None:
    schema = field({"$ref": f"#/{key}/b"}, **{key: {"b": {"type": "integer"}}})
    assert normalised(schema, "s")["properties"]["a"]["type"] == ["integer", "null"]


def test_what_a_schema_is_called_at_its_root_is_left_out() -> None:
    named = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "http://127.0.0.1:1/here.json",
        "$anchor": "here",
    }
    assert self_contained(form(**named), "s") == form()
    assert not {*named} & {*normalised(form(**named), "s")}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"$ref": TEXT, "$id": TEXT, "pattern": TEXT}},
        field({"enum": ["x", None], "default": {"$ref": "http://127.0.0.1:1/"}}),
        field({"type": "string", "examples": [{"$dynamicRef": "#a"}, {"pattern": "("}]}),
        field({"type": "string", "const": {"$ref": "x", "pattern": "("}}),
        form(dependentRequired={"$ref": ["a"]}, required=["a"]),
        form(**{"not": {"properties": {"$ref": {"const": 1}}, "required": ["$ref"]}}),
        form(description="$ref", title="(", **{"x-more": {"$ref": "http://127.0.0.1:1/"}}),
    ],
)
def test_names_of_properties_and_values_are_no_references(schema: dict[str, Any]) -> None:
    assert normalised(schema, "s")["properties"]


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
    assert [each.schema for each in subschemas(schema)].count(one) == 21


def test_a_schema_that_is_very_deep_is_refused() -> None:
    schema: dict[str, Any] = form()
    for _ in range(400):
        schema = form(allOf=[schema])
    with pytest.raises(SpecError, match="more than 64 levels"):
        normalised(schema, "s")


def test_a_schema_as_deep_as_is_let_in_is_checked() -> None:
    schema: dict[str, Any] = form()
    for _ in range(60):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    value: Any = {"a": "x"}
    for _ in range(60):
        value = {"a": value}
    found = parse_fields(
        json.dumps(value), normalised(schema, "s"), "", (0, 0), only_verified=False
    )
    assert found.values == value


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        (field({"type": "string", "pattern": "(a)\\1"}), r"s\.properties\.a\.pattern: .*refers"),
        (form(allOf=[{"propertyNames": {"pattern": "("}}]), r"allOf\.0\.propertyNames\.pattern: "),
        (form(patternProperties={"(?<=a)b": TEXT}), r"s\.patternProperties\.\(\?<=a\)b: "),
        (form(allOf=[{"pattern": "a{450}" + str(n)} for n in range(20)]), "than 5000 positions"),
    ],
)
def test_a_pattern_that_is_not_matched_is_refused_with_its_path(
    schema: dict[str, Any], told: str
) -> None:
    with pytest.raises(SpecError, match=told):
        self_contained(schema, "s")


def test_names_by_pattern_have_no_column() -> None:
    schema = form(allOf=[{"patternProperties": {"^b": TEXT}}])
    with pytest.raises(SpecError, match=r"s\.allOf\.0\.patternProperties: .*list them"):
        normalised(schema, "s")


def test_a_pattern_is_checked_by_all_that_it_says() -> None:
    schema = schema_of(
        ExtractTask.model_validate(
            {
                "name": "facts",
                "kind": "extract",
                "schema": field({"type": "string", "pattern": r"^(?!^[-+.]*$)[+-]?\d*\.?\d*$"}),
            }
        )
    )
    assert parse_fields('{"a": "12.5"}', schema, "", (0, 0), only_verified=False).values
    with pytest.raises(InvalidAnswer, match=r"a: '\+\.' does not match"):
        parse_fields('{"a": "+."}', schema, "", (0, 0), only_verified=False)


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
    """Each of these takes Python's own engine minutes or hours."""
    schema = field({"type": "string", **keys})
    program = (
        "import sys, json\n"
        "from pipelines.errors import InvalidAnswer, SpecError\n"
        "from pipelines.tasks.extraction import parse_fields\n"
        "from pipelines.tasks.schema import normalised\n"
        "try:\n"
        "    schema = normalised(json.loads(sys.argv[1]), 's')\n"
        "    answer = json.dumps({'a': 'a' * 4000 + '!'})\n"
        "    parse_fields(answer, schema, '', (0, 0), only_verified=False)\n"
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
    schema = normalised(field({"type": "string", "pattern": "^(?:.{0,100}x)+$"}), "s")
    answer = json.dumps({"a": "x" * 60_000})
    with pytest.raises(InvalidAnswer, match="too long to be matched"):
        parse_fields(answer, schema, "", (0, 0), only_verified=False)
