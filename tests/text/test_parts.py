"""Tests that parts tile a text, and that a part fits a prompt with what is written about it."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import SpecError
from pipelines.text.parts import (
    PartQuestion,
    PartsPlan,
    cut_parts,
    part_overhead,
    part_prefix,
    plan_parts,
)
from pipelines.text.prompts import CHUNK_HEADER, END_OF_CHUNK, Prompts
from pipelines.text.tokens import ChatTokenizer

TRANSLATE = PartQuestion("tasks.a", 30, None)
NOTE = PartQuestion("tasks.b", 20, 128)
PROSE = "The ship came in spring. It carried grain, and it rained.\n\n"
SCRIPTS = (
    PROSE,
    "船在春天来了。船上有粮食。",
    "1234567890abcdef",
    "word\n",
    "ภาษาไทยไม่มีช่องว่าง",
    "👩‍👩‍👧 ",
)


def plan(*questions: PartQuestion, **limits: int) -> PartsPlan:
    lengths = {"longest_part": 3072, "short_len": 4096, "max_model_len": 131_072, **limits}
    return plan_parts(100, questions or (TRANSLATE,), **lengths)


def of_length(part_tokens: int) -> PartsPlan:
    return PartsPlan(part_tokens, 4096, 4096, 100, (TRANSLATE,))


@given(
    st.lists(st.sampled_from((*SCRIPTS, " ", "\n\n\n", "\x0c", "x")), min_size=1, max_size=40),
    st.integers(16, 60),
)
def test_every_character_that_is_not_blank_is_in_exactly_one_part(
    tiny_tokenizer: ChatTokenizer, pieces: list[str], part_tokens: int
) -> None:
    text = "".join(pieces)
    parts = list(cut_parts(text, of_length(part_tokens), tiny_tokenizer))
    assert parts
    covered = 0
    for part in parts:
        assert part.start >= covered and not text[covered : part.start].strip()
        assert len(part.token_ids) <= part_tokens
        covered = part.end
    assert not text[covered:].strip()


def test_parts_of_prose_end_at_sentences(tiny_tokenizer: ChatTokenizer) -> None:
    text = PROSE * 40
    parts = list(cut_parts(text, of_length(100), tiny_tokenizer))
    assert len(parts) > 5
    assert "".join(text[part.start : part.end] for part in parts) == text
    assert all(text[part.start : part.end].rstrip().endswith(".") for part in parts)


def test_a_part_of_only_white_space_is_left_out(tiny_tokenizer: ChatTokenizer) -> None:
    text = f"First.\n{' ' * 4000}\nLast."
    parts = list(cut_parts(text, of_length(20), tiny_tokenizer))
    shown = [text[part.start : part.end].strip() for part in parts]
    assert "" not in shown
    assert " ".join(shown) == "First. Last."


def test_a_blank_text_has_one_part(tiny_tokenizer: ChatTokenizer) -> None:
    assert len(list(cut_parts(" " * 4000, of_length(20), tiny_tokenizer))) == 1


def test_a_part_is_shown_without_the_words_around_it(tiny_tokenizer: ChatTokenizer) -> None:
    text = "# Title\n\nBefore it.\n\n## Section\n\nThe part.\n\nAfter it."
    prompts = Prompts(tiny_tokenizer)
    parts = list(cut_parts(text, of_length(16), tiny_tokenizer))
    part = next(part for part in parts if "The part." in text[part.start : part.end])
    prefix = part_prefix(prompts, text, part)
    shown = tiny_tokenizer.decode(prefix.token_ids)
    assert shown.partition(CHUNK_HEADER)[2].partition(END_OF_CHUNK)[0].strip() == (
        text[part.start : part.end].strip()
    )
    for word in ("Title", "Before", "After"):
        assert (word in shown) == (word in text[part.start : part.end])
    own = prefix.token_ids[prefix.passage_start : prefix.passage_start + len(part.token_ids)]
    assert tuple(own) == part.token_ids
    around = len(prefix.token_ids) - len(part.token_ids) + tiny_tokenizer.frame_tokens
    assert around == part_overhead(prompts)


def test_a_part_leaves_room_for_three_times_its_length() -> None:
    parts = plan()
    assert parts.part_tokens == (4096 - 100 - 30 - 32) // 4
    assert parts.prompt_limit == 4096


def test_a_part_is_as_long_as_a_chunk_if_answers_are_short() -> None:
    assert plan(NOTE).part_tokens == 3072
    assert plan(NOTE, TRANSLATE).part_tokens == plan(TRANSLATE).part_tokens


def test_long_answers_of_fixed_length_make_parts_shorter_and_then_prompts_longer() -> None:
    assert plan(PartQuestion("tasks.a", 30, 3000)).part_tokens == 4096 - 100 - 30 - 3000
    long = plan(PartQuestion("tasks.a", 30, 3900))
    assert (long.part_tokens, long.prompt_limit) == (3072, 100 + 30 + 3900 + 3072)


def test_a_question_that_leaves_no_room_is_refused_with_its_path() -> None:
    with pytest.raises(SpecError, match=r"tasks\.b: the prompt of 20 tokens, its answer and .* 16"):
        plan(TRANSLATE, PartQuestion("tasks.b", 20, 5000), max_model_len=4096)
    with pytest.raises(SpecError, match=r"tasks\.a: the prompt of 4000 tokens"):
        plan(PartQuestion("tasks.a", 4000, None))


def test_an_endpoints_limit_of_answers_makes_parts_shorter() -> None:
    assert plan(max_answer_tokens=1032).part_tokens == 500
    assert plan(NOTE, max_answer_tokens=200).part_tokens == 3072


def test_a_prompt_that_combines_texts_about_parts_can_be_the_longest() -> None:
    assert plan(NOTE).longest == 4096
    assert plan(NOTE, combining=5000).longest == 5000


def test_the_answers_about_a_text_are_bounded_by_its_length() -> None:
    parts = plan(NOTE)
    assert parts.max_answer_tokens(3072 * 2 + 1) == 3 * 128
    assert plan().max_answer_tokens(1000) == 2 * 1000 + 32 * 2
    both = plan(NOTE, TRANSLATE)
    assert both.max_answer_tokens(100) == 128 + 2 * 100 + 32


@pytest.mark.parametrize("seed", range(5))
def test_the_estimated_number_of_parts_is_near_the_real_one(
    seed: int, tiny_tokenizer: ChatTokenizer
) -> None:
    dice = random.Random(seed)  # noqa: S311  # seeded on purpose
    text = "".join(dice.choice(re.split(r"(?<=\. )", PROSE)) for _ in range(400))
    (tokens,) = tiny_tokenizer.count_all([text])
    parts = of_length(200)
    real = len(list(cut_parts(text, parts, tiny_tokenizer)))
    (estimated,) = parts.count(np.array([tokens]))
    assert 0.7 * real <= estimated <= real
