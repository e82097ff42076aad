"""The tokens of one text in order: where each begins, and the ids of any part of the text.

The text is encoded once, as far as requested; tokens before the current chunk are dropped. This
module does not know where a chunk should end.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import numpy.typing as npt

from pipelines.text.pieces import SHORT_CHARACTERS, PieceEncoder
from pipelines.text.tokens import ChatTokenizer, segments

# Segments of a text that are encoded in one call.
_SEGMENTS_AT_ONCE = 8


class TokenTable:
    """The character offsets at which the tokens of `text` begin, and the tokens' ids.

    Used while cutting a text into chunks: for each chunk `after`, then `ids` and `before`, with
    ascending `start`. If `tokenizer.pieces` is None, segments of the text are tokenized separately,
    so a count may be off by a token or two at their borders.
    """

    def __init__(self, text: str, tokenizer: ChatTokenizer) -> None:
        self._text = text
        self._tokenizer = tokenizer
        self._starts: npt.NDArray[np.int64] = np.empty(0, np.int64)
        pieces = tokenizer.pieces
        self._known = _KnownIds(text, pieces) if pieces else None
        self._more = self._known.read() if self._known else _starts_in_segments(text, tokenizer)

    def after(self, start: int, count: int) -> int:
        """Return the offset `count` tokens after the offset `start`, at most the text's end.

        Encodes the text as far as needed. Forgets the tokens before `start`, so that later calls
        must not ask for less.
        """
        dropped = int(np.searchsorted(self._starts, start))
        self._starts = self._starts[dropped:]
        if self._known:
            self._known.drop(dropped)
        while len(self._starts) <= count and (more := next(self._more, None)) is not None:
            self._starts = np.concatenate([self._starts, more])
        return int(self._starts[count]) if count < len(self._starts) else len(self._text)

    def before(self, end: int, count: int) -> int:
        """Return the offset `count` tokens before the offset `end`; `end` itself if `count` is 0.

        It is not before the first token at or after the `start` of the last call of `after`.
        """
        index = int(np.searchsorted(self._starts, end)) - count
        return end if count == 0 else int(self._starts[max(0, index)])

    def ids(self, start: int, end: int) -> list[int]:
        """Return the token ids of text[start:end], as encoding it alone would give them.

        `start` is the offset passed to the last call of `after`, and `end` is at most the offset
        that it returned.
        """
        known = self._known.ids(start, end, self._starts) if self._known else None
        return self._tokenizer.encode(self._text[start:end]) if known is None else known


class _KnownIds:
    """The token ids of a text, read part by part, from which the ids of its parts are taken."""

    def __init__(self, text: str, pieces: PieceEncoder) -> None:
        self._text = text
        self._pieces = pieces
        self._ids: npt.NDArray[np.int32] = np.empty(0, np.int32)
        # ends of pieces that had to end where two characters may belong to one token
        self._forced: list[int] = []

    def read(self) -> Iterator[npt.NDArray[np.int64]]:
        """Read more of the text, and yield the offsets at which its tokens begin."""
        start = 0
        for end, ids in self._pieces.read(self._text):
            if not self._pieces.is_border(self._text, end):
                self._forced.append(end)
            self._ids = np.concatenate([self._ids, ids])
            yield self._pieces.starts(ids, start)
            start += self._pieces.characters(ids)
            if start != end:
                raise RuntimeError(
                    f"the tokens of the first {end} characters of a text have {start} "
                    "characters: the tokenizer changes texts in an unexpected way; set model.name "
                    "to another model, and report this as a bug of phifleet"
                )

    def drop(self, count: int) -> None:
        """Drop the first `count` tokens."""
        self._ids = self._ids[count:]

    def ids(self, start: int, end: int, starts: npt.NDArray[np.int64]) -> list[int] | None:
        """Return the token ids of text[start:end], or None if they cannot be taken from the text's.

        The tokens of a part before its first border, and those after its last, can differ from the
        text's. `starts` are the offsets at which
        the tokens begin.
        """
        text, pieces = self._text, self._pieces
        if any(start < offset < end for offset in self._forced):
            return None
        first = pieces.first_border(text, start + 1, min(end, start + SHORT_CHARACTERS))
        last = pieces.last_border(text, max(start + 1, end - SHORT_CHARACTERS), end)
        if first is None or last is None:
            return None
        begin, stop = np.searchsorted(starts, (first, last))
        head, tail = pieces.encode_all([text[start:first], text[last:end]])
        return [*head, *self._ids[begin:stop].tolist(), *tail]


def _starts_in_segments(text: str, tokenizer: ChatTokenizer) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the offsets at which the tokens of `text` begin, some segments at a time."""
    spans = segments(text)
    while some := list(islice(spans, _SEGMENTS_AT_ONCE)):
        starts = tokenizer.starts([text[start:end] for start, end in some])
        yield np.concatenate(
            [
                np.asarray(offsets, np.int64) + start
                for offsets, (start, _) in zip(starts, some, strict=True)
            ]
        )
