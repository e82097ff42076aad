"""Cut a text into chunks of so many tokens, at the best edges it has, offsets kept.

Every character is in some chunk, and a chunk begins before the one ahead of it ends: the overlap.
Time grows with the text and memory holds no more of its tokens than a few chunks'. Knows texts and
tokens; nothing of tasks, prompts or engines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from pipelines.documents import Chunk
from pipelines.text.outline import Outline
from pipelines.text.tokens import ChatTokenizer, segments

# How many tokens a piece of text makes depends a little on what stands around it.
_SLACK_TOKENS = 2
MIN_CHUNK_TOKENS = 16
# What is tokenized at a time, on as many threads as the tokenizer takes.
_SEGMENTS_AT_ONCE = 8
# The kinds of edge, best first, each with how full a chunk must be to end at it. The end of a match
# is where the next chunk begins.
_EDGES = (
    (re.compile(r"\n(?=#{1,6} |[^\n]{1,120}\n[=*~\-^#]{3,}[ \t]*\n)"), 0.5),
    (re.compile(r"\n[ \t\r]*\n\s*"), 0.5),
    (re.compile(r"(?:[.!?…][\"'”’»)\]]*\s+|[。！？]\s*)"), 0.7),
    (re.compile(r"\n"), 0.7),
    (re.compile(r"\s+"), 0.0),
)
_WORD = re.compile(r"\s(?=\S)")


@dataclass(frozen=True, slots=True)
class ChunkSize:
    """The most tokens of a chunk, of which so many repeat the end of the chunk before.

    Raises ValueError where the overlap leaves too little of the chunk, or the chunk is too small.
    """

    chunk_tokens: int
    overlap_tokens: int = 0

    def __post_init__(self) -> None:
        if self.chunk_tokens < MIN_CHUNK_TOKENS:
            raise ValueError(f"chunk_tokens is {self.chunk_tokens}, must be {MIN_CHUNK_TOKENS}")
        if not 0 <= self.overlap_tokens <= self.chunk_tokens // 2:
            raise ValueError(f"overlap_tokens is {self.overlap_tokens}, must be at most half")


def cut(text: str, size: ChunkSize, tokens: ChatTokenizer) -> Iterator[Chunk]:
    """The chunks of a text in order, each with its ids: at most `size.chunk_tokens` of them."""
    outline = Outline(text)
    edges = _TokenEdges(text, tokens)
    start = covered = 0
    while covered < len(text):
        end, ids = _next_chunk(text, start, size.chunk_tokens, edges, outline, tokens)
        if end <= covered:  # what is repeated filled the chunk
            start = covered
            continue
        yield Chunk(start, end, tuple(ids), outline.headings_at(start))
        covered = end
        start = _overlapping(text, start, end, size, edges)


def _next_chunk(
    text: str, start: int, most: int, edges: _TokenEdges, outline: Outline, tokens: ChatTokenizer
) -> tuple[int, list[int]]:
    """Where the chunk from `start` ends, and its ids; `most` of them at the most."""
    limit = edges.after(start, most - _SLACK_TOKENS)
    while True:
        end = _best_end(text, start, max(limit, start + 1), outline)
        ids = tokens.encode(text[start:end])
        if len(ids) <= most or end == start + 1:
            return end, ids
        limit = start + (end - start) * most // (len(ids) + _SLACK_TOKENS)


def _best_end(text: str, start: int, limit: int, outline: Outline) -> int:
    """The last edge of the best kind in a full enough chunk, outside of tables and code."""
    if limit == len(text):
        return limit
    if block := outline.fitting_block(limit, start, limit):
        limit = block.start
    for kind, fullness in _EDGES:
        least = start + max(1, int(fullness * (limit - start)))
        ends = [found.end() for found in kind.finditer(text, least - 1, limit)]
        for end in reversed(ends):
            if end >= least and not outline.fitting_block(end, start, limit):
                return end
    return limit


def _overlapping(text: str, start: int, end: int, size: ChunkSize, edges: _TokenEdges) -> int:
    """Where the next chunk begins: before `end`, at a word's edge, and after `start`."""
    earliest = max(start + 1, edges.before(end, size.overlap_tokens))
    if edge := _WORD.search(text, earliest - 1, end):
        return edge.end()
    # the rest of a word and the space after it repeat nothing that could be read
    return end if text[end - 1].isspace() else earliest


class _TokenEdges:
    """Where the tokens of a text begin, in characters, read as far as asked and then forgotten.

    Segments are tokenized on their own, so that counts are a token or two off at their borders.
    """

    def __init__(self, text: str, tokens: ChatTokenizer) -> None:
        self._text = text
        self._tokens = tokens
        self._starts: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._segments = segments(text)
        self._read = 0

    def after(self, start: int, count: int) -> int:
        """The offset `count` tokens after `start`, or the text's end. Forgets what lies before."""
        self._starts = self._starts[np.searchsorted(self._starts, start) :]
        while len(self._starts) <= count and self._read < len(self._text):
            self._read_on()
        return int(self._starts[count]) if count < len(self._starts) else len(self._text)

    def before(self, end: int, count: int) -> int:
        """The offset `count` tokens before `end`, as far as they are remembered."""
        found = int(np.searchsorted(self._starts, end)) - count
        return end if count == 0 else int(self._starts[max(0, found)])

    def _read_on(self) -> None:
        spans = list(islice(self._segments, _SEGMENTS_AT_ONCE))
        found = self._tokens.starts([self._text[start:end] for start, end in spans])
        starts = [
            np.asarray(each, np.int64) + span[0] for each, span in zip(found, spans, strict=True)
        ]
        self._starts = np.concatenate([self._starts, *starts])
        self._read = spans[-1][1]
