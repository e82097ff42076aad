"""Tests of merging the fields that chunks state, along their schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.documents import Answer, Evidence, EvidenceStatus, Fields, Usage
from pipelines.tasks.columns import AnswerColumn
from pipelines.tasks.extraction import empty_fields
from pipelines.tasks.merging import FieldPath, Merged
from pipelines.tasks.merging import merge as merge_chunks
from pipelines.tasks.normalizing import normalize_schema
from pipelines.tasks.schema import JsonSchema, from_shorthand
from pipelines.tasks.statements import ChunkFields

SCHEMA = from_shorthand(
    {"company": "string", "n": "number", "risks": ["string"], "auditor": {"name": "string"}}
)
NONE: dict[str, Any] = {"company": None, "n": None, "risks": [], "auditor": None}


def fields(evidence: tuple[Evidence, ...] = (), **values: Any) -> Fields:
    """Return the fields of one chunk that states these values."""
    return Fields({**NONE, **values}, evidence)


def merge(
    findings: Sequence[Fields], schema: JsonSchema, choices: Mapping[FieldPath, Any] | None = None
) -> Merged:
    """Merge the fields of chunks of 100 characters each."""
    chunks = [ChunkFields(100 * at, 100 * at + 100, fields) for at, fields in enumerate(findings)]
    return merge_chunks(chunks, schema, choices)


def row(path: str, start: int, status: EvidenceStatus = EvidenceStatus.SHOWN) -> Evidence:
    return Evidence(path, status, f"{path} {start}", start, start + 9)


def test_a_value_stated_once_is_taken() -> None:
    merged = merge([fields(), fields(company="Acme"), fields(n=0)], SCHEMA)
    assert merged.values == {**NONE, "company": "Acme", "n": 0}
    assert merged.conflicts == ()


def test_other_spellings_of_a_value_are_not_a_conflict() -> None:
    merged = merge([fields(company="Acme  Corp.", n=3), fields(company="ACME corp", n=3.0)], SCHEMA)
    assert merged.values == {**NONE, "company": "Acme  Corp.", "n": 3}


def test_a_blank_text_does_not_count_as_a_value() -> None:
    merged = merge([fields(company="Acme"), fields(company=" ")], SCHEMA)
    assert (merged.values["company"], merged.conflicts) == ("Acme", ())


def test_lists_are_joined_in_order_without_duplicates() -> None:
    findings = [fields(risks=["fire", "flood"]), fields(risks=["Fire", "storm"]), fields()]
    assert merge(findings, SCHEMA).values["risks"] == ["fire", "flood", "storm"]


def test_different_values_are_a_conflict_in_document_order() -> None:
    first, second = row("company", 1), row("company", 5)
    findings = [fields((first,), company="B"), fields((second,), company="A"), fields(company="b")]
    (conflict,) = merge(findings, SCHEMA).conflicts
    assert conflict.path == ("company",)
    assert [(c.value, c.words, c.chunks) for c in conflict.candidates] == [
        ("B", first.text, 2), ("A", second.text, 1),
    ]  # fmt: skip
    assert merge(findings, SCHEMA, {("company",): "A"}).values["company"] == "A"


def evidenced(status: EvidenceStatus, value: str, start: int = 0) -> Fields:
    """Return the fields of a chunk that states a company with evidence of a status."""
    row = Evidence("company", status, value, start, start + len(value))
    return Fields({**NONE, "company": value}, (row,))


def companies(findings: Sequence[Fields]) -> list[Any]:
    """Return the merged company, or the candidates of a conflict about it."""
    merged = merge(findings, SCHEMA)
    if merged.conflicts:
        return [candidate.value for candidate in merged.conflicts[0].candidates]
    return [merged.values["company"]]


@pytest.mark.parametrize("proof", [EvidenceStatus.SHOWN, EvidenceStatus.FOUND])
def test_a_proven_value_wins_over_a_value_without_evidence(proof: EvidenceStatus) -> None:
    assert companies([fields(company="B"), evidenced(proof, "A")]) == ["A"]


def test_proven_values_that_differ_are_a_conflict_however_often_each_is_stated() -> None:
    shown = [evidenced(EvidenceStatus.SHOWN, "A")] * 9
    assert companies([*shown, evidenced(EvidenceStatus.FOUND, "B")]) == ["A", "B"]


def test_a_single_quote_does_not_outvote_many_chunks() -> None:
    shown = evidenced(EvidenceStatus.SHOWN, "A")
    assert companies([shown, *[fields(company="B")] * 2]) == ["A"]
    assert companies([shown, *[fields(company="B")] * 3]) == ["A", "B"]


def test_a_similar_passage_proves_nothing() -> None:
    assert companies([evidenced(EvidenceStatus.NEAR, "A"), fields(company="B")]) == ["A", "B"]


def test_fillers_are_no_statements() -> None:
    findings = [fields(company=text) for text in ("N/A", "Hansen & Co", "Not stated")]
    assert companies(findings) == ["Hansen & Co"]
    schema = {"type": "object", "properties": {"s": {"type": "string", "enum": ["None", "x"]}}}
    assert merge([Fields({"s": "None"})], schema).values == {"s": "None"}
    assert merge([Fields({"s": "N/A"})], schema).values == {"s": None}


def test_a_value_cut_off_at_a_border_is_no_conflict() -> None:
    findings = [
        evidenced(EvidenceStatus.FOUND, "Hansen", 95),
        evidenced(EvidenceStatus.FOUND, "Hansen & Co", 95),
    ]
    assert companies(findings) == ["Hansen & Co"]
    elsewhere = evidenced(EvidenceStatus.FOUND, "Hansen & Co", 300)
    assert companies([findings[0], elsewhere]) == ["Hansen", "Hansen & Co"]


def test_a_value_keeps_the_evidence_of_the_chunks_that_agree_best_first() -> None:
    findings = [
        evidenced(EvidenceStatus.FOUND, "Acme", 10),
        evidenced(EvidenceStatus.SHOWN, "ACME", 90),
        evidenced(EvidenceStatus.SHOWN, "Acme", 10),
        Fields({**NONE, "company": "Acme"}, (Evidence("company", EvidenceStatus.ABSENT),)),
    ]
    merged = merge(findings, SCHEMA)
    assert [(row.status, row.start) for row in merged.evidence] == [("shown", 10), ("shown", 90)]
    many = [evidenced(EvidenceStatus.FOUND, "Acme", at) for at in range(0, 200, 10)]
    assert len(merge(many, SCHEMA).evidence) == 8


def test_the_evidence_of_a_chosen_value_is_its_own() -> None:
    findings = [
        evidenced(EvidenceStatus.SHOWN, "A", 10), evidenced(EvidenceStatus.SHOWN, "B", 190)
    ]  # fmt: skip
    assert merge(findings, SCHEMA).evidence == ()
    assert [row.start for row in merge(findings, SCHEMA, {("company",): "B"}).evidence] == [190]


def test_a_map_is_merged_key_by_key() -> None:
    number = {"type": ["number", "null"]}
    schema = {
        "type": "object",
        "properties": {"m": {"type": "object", "additionalProperties": number}},
    }
    findings = [Fields({"m": {"no": 5, "se": 1}}), Fields({"m": {"dk": 2, "no": 5.0}}), Fields({})]
    assert merge(findings, schema).values == {"m": {"no": 5, "se": 1, "dk": 2}}
    (conflict,) = merge([*findings, Fields({"m": {"se": 7}})], schema).conflicts
    assert conflict.path == ("m", "se")


def test_a_value_with_a_verified_quote_wins_over_values_without() -> None:
    made_up, verified = row("company", 1, EvidenceStatus.NEAR), row("company", 5)
    findings = [
        fields((made_up,), company="B"), fields((verified,), company="A"), fields(company="C"),
    ]  # fmt: skip
    merged = merge(findings, SCHEMA)
    assert (merged.values["company"], merged.conflicts) == ("A", ())
    (conflict,) = merge(findings[::2], SCHEMA).conflicts
    assert [candidate.value for candidate in conflict.candidates] == ["B", "C"]


def test_objects_that_differ_are_a_conflict_of_whole_objects() -> None:
    findings = [fields(auditor={"name": "Ann"}), fields(auditor={"name": "Bo"}), fields()]
    merged = merge(findings, SCHEMA)
    assert merged.conflicts[0].path == ("auditor",)
    assert [c.value for c in merged.conflicts[0].candidates] == [{"name": "Ann"}, {"name": "Bo"}]
    chosen = merge(findings, SCHEMA, {("auditor",): {"name": "Bo"}})
    assert (chosen.values["auditor"], chosen.conflicts) == ({"name": "Bo"}, ())
    assert merge([fields(auditor={"name": None})], SCHEMA).values["auditor"] is None


def test_equal_items_without_a_place_are_one_across_chunks_but_not_within_a_chunk() -> None:
    findings = [fields(risks=["a", "b", "a"]), fields(risks=["A"]), fields(risks=["b", "c", "b"])]
    assert merge(findings, SCHEMA).values["risks"] == ["a", "b", "a", "c", "b"]


@given(st.lists(st.sampled_from([None, "a", "b"]), max_size=8))
def test_merging_again_changes_nothing(stated: list[str | None]) -> None:
    merged = merge([fields(company=value) for value in stated], SCHEMA, {("company",): "a"})
    assert merge([Fields(merged.values)], SCHEMA).values == merged.values


def test_a_form_of_one_of_several_objects_never_mixes_their_fields() -> None:
    """A chunk has to name one of the objects even if it states nothing of it."""
    kinds = {"debt": {"lender": {"type": "string"}}, "equity": {"shares": {"type": "integer"}}}
    members = [
        {"type": "object", "properties": {"kind": {"const": kind}, **rest}, "required": ["kind"]}
        for kind, rest in kinds.items()
    ]
    schema = normalize_schema({"type": "object", "oneOf": members}, "s")
    debt, nothing = {"kind": "debt", "lender": "Ann"}, {"kind": "equity", "shares": None}
    equity = {"kind": "equity", "shares": 5}
    assert merge([Fields(nothing), Fields(debt), Fields(nothing)], schema).values == debt
    conflicting = merge([Fields(debt), Fields(equity)], schema)
    assert conflicting.values == {}
    ((path, candidates),) = [(c.path, c.candidates) for c in conflicting.conflicts]
    assert path == () and [candidate.value for candidate in candidates] == [debt, equity]
    assert merge([Fields(debt), Fields(equity)], schema, {(): equity}).values == equity


def test_a_set_has_no_item_twice_and_a_tuple_is_one_value() -> None:
    schema = normalize_schema(
        {"type": "object", "properties": {
            "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
            "span": {"type": "array", "prefixItems": [{"type": "integer"}] * 2,
                     "minItems": 2, "maxItems": 2}}}, "s",
    )  # fmt: skip
    chunks = [{"tags": ["a", "b"], "span": [1, 2]}, {"tags": ["b", "a"], "span": [1, 3]}]
    merged = merge([Fields(chunk) for chunk in chunks], schema)
    assert merged.values["tags"] == ["a", "b"]
    ((path, candidates),) = [(c.path, c.candidates) for c in merged.conflicts]
    assert path == ("span",) and [c.value for c in candidates] == [[1, 2], [1, 3]]


def test_chunks_that_state_nothing_change_nothing() -> None:
    nothing = Fields(empty_fields(SCHEMA))
    stated = fields((row("company", 3),), company="Acme", risks=["fire"])
    alone = merge([stated], SCHEMA)
    assert merge([nothing, stated, nothing], SCHEMA).values == alone.values
    assert merge([nothing, nothing], SCHEMA).values == NONE


def test_a_union_of_which_no_chunk_states_anything_is_empty() -> None:
    def member(kind: str) -> dict[str, Any]:
        properties = {"kind": {"const": kind}, kind: {"type": "string"}}
        return {"type": "object", "properties": properties, "required": [*properties]}

    union = normalize_schema({"anyOf": [member("a"), member("b")]}, "s")
    nothing, stated = Fields(empty_fields(union)), Fields({"kind": "a", "a": "x"})
    assert merge([nothing, nothing], union).values == {}
    for chunks in ([nothing, stated], [stated, nothing]):
        assert merge(chunks, union).values == stated.values
    column = AnswerColumn("facts", "extract", union)
    cell = column.cell(Answer("facts", nothing, None, "single", 1, Usage(), "stop"))
    assert [cell[name] for name in ("kind", "a", "b")] == [None] * 3


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Acme Corp.", "Acme Corporation"), ("Acme, Inc.", "ACME INC"), ("5,000 EUR", "5000 EUR"),
        ("2020-05-01", "1 May 2020"), ("May 1, 2020", "1st day of May, 2020"),
        ("two years", "24 months"), ("1.234.567 kg", "1 234 567 kg"),
        ("2024年3月1日", "2024-03-01"),
    ],
)  # fmt: skip
def test_values_that_state_the_same_are_no_conflict(first: str, second: str) -> None:
    for one, other in ((first, second), (second, first)):
        merged = merge([fields(company=one), fields(company=other)], SCHEMA)
        assert merged.conflicts == ()
        assert merged.values["company"] in (first, second)
        merged = merge([fields(auditor={"name": one}), fields(auditor={"name": other})], SCHEMA)
        assert merged.conflicts == ()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Acme Corp", "Acme Ltd"), ("5,000 EUR", "5.001 EUR"), ("1.234 kg", "1234 kg"),
        ("5,000 EUR", "-5,000 EUR"), ("2020-05-01", "2020-05-02"), ("two years", "25 months"),
        ("C++", "C#"), ("Ann Lee", "Ann-Lee"), ("5 mW", "5 MW"), ("Müller", "Muller"),
        ("3/4/2020", "4/3/2020"), ("12 50", "1250"),
    ],
)  # fmt: skip
def test_values_that_state_something_else_are_a_conflict(first: str, second: str) -> None:
    merged = merge([fields(company=first), fields(company=second)], SCHEMA)
    assert len(merged.conflicts) == 1
