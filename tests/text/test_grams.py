from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from pipelines.text.grams import GramFilter


@given(st.text(max_size=300), st.integers(0, 300), st.integers(0, 60))
def test_everything_that_a_text_contains_may_be_in_it(text: str, start: int, length: int) -> None:
    assert GramFilter(text).may_contain(text[start : start + length])


def test_most_strings_that_a_text_does_not_contain_are_not_in_it() -> None:
    dice = random.Random(1)  # noqa: S311  # seeded on purpose
    letters = "abcdefghijklmnopqrstuvwxyz"
    grams = GramFilter("".join(dice.choices(letters, k=100_000)))
    absent = ["".join(dice.choices(letters, k=12)) for _ in range(1000)]
    assert sum(map(grams.may_contain, absent)) < 50


def test_blocks_of_a_long_text_overlap() -> None:
    text = "".join(random.Random(2).choices("abcdefgh", k=(1 << 20) + 100))  # noqa: S311
    assert GramFilter(text).may_contain(text[(1 << 20) - 20 : (1 << 20) + 20])
