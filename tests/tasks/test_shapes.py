"""Maps, tuples and unions of objects in every step between the model's answer and the column."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipelines.documents import Evidence, EvidenceStatus
from pipelines.tasks.budgets import form_budget
from pipelines.tasks.evidence import only_verified
from pipelines.tasks.extraction import parse_fields
from pipelines.tasks.normalizing import normalize_schema
from pipelines.tasks.paths import field_path, item_path
from pipelines.tasks.schema import lenient
from pipelines.text.search import DocumentSearch

TEXT, WHOLE = {"type": "string"}, {"type": "integer"}
PAIR = {"type": "array", "prefixItems": [TEXT, WHOLE], "minItems": 2, "maxItems": 2}
PERSON = {"type": "object", "properties": {"name": TEXT, "age": WHOLE}}
MEMBERS = {
    "oneOf": [
        {"type": "object", "required": ["kind", field],
         "properties": {"kind": {"const": kind}, field: schema}}
        for kind, field, schema in (
            ("one", "name", TEXT), ("many", "names", {"type": "array", "items": TEXT})
        )
    ]
}  # fmt: skip


def form(**properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": [*properties]}
    return lenient(normalize_schema(schema, "s"))


def map_of(values: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": values}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("EUR", "a.EUR"),
        ("first year", "a.first year"),
        ("U.S.", 'a["U.S."]'),
        ("x[1]", 'a["x[1]"]'),
        ('"', 'a["\\""]'),
        ("", 'a[""]'),
        ("日本", "a.日本"),
    ],
)
def test_a_name_with_punctuation_is_quoted_in_a_path(name: str, path: str) -> None:
    assert field_path("a", name) == path
    assert field_path("", "b") == "b" and item_path("b", 2) == "b[2]"


def cut(answer: str, schema: dict[str, Any]) -> dict[str, Any]:
    read = parse_fields(
        answer, schema, DocumentSearch(""), (0, 0), only_verified=False, cut_off=True
    )
    return dict(read.values)


@pytest.mark.parametrize(
    ("schema", "value", "kept"),
    [
        (map_of(WHOLE), {"a": 1, "b": 2}, {"a": 1}),
        (map_of(PERSON), {"a": {"name": "A", "age": 1}, "b": {"name": "B", "age": 2}},
         {"a": {"name": "A", "age": 1}}),
        (map_of(PAIR), {"a": ["A", 1], "b": ["B", 2]}, {"a": ["A", 1]}),
        (map_of({"type": "array", "items": WHOLE}), {"a": [1, 2], "b": [3, 4]},
         {"a": [1, 2], "b": [3]}),
        (PAIR, ["A", 1], None),
        ({"type": "array", "items": PAIR}, [["A", 1], ["B", 2]], [["A", 1]]),
        (MEMBERS, {"kind": "many", "names": ["A", "B"]}, {"kind": "many", "names": ["A"]}),
        ({"type": "array", "items": MEMBERS}, [{"kind": "one", "name": "A"},
         {"kind": "many", "names": ["B"]}], [{"kind": "one", "name": "A"}]),
    ],
)  # fmt: skip
def test_a_cut_answer_keeps_what_is_complete(schema: Any, value: Any, kept: Any) -> None:
    answer = json.dumps({"v": value})
    # before the last value
    last = answer.rindex('"B"' if '"B"]' in answer else answer.rstrip("]} ").split()[-1])
    assert cut(answer[:last], form(v=schema))["v"] == kept


def rows(*paths: str) -> list[Evidence]:
    return [Evidence(path, EvidenceStatus.FOUND) for path in paths]


def test_unverified_entries_and_tuples_are_left_out() -> None:
    schema = form(rates=map_of(WHOLE), span=PAIR, spans={"type": "array", "items": PAIR})
    values = {
        "rates": {"EUR": 1, "U.S.": 2},
        "span": ["a", "1"],
        "spans": [["b", "2"], ["c", "3"]],
    }
    supported = rows('rates["U.S."]', "span[0]", "spans[0][1]", "spans[1][0]", "spans[1][1]")
    kept, evidence = only_verified(values, schema, supported)
    assert kept == {"rates": {"U.S.": 2}, "span": None, "spans": [["c", "3"]]}
    assert [row.path for row in evidence] == ['rates["U.S."]', "spans[0][0]", "spans[0][1]"]


def test_a_budget_counts_maps_as_lists_and_the_largest_member_of_a_union() -> None:
    def budget(schema: Any) -> Any:
        return form_budget(form(v=schema), len)

    assert budget(map_of(WHOLE)).growth > 0 == budget(PAIR).growth
    assert budget(map_of(TEXT)).text_tokens > budget({"type": "array", "items": TEXT}).text_tokens
    one, many = MEMBERS["oneOf"]
    assert budget(MEMBERS).text_tokens == max(budget(one).text_tokens, budget(many).text_tokens)
    assert budget(MEMBERS).least_tokens < budget(one).least_tokens + budget(many).least_tokens
