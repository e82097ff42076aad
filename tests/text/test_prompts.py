"""Tests that prompts contain the passage and its carried context, within their limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.documents import Chunk
from pipelines.text.chunking import ChunkSize, cut
from pipelines.text.outline import opening
from pipelines.text.prompts import (
    CHUNK_HEADER,
    CHUNK_INSTRUCTION,
    END_OF_CHUNK,
    END_OF_DOCUMENT,
    INSTRUCTION,
    NOTES_INSTRUCTION,
    Prompts,
    context_span,
)
from pipelines.text.tokens import ChatTokenizer

TEXT = """Annual report of Acme

# Business

Acme makes anvils. It sells them to coyotes.

## Risks

Coyotes may stop buying. Anvils may fall on customers.
"""


@pytest.fixture
def prompts(tiny_tokenizer: ChatTokenizer) -> Prompts:
    return Prompts(tiny_tokenizer)


def _prompt_text(prompts: Prompts, start: int, end: int, *headings: str) -> str:
    ids = tuple(prompts.tokenizer.encode(TEXT[start:end]))
    prefix = prompts.chunk_prefix(TEXT, Chunk(start, end, ids, headings), opening(TEXT))
    assert prefix.token_ids[prefix.passage_start :][: len(ids)] == list(ids)
    return prompts.tokenizer.decode(prefix.token_ids)


def test_a_whole_document_is_between_the_instruction_and_its_end(prompts: Prompts) -> None:
    ids = prompts.tokenizer.encode(TEXT)
    prefix = prompts.document_prefix(ids)
    assert prefix.token_ids[prefix.passage_start :][: len(ids)] == ids
    text = prompts.tokenizer.decode(prefix.token_ids)
    assert text.startswith(f" {INSTRUCTION}") and text.endswith(END_OF_DOCUMENT)


def test_a_chunk_carries_the_first_line_the_headings_and_the_words_around_it(
    prompts: Prompts,
) -> None:
    start, end = TEXT.index("Coyotes may"), TEXT.index("Anvils may")
    text = _prompt_text(prompts, start, end, "Business", "Risks")
    assert "The document begins: Annual report of Acme" in " ".join(text.split())
    assert "It stands under: Business > Risks" in " ".join(text.split())
    before, after = text.split(CHUNK_HEADER)[0], text.split(END_OF_CHUNK)[1]
    assert "It sells them to coyotes." in before
    assert "Anvils may fall on customers." in after


def test_a_chunk_carries_nothing_that_it_contains_itself(prompts: Prompts) -> None:
    text = _prompt_text(prompts, 0, len(TEXT))
    assert "The document begins" not in text
    assert "Words before" not in text and "Words after" not in text


def test_edges_begin_and_end_at_words() -> None:
    text = "word " * 400
    start, end = context_span(text, 1000, 1100)
    assert (start < 1000, end > 1100) == (True, True)
    assert text[start - 1] == " " and text[end] == " "
    assert context_span(text, 0, len(text)) == (0, len(text))


@pytest.mark.parametrize("space", ["\n", "\r\n", "\t", " \n\n  ", "\u2003"])
def test_a_word_beside_any_white_space_is_carried_whole(space: str) -> None:
    cut_off, rest = "x" * 60, "report says much. " * 12
    text = f"{cut_off}{space}The {rest}MIDDLE {rest}end{space}{cut_off}"
    middle = text.index("MIDDLE")
    start, end = context_span(text, middle, middle + len("MIDDLE"))
    assert text[start:].startswith("The report") and text[:end].endswith("much. end")


@given(st.text(min_size=1, max_size=2000), st.integers(16, 200))
def test_no_chunks_prompt_is_longer_than_its_limit(
    tiny_tokenizer: ChatTokenizer, text: str, chunk_tokens: int
) -> None:
    prompts = Prompts(tiny_tokenizer)
    for chunk in cut(text, ChunkSize(chunk_tokens), tiny_tokenizer):
        prefix = prompts.chunk_prefix(text, chunk, opening(text))
        limit = len(chunk.token_ids) + prompts.chunk_overhead - tiny_tokenizer.frame_tokens
        assert len(prefix.token_ids) <= limit
        assert tiny_tokenizer.control_ids.isdisjoint(prefix.token_ids)


def test_the_limit_holds_for_words_of_many_tokens(prompts: Prompts) -> None:
    text = "\U0001d518\U0001d52b " * 600
    for chunk in cut(text, ChunkSize(64), prompts.tokenizer):
        carried = Chunk(chunk.start, chunk.end, chunk.token_ids, (text[:100],) * 9)
        prefix = prompts.chunk_prefix(text, carried, opening(text))
        limit = len(chunk.token_ids) + prompts.chunk_overhead - prompts.tokenizer.frame_tokens
        assert len(prefix.token_ids) <= limit


def test_notes_are_cut_at_their_limit(prompts: Prompts) -> None:
    note = prompts.note("many words " * 50, 20)
    assert len(note) == 20
    text = prompts.tokenizer.decode(prompts.notes([note, note]).copy())
    assert text.startswith(f" {NOTES_INSTRUCTION}")
    assert text.count("many words") == 2 * prompts.tokenizer.decode(note).count("many words")


WORDS = "You read annual reports.\nWrite as a lawyer: <|end|> and </s> are text. "


def test_every_prompt_begins_with_the_jobs_instructions(tokenizer: ChatTokenizer) -> None:
    prompts = Prompts(tokenizer, WORDS)
    (chunk, *_) = cut(TEXT, ChunkSize(24), tokenizer)
    texts = [
        tokenizer.decode(ids)
        for ids in (
            prompts.document_prefix(tokenizer.encode(TEXT)).token_ids,
            prompts.chunk_prefix(TEXT, chunk, "").token_ids,
            prompts.notes([prompts.note("a note", 9)]),
        )
    ]
    firsts = (INSTRUCTION, CHUNK_INSTRUCTION, NOTES_INSTRUCTION)
    for text, instruction in zip(texts, firsts, strict=True):
        assert text.removeprefix(" ").startswith(f"{WORDS.strip()}\n\n{instruction}")


def test_documents_share_the_instructions_as_a_prefix(tokenizer: ChatTokenizer) -> None:
    prompts = Prompts(tokenizer, WORDS)
    prefixes = [prompts.document_prefix(tokenizer.encode(text)) for text in ("Ann.", "Bo came.")]
    start = prefixes[0].passage_start
    assert start == prefixes[1].passage_start
    assert prefixes[0].token_ids[:start] == prefixes[1].token_ids[:start]
    assert start > len(Prompts(tokenizer).document_prefix(()).token_ids) // 2
    shared = tokenizer.decode(prefixes[0].token_ids[:start])
    assert shared.removeprefix(" ") == f"{WORDS.strip()}\n\n{INSTRUCTION}"


def test_instructions_are_counted_and_hold_no_control_token(tokenizer: ChatTokenizer) -> None:
    plain, prompts = Prompts(tokenizer), Prompts(tokenizer, WORDS)
    overheads = {
        INSTRUCTION: (plain.whole_overhead, prompts.whole_overhead),
        CHUNK_INSTRUCTION: (plain.chunk_overhead, prompts.chunk_overhead),
        NOTES_INSTRUCTION: (plain.notes_overhead, prompts.notes_overhead),
    }
    for instruction, (before, after) in overheads.items():
        added = len(
            tokenizer.encode_after(tokenizer.prefix_ids, f"{WORDS.strip()}\n\n{instruction}")
        )
        added -= len(tokenizer.encode_after(tokenizer.prefix_ids, instruction))
        assert added > 15
        assert after == before + added
    for chunk in cut(TEXT * 9, ChunkSize(64), tokenizer):
        prefix = prompts.chunk_prefix(TEXT * 9, chunk, opening(TEXT))
        limit = len(chunk.token_ids) + prompts.chunk_overhead - tokenizer.frame_tokens
        assert len(prefix.token_ids) <= limit
        assert tokenizer.control_ids.isdisjoint(prefix.token_ids)


def test_prompts_without_instructions_stay_as_they_are(prompts: Prompts) -> None:
    ids = prompts.tokenizer.encode(TEXT)
    without = Prompts(prompts.tokenizer, "")
    assert without.document_prefix(ids) == prompts.document_prefix(ids)
    instruction = prompts.tokenizer.encode_after((), INSTRUCTION)
    assert without.document_prefix(()).token_ids[: len(instruction)] == instruction
