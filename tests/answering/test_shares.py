"""Tests of the KV cache tokens that are reserved for a passage and given back."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from fakes import FakeEngine
from hypothesis import given
from hypothesis import strategies as st

from pipelines.answering.answer_lengths import KNOWN_AFTER
from pipelines.answering.shares import Shares
from pipelines.tasks.kinds import Question, Sampling
from pipelines.text.tokens import ChatTokenizer


@pytest.fixture
def engine(tiny_tokenizer: ChatTokenizer) -> FakeEngine:
    return FakeEngine(tiny_tokenizer, block_tokens=1)


def _shares(engine: FakeEngine, shared: int, requests: Sequence[tuple[int, int]]) -> Shares:
    """Return the shares of requests, each given as the tokens of its prompt and its limit."""
    questions = [
        (Question(f"question {number}", (), Sampling(limit)), prompt)
        for number, (prompt, limit) in enumerate(requests)
    ]
    return Shares(engine, shared, questions)


def _learn(engine: FakeEngine, number: int, tokens: int) -> None:
    for _ in range(KNOWN_AFTER):
        engine.answer_lengths.record(f"question {number}", tokens)


def test_the_shared_prefix_is_counted_once(engine: FakeEngine) -> None:
    # 100 shared tokens; questions of 10 and 20 tokens; answers of up to 30 and 40
    shares = _shares(engine, 100, [(110, 30), (120, 40)])
    assert shares.count() == 100 + 10 + 20 + 30 + 40


def test_a_request_is_counted_with_at_least_the_minimum(engine: FakeEngine) -> None:
    engine.min_request_tokens = 64
    shares = _shares(engine, 5, [(6, 1), (7, 1)])
    assert shares.count() == 2 * 64
    assert shares.close(0) == 64
    assert shares.close(1) == 0


def test_a_single_prompt_counts_its_tokens_and_its_answer(engine: FakeEngine) -> None:
    assert _shares(engine, 50, [(60, 8)]).count() == 68


def test_known_answers_count_one_and_a_half_times_their_mean(engine: FakeEngine) -> None:
    shares = _shares(engine, 100, [(110, 30), (120, 400)])
    _learn(engine, 1, 20)
    assert shares.count() == 100 + 10 + 30 + 20 + 30


def test_an_answered_question_gives_back_its_share(engine: FakeEngine) -> None:
    shares = _shares(engine, 100, [(110, 30), (120, 40), (130, 50)])
    shares.count()
    assert shares.close(1) == 100 + 10 + 30 + 30 + 50
    assert shares.close(1) == 100 + 10 + 30 + 30 + 50
    assert shares.close(0) == 100 + 30 + 50


def test_the_shared_prefix_is_kept_until_the_last_question_is_answered(
    engine: FakeEngine,
) -> None:
    shares = _shares(engine, 100, [(110, 30), (120, 40)])
    shares.count()
    assert shares.close(1) > 100
    assert shares.close(0) == 0


def test_what_is_learned_after_the_admission_does_not_change_what_is_given_back(
    engine: FakeEngine,
) -> None:
    shares = _shares(engine, 100, [(110, 30), (120, 400)])
    counted = shares.count()
    _learn(engine, 0, 2)
    _learn(engine, 1, 2)
    assert counted - shares.close(1) == 20 + 400


def test_a_known_answer_counts_whole_blocks(engine: FakeEngine) -> None:
    engine.block_tokens = 16
    # 96 tokens of the prefix are full blocks; the prompt and 30 answer tokens take 10 blocks
    shares = _shares(engine, 100, [(120, 400)])
    _learn(engine, 0, 20)
    assert shares.count() == 100 + 160 - 96


@given(
    st.integers(0, 300),
    st.lists(
        st.tuples(st.integers(1, 80), st.integers(1, 300), st.integers(0, 300)),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 32),
    st.data(),
)
def test_the_count_is_never_more_than_prefix_questions_and_limits_and_shrinks_to_nothing(
    tiny_tokenizer: ChatTokenizer,
    shared: int,
    asked: list[tuple[int, int, int]],
    block: int,
    data: st.DataObject,
) -> None:
    engine = FakeEngine(tiny_tokenizer, block_tokens=block)
    shares = _shares(engine, shared, [(shared + own, limit) for own, limit, _ in asked])
    for number, (_, limit, answer) in enumerate(asked):
        if answer:
            _learn(engine, number, min(limit, answer))
    left = shares.count()
    assert shared < left <= shared + sum(own + limit for own, limit, _ in asked)
    for number in data.draw(st.permutations(range(len(asked)))):
        after = shares.close(number)
        assert after < left
        left = after
    assert left == 0
