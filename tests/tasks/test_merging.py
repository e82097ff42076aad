"""What chunks said becomes one: values merged by the schema, labels voted on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.documents import Fields, Label, Quote
from pipelines.tasks.merging import merge, merged_quotes, normalize_text, vote
from pipelines.tasks.schema import from_shorthand

SCHEMA = from_shorthand(
    {"company": "string", "n": "number", "risks": ["string"], "auditor": {"name": "string"}}
)
NONE: dict[str, Any] = {"company": None, "n": None, "risks": [], "auditor": None}


def fields(quotes: tuple[Quote, ...] = (), **values: Any) -> Fields:
    return Fields({**NONE, **values}, quotes)


def quote(name: str, start: int, *, verified: bool = True) -> Quote:
    return Quote(f"{name} {start}", start, start + 9, verified, name)


def test_a_value_stated_once_stands() -> None:
    merged = merge([fields(), fields(company="Acme"), fields(n=0)], SCHEMA)
    assert merged.values == {**NONE, "company": "Acme", "n": 0}
    assert merged.conflicts == ()


def test_the_same_value_in_other_words_is_no_conflict() -> None:
    merged = merge([fields(company="Acme  Corp.", n=3), fields(company="ACME corp", n=3.0)], SCHEMA)
    assert merged.values == {**NONE, "company": "Acme  Corp.", "n": 3}


def test_a_blank_text_states_nothing() -> None:
    merged = merge([fields(company="Acme"), fields(company=" ")], SCHEMA)
    assert (merged.values["company"], merged.conflicts) == ("Acme", ())


def test_lists_are_joined_in_order_without_repeats() -> None:
    found = [fields(risks=["fire", "flood"]), fields(risks=["Fire", "storm"]), fields()]
    assert merge(found, SCHEMA).values["risks"] == ["fire", "flood", "storm"]


def test_different_values_are_a_conflict_in_document_order() -> None:
    first, second = quote("company", 1), quote("company", 5)
    found = [fields((first,), company="B"), fields((second,), company="A"), fields(company="b")]
    (conflict,) = merge(found, SCHEMA).conflicts
    assert conflict.path == ("company",)
    assert [(c.value, c.quote, c.chunks) for c in conflict.candidates] == [
        ("B", first, 2), ("A", second, 1),
    ]  # fmt: skip
    assert merge(found, SCHEMA, {("company",): "A"}).values["company"] == "A"


def test_a_single_value_that_no_quote_shows_does_not_count_beside_one_that_a_quote_shows() -> None:
    made_up, shown = quote("company", 1, verified=False), quote("company", 5)
    found = [fields((made_up,), company="B"), fields((shown,), company="A"), fields(company="C")]
    merged = merge(found, SCHEMA)
    assert (merged.values["company"], merged.conflicts) == ("A", ())
    (conflict,) = merge(found[::2], SCHEMA).conflicts
    assert [candidate.value for candidate in conflict.candidates] == ["B", "C"]


def test_fields_within_fields_are_merged_by_themselves() -> None:
    found = [fields(auditor={"name": "Ann"}), fields(auditor={"name": "Bo"}), fields(auditor=None)]
    merged = merge(found, SCHEMA)
    assert merged.conflicts[0].path == ("auditor", "name")
    chosen = merge(found, SCHEMA, {("auditor", "name"): "Bo"})
    assert (chosen.values["auditor"], chosen.conflicts) == ({"name": "Bo"}, ())
    assert merge([fields(auditor={"name": None})], SCHEMA).values["auditor"] is None


def test_a_single_value_keeps_one_quote_of_those_who_agree_a_verified_one_first() -> None:
    found = [
        fields((quote("company", 1, verified=False),), company="Acme"),
        fields((quote("company", 5),), company="acme"),
        fields((quote("company", 9),), company="Other"),
    ]
    assert merged_quotes(found, {"company": "Acme"}) == (quote("company", 5),)
    assert merged_quotes(found, {"company": None}) == ()


def test_a_list_keeps_every_different_quote() -> None:
    found = [fields((quote("risks", at),), risks=["x"]) for at in (1, 9, 1)]
    assert merged_quotes(found, {"risks": ["x"]}) == (quote("risks", 1), quote("risks", 9))


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", "A"]), max_size=4), max_size=6))
def test_how_a_list_is_spread_over_chunks_does_not_matter(lists: list[list[str]]) -> None:
    spread = merge([fields(risks=each) for each in lists], SCHEMA).values["risks"]
    together = merge([fields(risks=[x for each in lists for x in each])], SCHEMA).values["risks"]
    assert spread == together
    assert len({normalize_text(each) for each in spread}) == len(spread)


@given(st.lists(st.sampled_from([None, "a", "b"]), max_size=8))
def test_merging_again_changes_nothing(stated: list[str | None]) -> None:
    merged = merge([fields(company=each) for each in stated], SCHEMA, {("company",): "a"})
    assert merge([Fields(merged.values)], SCHEMA).values == merged.values


def test_a_vote_is_weighted_by_confidence() -> None:
    votes = vote([Label("a", 0.9), Label("b", 0.4), Label("b", 0.3)])
    assert votes.tied == ("a",)
    assert votes.share("a") == pytest.approx(0.3)


def test_labels_close_to_each_other_are_tied() -> None:
    assert vote([Label("a", 0.50), Label("b", 0.52)]).tied == ("b", "a")
    assert vote([Label("a"), Label("b"), Label("a")]).tied == ("a",)
    assert vote([Label("a", 0.0)]).tied == ("a",)
