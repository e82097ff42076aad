"""Anchors: a quote shortened to the first and last words of its passage, "first ... last".

They cost a fraction of the tokens of the whole quote. phifleet finds the passage that begins and
ends with these words, word by word as those of a quote, and reads the value in it. Knows no schema
and no engine.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.text.quotation import Quotation
from pipelines.text.quotes import ELLIPSIS
from pipelines.text.search import DocumentSearch
from pipelines.text.source import Passage

MAX_PASSAGE_CHARACTERS = 1_200
"""The maximum length of a passage between anchors: a paragraph rather than a page."""
MAX_PASSAGES = 8
"""The maximum number of passages between the same anchors that are returned."""
# Words of each anchor that a question asks for.
_ANCHOR_WORDS = 2
# First words that occur more often do not tell where the passage is.
_MAX_PLACES = 64
# Last words that may overlap with the first ones, before those that end the passage.
_MAX_ENDS = 4


def anchors_of(passage: str) -> str:
    """Return the anchors of a passage: its first two and last two words with an ellipsis between.

    A passage of no more than four words is returned whole.
    """
    words = passage.split()
    if len(words) <= 2 * _ANCHOR_WORDS:
        return passage
    return f"{' '.join(words[:_ANCHOR_WORDS])} ... {' '.join(words[-_ANCHOR_WORDS:])}"


def anchored_passages(
    words: str, search: DocumentSearch, start: int, end: int
) -> tuple[Passage, ...]:
    """Return the passages of text[start:end] that begin and end with a quote's anchors.

    All are verified: the document has the words of both anchors, and at most 1,200 characters from
    the first to the last. The shortest passage with each end comes first. Returns () if `words` is
    not two parts with an ellipsis between them, or if the two prove nothing.
    """
    anchors = [part for part in map(str.strip, ELLIPSIS.split(words)) if part]
    if len(anchors) != 2 or not Quotation(" ".join(anchors)).proves_something():
        return ()
    first, last = anchors
    spans = sorted(_spans(first, last, search, start, end), key=lambda span: (span[1], -span[0]))
    return tuple(Passage(*span, verified=True) for span in spans[:MAX_PASSAGES])


def _spans(
    first: str, last: str, search: DocumentSearch, start: int, end: int
) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each passage: from first words to the next last words."""
    for begin in search.finder.find_all(first, start, end, _MAX_PLACES):
        limit = min(end, begin.start + MAX_PASSAGE_CHARACTERS)
        ends = search.finder.find_all(last, begin.start, limit, _MAX_ENDS)
        close = next((passage.end for passage in ends if passage.end >= begin.end), None)
        if close is not None:
            yield begin.start, close
