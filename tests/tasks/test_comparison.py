"""Tests of comparing values: what states the same, and what states nothing."""

from __future__ import annotations

import pytest

from pipelines.tasks.comparison import contains, is_filler, value_key, without_fillers

FILLERS = (
    "N/A", "n/a", "n.a.", "unknown", "Unknown.", "Not stated", "NOT  STATED.", "-", "—", "...",
    "none", "null", "not applicable", "not disclosed", "(none)", "[N/A]", " ", "",
)  # fmt: skip
VALUES = ("NA", "Na", "no", "None of the above", "0", "Nonesuch Ltd", "not guilty", "a-b", "-5")


@pytest.mark.parametrize("text", FILLERS)
def test_fillers(text: str) -> None:
    assert is_filler(text)


@pytest.mark.parametrize("text", VALUES)
def test_values_that_are_no_fillers(text: str) -> None:
    assert not is_filler(text)


def test_spellings_of_a_value_have_one_key() -> None:
    for first, second in (
        (5, 5.0), ("Acme  Corp.", "ACME corp"), ("ﬁre", "fire"), ([1, "A"], [1.0, "a"]),
        ({"a": 1, "b": "X"}, {"b": "x", "a": 1.0}),
    ):  # fmt: skip
        assert value_key(first) == value_key(second)
    for one, other in ((5, "5"), (True, 1), (None, "null"), (2**53, 2**53 + 1), ("a", "b")):
        assert value_key(one) != value_key(other)


def test_a_part_is_the_beginning_or_the_end_of_a_text() -> None:
    assert contains("Hansen & Co", "Hansen") and contains("Ann Lee", "Lee")
    assert not contains("Hansen & Co", "sen") and not contains("Hansen", "Hansen & Co")
    assert not contains("Hansen", "hansen") and not contains("Bo Kim", "Bo") and not contains(5, 5)


def test_fillers_within_lists_and_objects_keep_the_indices_of_items() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": {}}}}
    values = {"a": ["N/A", "x", {"b": "unknown", "c": 1}]}
    assert without_fillers(values, schema) == {"a": [None, "x", {"b": None, "c": 1}]}
