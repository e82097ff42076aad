"""Tests that chunks of any text cover it within their limit and end at good places."""

from __future__ import annotations

import pydoc_data.topics
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.documents import Chunk
from pipelines.text.chunking import ChunkSize, cut
from pipelines.text.tokens import ChatTokenizer

REAL = pydoc_data.topics.topics["specialnames"]
PIECES = st.sampled_from(
    [
        "A sentence of words. ",
        "\n\n",
        "\n",
        "# Heading\n",
        "Title\n=====\n",
        "```\ncode = 1\n```\n",
        "| a | b |\n| 1 | 2 |\n",
        "x" * 70,
        "<|end|>",
        "</s>",
        "日本語の文章。",
        "\U0001f600",
        " ",
        "\r\n",
    ]
)
TEXTS = st.lists(PIECES | st.text(max_size=30), min_size=1, max_size=120).map("".join)
SIZES = st.tuples(st.integers(16, 200), st.integers(0, 60)).map(
    lambda pair: ChunkSize(pair[0], min(pair[1], pair[0] // 2))
)


def _assert_valid(
    text: str, size: ChunkSize, tokenizer: ChatTokenizer, chunks: list[Chunk]
) -> None:
    assert (chunks[0].start, chunks[-1].end) == (0, len(text))
    for before, after in pairwise(chunks):
        assert before.start < after.start <= before.end < after.end
    for chunk in chunks:
        assert chunk.start < chunk.end
        assert len(chunk.token_ids) <= size.chunk_tokens
        assert list(chunk.token_ids) == tokenizer.encode(text[chunk.start : chunk.end])


@given(text=TEXTS.filter(bool), size=SIZES)
def test_chunks_cover_every_character_within_their_budget(
    text: str, size: ChunkSize, tiny_tokenizer: ChatTokenizer
) -> None:
    chunks = list(cut(text, size, tiny_tokenizer))
    _assert_valid(text, size, tiny_tokenizer, chunks)
    assert chunks == list(cut(text, size, tiny_tokenizer))


@pytest.mark.parametrize(
    "text", ["a" * 30_000, "\n" * 9_000, " " * 9_000, "é" * 9_000, "word " * 9]
)
def test_a_text_without_edges_is_cut_anywhere(text: str, tiny_tokenizer: ChatTokenizer) -> None:
    size = ChunkSize(100, 10)
    _assert_valid(text, size, tiny_tokenizer, list(cut(text, size, tiny_tokenizer)))


def test_a_text_that_fits_is_one_chunk(tiny_tokenizer: ChatTokenizer) -> None:
    assert [(c.start, c.end) for c in cut("Short.", ChunkSize(64, 16), tiny_tokenizer)] == [(0, 6)]


def test_chunks_of_real_text_are_well_filled_and_end_at_paragraphs(
    tiny_tokenizer: ChatTokenizer,
) -> None:
    size = ChunkSize(512, 0)
    chunks = list(cut(REAL, size, tiny_tokenizer))
    _assert_valid(REAL, size, tiny_tokenizer, chunks)
    filled = [len(chunk.token_ids) / 512 for chunk in chunks[:-1]]
    assert sum(filled) / len(filled) > 0.7
    ends = [REAL[: chunk.end].rstrip(" ") for chunk in chunks[:-1]]
    assert sum(end.endswith("\n\n") for end in ends) > len(ends) / 2


def test_each_chunk_repeats_the_end_of_the_one_before(tiny_tokenizer: ChatTokenizer) -> None:
    chunks = list(cut(REAL, ChunkSize(256, 32), tiny_tokenizer))
    repeated = [
        len(tiny_tokenizer.encode(REAL[after.start : before.end]))
        for before, after in pairwise(chunks)
    ]
    assert min(repeated) > 0 and max(repeated) <= 36


@pytest.mark.parametrize("block", ["```\n" + "x = 1\n" * 20 + "```\n", "| a | b |\n" * 15])
def test_a_block_that_fits_is_not_cut(block: str, tiny_tokenizer: ChatTokenizer) -> None:
    text = "Some words before it. " * 14 + "\n\n" + block + "\n\n" + "And words after it. " * 40
    start = text.index(block)
    chunks = list(cut(text, ChunkSize(200, 0), tiny_tokenizer))
    assert any(c.start <= start and start + len(block.rstrip()) <= c.end for c in chunks)


def test_a_chunk_knows_the_titles_above_it(tiny_tokenizer: ChatTokenizer) -> None:
    text = "# Book\n\n" + "Words. " * 90 + "\n## Part\n\n" + "More words. " * 90
    chunks = list(cut(text, ChunkSize(64), tiny_tokenizer))
    assert chunks[1].headings == ("Book",)
    assert chunks[-1].headings == ("Book", "Part")


def test_invalid_sizes_are_rejected() -> None:
    with pytest.raises(ValueError, match="chunk_tokens: got 4"):
        ChunkSize(4)
    with pytest.raises(ValueError, match="overlap_tokens: got 40"):
        ChunkSize(64, 40)
