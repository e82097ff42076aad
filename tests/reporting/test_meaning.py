"""Values that state the same, and similar texts."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.reporting.meaning import meaning_of, meaning_of_reply, similarity


def agree(one: Any, other: Any) -> bool:
    first, second = meaning_of(one, {}), meaning_of(other, {})
    assert first is not None and second is not None
    assert first.agrees(second) is second.agrees(first)
    return first.agrees(second)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Acme Corp.", "ACME Corporation"),
        ("1 March 2024", "2024-03-01"),
        ("two (2) years", "24 months"),
        ("$72.5 million", 72_500_000),
        ("$5", "5 USD"),
        ("$5", "5"),
        ("3 kg", "3"),
        (3, 3.0),
        ("1,234", 1234),
        ("A@b.com", "a@B.com"),
    ],
)
def test_values_that_evidence_takes_for_the_same_agree(one: Any, other: Any) -> None:
    assert agree(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("$5", "€5"),
        ("3 kg", "3 km"),
        ("C++", "C#"),
        (True, 1),
        ("2024-03-01", "2024-03-02"),
        ("3/4/2023", "2023-04-03"),
        ("007", "7"),
        ("30 business days", "30 days"),
    ],
)
def test_values_that_differ_do_not_agree(one: Any, other: Any) -> None:
    assert not agree(one, other)


@pytest.mark.parametrize("value", [None, "", "  ", "N/A", "-", "Not stated."])
def test_a_text_that_says_there_is_no_value_states_nothing(value: str | None) -> None:
    assert meaning_of(value, {}) is None


def test_a_reply_that_the_text_does_not_say_states_nothing() -> None:
    assert meaning_of_reply("The document does not mention the auditor.") is None
    assert meaning_of_reply("No.") is not None


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        # the longest common subsequence is a c d: 2 * 3 / (4 + 4)
        ("a b c d", "a c d e", 0.75),
        ("The rent, fixed.", "the rent fixed", 1.0),
        ("one two", "three", 0.0),
        # ideographs are words of their own: 2 * 2 / (3 + 2)
        ("東京都", "東京", 0.8),
    ],
)
def test_similarity_is_the_share_of_common_words_in_order(
    one: str, other: str, expected: float
) -> None:
    assert similarity(one, other) == pytest.approx(expected)
