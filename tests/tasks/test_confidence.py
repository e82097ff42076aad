"""Tests of the confidence of a choice."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest

from pipelines.tasks.confidence import choice_logprob

PIECES = ["ri", "r", "i", "sk", "risk", "ear", "nings", "earn", "risky", "é", "\ufffd", ""]
PIECES += [" ", " risk", " earn"]
END, BLANK, BLANK_RISK, BLANK_EARN = 11, 12, 13, 14
CHOICES = ("risk", "earnings")


def decode(ids: Sequence[int]) -> str:
    return "".join(PIECES[token] for token in ids)


def decode_stripped(ids: Sequence[int]) -> str:
    """Decode as Phi-3's tokenizer does, without the first blank of the text."""
    return decode(ids).removeprefix(" ")


def probability(
    ids: list[int],
    steps: list[dict[int, float]],
    choices: Sequence[str],
    decoder: Callable[[Sequence[int]], str] = decode,
) -> float:
    """Return the probability of a generated choice; `steps` are probabilities by token."""
    logged = [{token: math.log(p) for token, p in step.items()} for step in steps]
    return math.exp(choice_logprob(ids, logged, choices, decoder, {END}))


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


@pytest.mark.parametrize("decoder", [decode, decode_stripped])
def test_a_choice_counts_with_and_without_a_blank_before_it(
    decoder: Callable[[Sequence[int]], str],
) -> None:
    first = {BLANK_RISK: 0.6, BLANK_EARN: 0.1, 4: 0.2, 7: 0.1}
    assert probability([BLANK_RISK], [first], CHOICES, decoder) == pytest.approx(0.8)
    assert probability([4], [first], CHOICES, decoder) == pytest.approx(0.8)


@pytest.mark.parametrize("decoder", [decode, decode_stripped])
def test_after_a_blank_alone_the_choice_counts_by_what_follows(
    decoder: Callable[[Sequence[int]], str],
) -> None:
    first = {BLANK: 0.5, BLANK_RISK: 0.1, BLANK_EARN: 0.4}
    second = {4: 0.7, 7: 0.3}
    generated = probability([BLANK, 4], [first, second], CHOICES, decoder)
    assert generated == pytest.approx(0.1 + 0.5 * 0.7)


def test_a_token_that_was_not_generated_and_leads_to_several_choices_is_shared_out() -> None:
    first = {BLANK: 0.2, BLANK_RISK: 0.6, BLANK_EARN: 0.2}
    assert probability([BLANK_RISK], [first], CHOICES) == pytest.approx(0.6 + 0.2 * 0.75)


def test_the_probabilities_of_all_choices_make_one() -> None:
    first = {BLANK: 0.3, 4: 0.5, 5: 0.2}
    second = {4: 0.6, 5: 0.4}
    risk = probability([BLANK, 4], [first, second], CHOICES)
    earnings = probability([BLANK, 5, 6], [first, second, {6: 1.0}], CHOICES)
    assert risk + earnings == pytest.approx(1)


def test_a_blank_is_not_the_end_of_an_answer() -> None:
    steps = [{BLANK: 0.9, 4: 0.1}, {4: 0.5, 7: 0.5}]
    assert probability([BLANK, 4], steps, CHOICES, decode_stripped) == pytest.approx(0.55)


def test_an_incomplete_choice_has_a_probability() -> None:
    assert probability([0], [{0: 0.5, 5: 0.5}], CHOICES) == 1
