"""Tests of merging the fields that chunks state, along their schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipelines.documents import Evidence, EvidenceStatus, Fields
from pipelines.tasks.merging import FieldPath, Merged
from pipelines.tasks.merging import merge as merge_chunks
from pipelines.tasks.schema import from_shorthand
from pipelines.tasks.statements import ChunkFields
from pipelines.tasks.validation import JsonSchema

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
