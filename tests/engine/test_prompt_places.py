from __future__ import annotations

import numpy as np

from pipelines.engine.prompt_places import PromptPlaces

PROMPT = np.array([9, 1, 2, 3, 4, 5, 1, 2, 7, 8, 5, 5, 5, 5, 6, 6, 5, 1, 0], np.int32)
PLACES = PromptPlaces(PROMPT, len(PROMPT))


def test_a_place_is_found_by_the_two_tokens_before_it() -> None:
    assert PLACES.after((2, 7)) == 9
    assert PLACES.after((1, 2)) == 3
    assert PLACES.after((2, 9)) is None


def test_the_longest_end_of_the_answer_decides() -> None:
    assert PLACES.best([0, 5, 1, 2]) == (8, 3)
    assert PLACES.best([0, 9, 1, 2]) == (3, 3)


def test_of_equal_places_the_first_is_taken() -> None:
    assert PLACES.best([0, 0, 1, 2]) == (3, 2)


def test_a_token_that_the_prompt_has_often_is_no_place() -> None:
    assert PLACES.best([0, 0, 5]) == (None, 0)
    assert PLACES.best([0, 0, 7]) == (9, 1)


def test_a_token_that_the_prompt_lacks_is_no_place() -> None:
    assert PLACES.best([1, 2, 77]) == (None, 0)


def test_tokens_beyond_the_copied_part_are_not_found() -> None:
    assert PromptPlaces(PROMPT, 8).after((2, 7)) is None
    assert PromptPlaces(PROMPT, 8).prompt_length == len(PROMPT)


def test_there_is_no_place_behind_the_last_token() -> None:
    assert PLACES.within(len(PROMPT)) is None
    assert PLACES.within(4) == 4
    assert PLACES.run(len(PROMPT) - 2, 9) == [1, 0]
