"""Rows are measured exactly, whether a text can be read or not, and stay with their measures."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pipelines.corpus.measurement import MeasuredRows, measure_texts
from pipelines.models.cost import CostModel
from pipelines.models.devices import CPU
from pipelines.models.resolve import Model
from pipelines.text.chunking import ChunkSize
from pipelines.text.lengths import PromptShape, ReadingPlan
from pipelines.text.tokens import ChatTokenizer

SHAPE = PromptShape(10, (5,), (20,))
READING = ReadingPlan("single", 1000, ChunkSize(64), SHAPE, SHAPE, 1000, 200, 200, 200)
TEXTS = ["few words", None, "many words " * 100, "too many words " * 500, "\n", "few words"]


@pytest.fixture
def measured(tiny_model: Model, tiny_tokenizer: ChatTokenizer) -> MeasuredRows:
    raw = pa.chunked_array([[None if text is None else text.encode() for text in TEXTS]])
    table = pa.table({"text": raw, "row": range(len(TEXTS))})
    tokens, problems = measure_texts(raw, tiny_tokenizer, READING)
    return MeasuredRows.of(table, tokens, problems, READING, CostModel(tiny_model, CPU, READING))


def test_tokens_are_counted_and_problems_named(tiny_tokenizer: ChatTokenizer) -> None:
    raw = pa.chunked_array([[b"few words", None], [b"too many words " * 500, b"bad \xff"]])
    tokens, problems = measure_texts(raw, tiny_tokenizer, READING)
    lengths = [len(tiny_tokenizer.encode(text)) for text in ("few words", "too many words " * 500)]
    assert tokens.tolist() == [lengths[0], 0, lengths[1], 0]
    assert problems == [None, "empty", "too_long", "not_text"]


def test_lengths_that_are_known_are_not_counted(tiny_tokenizer: ChatTokenizer) -> None:
    raw = pa.chunked_array([[b"few words", None, b"few words", b"bad \xff", b"few words"]])
    known = np.array([77, 5, -1, 5, 2000])
    tokens, problems = measure_texts(raw, tiny_tokenizer, READING, known)
    assert tokens.tolist() == [77, 0, len(tiny_tokenizer.encode("few words")), 0, 2000]
    assert problems == [None, "empty", None, "not_text", "too_long"]
    assert known.tolist() == [77, 5, -1, 5, 2000]


def test_many_characters_are_counted_as_those_of_each_text(tiny_tokenizer: ChatTokenizer) -> None:
    texts = ["x" * 700_000, "few words", "y" * 700_000, "z" * 700_000]
    raw = pa.chunked_array([[text.encode() for text in texts]])
    tokens, _ = measure_texts(raw, tiny_tokenizer, READING)
    assert tokens.tolist() == [len(tiny_tokenizer.encode(text)) for text in texts]


def test_only_readable_rows_cost_anything(measured: MeasuredRows) -> None:
    readable = [True, False, True, False, False, True]
    for values in (measured.longest, measured.prompt_tokens, measured.seconds):
        assert (values > 0).tolist() == readable
    assert measured.long_pool.tolist() == [False, False, True, False, False, False]


def test_rows_that_are_taken_and_joined_keep_their_measures(measured: MeasuredRows) -> None:
    order = np.array([5, 2, 0])
    joined = MeasuredRows.concat([measured.take(order[:1]), measured.take(order[1:])])
    assert joined.table["row"].to_pylist() == order.tolist()
    for name in ("longest", "prompt_tokens", "seconds", "size_bytes", "long_pool"):
        assert np.array_equal(getattr(joined, name), getattr(measured, name)[order])
