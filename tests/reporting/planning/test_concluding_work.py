"""Tests of the prompts that combine chunks' answers, by figures computed by hand."""

from __future__ import annotations

import pytest

from pipelines.reporting.planning.concluding_work import Concluding, in_levels


def test_notes_that_fit_one_prompt_need_one() -> None:
    # 5 notes of 20 tokens in 100 free ones
    assert in_levels(5, 20, around=30, free=100, answer=12) == Concluding(1, 30 + 5 * 20, 12)


def test_more_notes_are_combined_in_levels() -> None:
    # 12 notes of 20 tokens, 5 in each prompt: 3 prompts, and a last one of their 3 answers, which
    # are notes of 12 + 4 tokens
    expected = Concluding(4, 3 * 30 + 12 * 20 + 30 + 3 * 16, 4 * 12)
    assert in_levels(12, 20, around=30, free=100, answer=12) == expected


def test_a_long_note_is_cut_off_at_half_of_the_free_tokens() -> None:
    # two notes of 50 fit each prompt: 2 prompts, then 1
    expected = Concluding(3, 2 * 30 + 4 * 50 + 30 + 2 * 16, 3 * 12)
    assert in_levels(4, 500, around=30, free=100, answer=12) == expected


@pytest.mark.parametrize("notes", [1, 2, 7, 1000])
def test_levels_end_whatever_the_lengths(notes: int) -> None:
    needed = in_levels(notes, 90, around=10, free=100, answer=90)
    # each prompt takes two notes, so all together take one prompt less than there are notes
    assert needed.requests == max(1, notes - 1) or needed.requests < notes + 12
