"""Splits a text into overlapping chunks of limited token count, at headings, paragraphs or words.

Every character is in at least one chunk, and a chunk begins where or before the previous one ends.
Time is linear in the text's length, and only a few chunks' tokens are in memory at once. This
module does not know tasks, prompts or engines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.documents import Chunk
from pipelines.text.characters import (
    IN_LINE,
    LINE_BREAK,
    SENTENCE_END,
    character_end,
    character_start,
    is_unspaced,
    pause_after,
    pause_before,
)
from pipelines.text.outline import Outline
from pipelines.text.token_table import TokenTable
from pipelines.text.tokens import ChatTokenizer

# The number of tokens of a piece of text depends a little on the text around it.
_SLACK_TOKENS = 2
MIN_CHUNK_TOKENS = 16
"""Minimum of `ChunkSize.chunk_tokens`."""
# Where a chunk may end, best first: at the end of a match of the pattern, if the chunk is filled at
# least by the fraction. In order: before a heading, after a paragraph, sentence, line, word.
_EDGES = (
    (
        re.compile(
            rf"{LINE_BREAK}(?=#{{1,6}} |{IN_LINE}{{1,120}}{LINE_BREAK}"
            rf"[=*~\-^#]{{3,}}[ \t]*{LINE_BREAK})"
        ),
        0.5,
    ),
    (re.compile(rf"{LINE_BREAK}[ \t]*{LINE_BREAK}\s*"), 0.5),
    (re.compile(SENTENCE_END), 0.7),
    (re.compile(LINE_BREAK), 0.7),
)
_BLANKS = re.compile(r"\s+")
_WORD = re.compile(r"\s(?=\S)")
# In a script without blanks between words, the part of a chunk, or of an overlap, that is given up
# to cut it at a pause rather than between two characters.
_PAUSE_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class ChunkSize:
    """The maximum length of a chunk and of its overlap with the previous chunk, in tokens.

    Raises ValueError if `chunk_tokens` is less than MIN_CHUNK_TOKENS, or if `overlap_tokens` is
    negative or more than half of `chunk_tokens`.
    """

    chunk_tokens: int
    overlap_tokens: int = 0

    def __post_init__(self) -> None:
        if self.chunk_tokens < MIN_CHUNK_TOKENS:
            raise ValueError(
                f"chunk_tokens: got {self.chunk_tokens}, must be at least {MIN_CHUNK_TOKENS}; use "
                "longer chunks"
            )
        if not 0 <= self.overlap_tokens <= self.chunk_tokens // 2:
            raise ValueError(
                f"overlap_tokens: got {self.overlap_tokens}, must be from 0 to half of "
                f"chunk_tokens, which is {self.chunk_tokens}; lower it, or use longer chunks"
            )


def cut(text: str, size: ChunkSize, tokenizer: ChatTokenizer) -> Iterator[Chunk]:
    """Yield the chunks of `text` in order, each with at most `size.chunk_tokens` token ids.

    Together they cover the text. Except for the first, a chunk begins at a word within about the
    last `size.overlap_tokens` tokens of the chunk before it, or where that ends. An empty text has
    no chunks.
    """
    outline = Outline(text)
    edges = TokenTable(text, tokenizer)
    start = covered = 0
    while covered < len(text):
        end, ids = _next_chunk(text, start, size.chunk_tokens, edges, outline)
        if end <= covered:  # the overlap alone fills the chunk
            start = covered
            continue
        yield Chunk(start, end, tuple(ids), outline.headings_at(start))
        covered = end
        start = _overlapping(text, start, end, size, edges)


def _next_chunk(
    text: str,
    start: int,
    max_tokens: int,
    edges: TokenTable,
    outline: Outline,
) -> tuple[int, list[int]]:
    """Return the end of the chunk that begins at `start`, and its at most `max_tokens` ids."""
    limit = edges.after(start, max_tokens - _SLACK_TOKENS)
    while True:
        end = _best_end(text, start, max(limit, start + 1), outline)
        ids = edges.ids(start, end)
        if len(ids) <= max_tokens or end == start + 1:
            return end, ids
        limit = start + (end - start) * max_tokens // (len(ids) + _SLACK_TOKENS)


def _best_end(text: str, start: int, limit: int, outline: Outline) -> int:
    """Return the best end of a chunk text[start:end] with `end` at most `limit`.

    That is the last match of the first pattern that fills the chunk enough, outside of tables and
    code blocks; `limit` if there is none.
    """
    if limit == len(text):
        return limit
    if block := outline.fitting_block(limit, start, limit):
        limit = block.start
    for pattern, fullness in _EDGES:
        end = _last_end(pattern, text, start, limit, fullness, outline)
        if end is not None:
            return end
    return _word_end(text, start, limit, outline)


def _last_end(
    pattern: re.Pattern[str], text: str, start: int, limit: int, fullness: float, outline: Outline
) -> int | None:
    earliest = start + max(1, int(fullness * (limit - start)))
    ends = [match.end() for match in pattern.finditer(text, earliest - 1, limit)]
    for end in reversed(ends):
        if end >= earliest and not outline.fitting_block(end, start, limit):
            return end
    return None


def _word_end(text: str, start: int, limit: int, outline: Outline) -> int:
    """Return the end of the last word before `limit`, or of the last character."""
    if is_unspaced(text, limit):
        earliest = limit - int(_PAUSE_SHARE * (limit - start))
        pause = pause_before(text, earliest, limit)
        if pause is not None and pause > start:
            return pause
    elif (end := _last_end(_BLANKS, text, start, limit, 0.0, outline)) is not None:
        return end
    end = character_start(text, limit)
    return end if end > start else limit


def _overlapping(text: str, start: int, end: int, size: ChunkSize, edges: TokenTable) -> int:
    """Return the start of the chunk after text[start:end]: at a word, after `start`."""
    earliest = max(start + 1, edges.before(end, size.overlap_tokens))
    if is_unspaced(text, earliest):
        pause = pause_after(text, earliest, earliest + int(_PAUSE_SHARE * (end - earliest)))
        return min(end, character_end(text, earliest) if pause is None else pause)
    if edge := _WORD.search(text, earliest - 1, end):
        return edge.end()
    # an overlap of the end of one word and the white space after it would be of no use
    return end if text[end - 1].isspace() else min(end, character_end(text, earliest))
