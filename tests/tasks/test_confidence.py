"""Tests of the confidence of a choice."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from pipelines.tasks.confidence import choice_logprob

PIECES = ["ri", "r", "i", "sk", "risk", "ear", "nings", "earn", "risky", "é", "\ufffd", ""]
CHOICES = ("risk", "earnings")


def decode(ids: Sequence[int]) -> str:
    return "".join(PIECES[token] for token in ids)


def probability(ids: list[int], steps: list[dict[int, float]], choices: Sequence[str]) -> float:
    """Return the probability of a generated choice; `steps` are probabilities by token."""
    logged = [{token: math.log(p) for token, p in step.items()} for step in steps]
    return math.exp(choice_logprob(ids, logged, choices, decode))


def test_all_tokenizations_of_a_choice_count() -> None:
    first = {4: 0.5, 0: 0.2, 1: 0.1, 5: 0.15, 7: 0.05}
    assert probability([4], [first], CHOICES) == pytest.approx(0.8)
    assert probability([0, 3], [first, {3: 0.4, 2: 0.1}], CHOICES) == pytest.approx(0.8)


def test_a_choice_that_is_a_prefix_of_another_counts_only_with_its_end() -> None:
    steps = [{4: 0.9, 8: 0.1}, {11: 0.6, 8: 0.4}]
    assert probability([4, 11], steps, ("risk", "risky")) == pytest.approx(0.9 * 0.6)


def test_the_end_of_an_answer_does_not_count_for_a_longer_choice() -> None:
    steps = [{4: 1.0}, {11: 0.3, 8: 0.7}]
    assert probability([4, 8], steps, ("risk", "riskrisky")) == pytest.approx(0.7)
    assert probability([4, 11], steps, ("risk", "riskrisky")) == pytest.approx(0.3)


def test_steps_after_only_one_choice_is_left_do_not_count() -> None:
    assert probability([5, 6], [{5: 0.3, 4: 0.7}, {6: 0.01}], CHOICES) == pytest.approx(0.3)


def test_a_character_split_over_two_tokens_is_supported() -> None:
    assert probability([10, 9], [{10: 0.7, 4: 0.3}, {9: 1.0}], ("é", "risk")) <= 1.0
