"""Tests that the length decides how a document is read, and that prompts fit their pool."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import SpecError
from pipelines.job.spec import LongDocuments
from pipelines.text.chunking import ChunkSize
from pipelines.text.lengths import ModelLengths, PromptShape, ReadingPlan, plan_reading

PHI3 = ModelLengths(131_072, 4096, 16_384, 3072, 16_384)
SHAPE = PromptShape(60, (40, 20), (100, 200))
PART = PromptShape(350, (40, 20), (100, 200))
NOTES = PromptShape(70, (40, 20), (100, 200))


def plan(
    model: ModelLengths = PHI3, part: PromptShape = PART, **long_documents: object
) -> ReadingPlan:
    return plan_reading(LongDocuments.model_validate(long_documents), model, SHAPE, part, NOTES)


@pytest.mark.parametrize(
    ("policy", "short", "middle", "long"),
    [
        ("auto", "single", "single", "map_reduce"),
        ("single", "single", "single", "single"),
        ("map_reduce", "single", "map_reduce", "map_reduce"),
        ("truncate", "single", "single", "truncate"),
        ("reject", "single", "single", None),
    ],
)
def test_the_strategy_follows_policy_and_length(
    policy: str, short: str, middle: str, long: str | None
) -> None:
    reading = plan(strategy=policy)
    assert [reading.strategy(tokens) for tokens in (3000, 16_384, 16_385)] == [short, middle, long]


def test_one_pass_is_limited_by_the_model() -> None:
    reading = plan(strategy="single")
    longest = 131_072 - SHAPE.around
    assert [reading.strategy(tokens) for tokens in (longest, longest + 1)] == ["single", None]
    wide = plan(strategy="auto", single_pass_tokens=200_000)
    assert [wide.strategy(tokens) for tokens in (longest, longest + 1)] == ["single", "map_reduce"]


def test_chunks_leave_space_for_questions_in_the_short_pool() -> None:
    reading = plan()
    assert reading.chunk_size == ChunkSize(3072, 128)
    assert reading.chunk_prompt_limit == 4096
    crowded = plan(part=PromptShape(350, (900,), (900,)))
    assert crowded.chunk_size.chunk_tokens == 4096 - 350 - 1800
    assert crowded.chunk_prompt_limit == 4096


def test_notes_are_no_longer_than_the_model_reads_well() -> None:
    assert plan().combine_prompt_limit == 4096
    near_sighted = ModelLengths(131_072, 4096, 1_400, 1_000, 900)
    assert plan(near_sighted).combine_prompt_limit == NOTES.around + 900
    assert plan(near_sighted, single_pass_tokens=500).combine_prompt_limit == NOTES.around + 900
    # the question and two notes fit nevertheless
    weakest = ModelLengths(131_072, 4096, 100, 100, 100)
    assert plan(weakest).combine_prompt_limit == 70 + 20 + 3 * 200 + 2 * 16


def test_a_prompt_that_combines_answers_has_space_for_two() -> None:
    notes = PromptShape(70, (40,), (1600,))
    reading = plan_reading(LongDocuments(), PHI3, SHAPE, PART, notes)
    assert reading.chunk_prompt_limit >= 70 + 40 + 3 * 1600
    assert reading.chunk_size.chunk_tokens == 3072


def test_chunks_with_questions_that_fill_the_short_pool_go_to_the_long_pool() -> None:
    reading = plan(part=PromptShape(350, (1500,), (1500,)))
    assert reading.chunk_size.chunk_tokens == 3072
    assert reading.chunk_prompt_limit == 350 + 3000 + 3072
    tokens = np.array([100_000])
    assert reading.long_pool(reading.lengths(tokens).longest).tolist() == [True]


def test_questions_that_leave_no_space_are_rejected_with_their_task_and_length() -> None:
    model = ModelLengths(4096, None, 3072, 3072, 3072)
    with pytest.raises(SpecError, match=r"^tasks\.1: .* need 5350 of the 4096 tokens"):
        plan(model, PromptShape(350, (30, 2500), (100, 2500)))
    notes = PromptShape(70, (2500,), (2500,))
    with pytest.raises(SpecError, match=r"^tasks: .* need 5070 of the 4096 tokens"):
        plan_reading(LongDocuments(), model, SHAPE, PART, notes)


def test_a_document_is_long_if_its_longest_prompt_with_answer_is() -> None:
    reading = plan(strategy="single")
    fits = 4096 - SHAPE.around
    longest = reading.lengths(np.array([fits, fits + 1])).longest
    assert longest.tolist() == [4096, 4097]
    assert reading.long_pool(longest).tolist() == [False, True]


def test_a_document_read_in_chunks_belongs_to_the_short_pool() -> None:
    reading = plan()
    longest = reading.lengths(np.array([3000, 10_000, 100_000])).longest
    assert reading.long_pool(longest).tolist() == [False, True, False]


@given(
    st.sampled_from(["auto", "single", "map_reduce", "truncate", "reject"]),
    st.lists(st.integers(0, 2_000_000), min_size=1, max_size=20),
    st.integers(16, 20_000),
)
def test_lengths_of_many_documents_agree_with_the_strategy_of_each(
    policy: str, tokens: list[int], single_pass: int
) -> None:
    reading = plan(strategy=policy, single_pass_tokens=single_pass)
    lengths = reading.lengths(np.array(tokens))
    strategies = [reading.strategy(length) for length in tokens]
    assert reading.too_long(np.array(tokens)).tolist() == [
        strategy is None for strategy in strategies
    ]
    for number, strategy in enumerate(strategies):
        assert (lengths.longest[number] == 0) == (strategy is None)
        assert lengths.longest[number] <= reading.limit
        if strategy in ("single", "truncate"):
            assert lengths.passages[number] == 1
        if strategy == "map_reduce":
            limit = reading.chunk_size.chunk_tokens + reading.chunk_shape.overhead
            assert lengths.longest[number] == reading.chunk_prompt_limit
            assert lengths.shared[number] <= limit
            assert lengths.passages[number] * limit >= tokens[number]


def test_prompt_tokens_count_the_document_once_for_each_task() -> None:
    reading = plan()
    one = reading.lengths(np.array([1000]))
    assert one.prompt_tokens.tolist() == [2 * (1000 + 60) + 60]
    many = reading.lengths(np.array([100_000]))
    assert many.prompt_tokens[0] > 2 * 100_000
    assert many.prompt_tokens[0] < 2.5 * 100_000
