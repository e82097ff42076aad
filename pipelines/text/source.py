"""Finds the places of one quote in a text, verified by its letters, numbers, signs and borders.

A place is compared in folded form first (folding.py), then by its borders (edges.py) and its facts
(facts.py). Knows no quotes with omissions and no page furniture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from pipelines.text.edges import ends_whole, same_signs_behind, starts_whole
from pipelines.text.facts import MAX_LIGHT_SHARE, light_differences, read
from pipelines.text.folding import FoldedText
from pipelines.text.negations import is_negated
from pipelines.text.quotation import Quotation, common_marks, written
from pipelines.text.similarity import find_similar

MAX_VERBATIM_CHARACTERS = 16
"""The length up to which the words of a quote are looked for as they are written, too."""
_MAX_PLACES = 300
"""Places that are compared before a quote counts as absent: a bound for short words."""
_MAX_VERBATIM_PLACES = 10_000
_CONTEXT = 16


@dataclass(frozen=True, slots=True)
class Passage:
    """The passage text[start:end], in characters, of a document that a quote was compared with.

    `verified` is True if the passage verifies the quote, and False if it is only similar to it.
    """

    start: int
    end: int
    verified: bool


class Source:
    """A text in which quotes are looked for, with its folded form."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._folded = FoldedText(text)

    def bare(self, start: int, end: int) -> str:
        """Return text[start:end] folded."""
        return self._folded.bare[self._folded.position(start) : self._folded.position(end)]

    def first(self, quote: Quotation, start: int, end: int) -> Passage | None:
        """Return the first passage with the quote's punctuation, else the first with most of it.

        A passage that a word beside it negates says something else than the quote.
        """
        passages = self.places(quote, start, end, MAX_LIGHT_SHARE, verbatim=False)
        if len(quote.words) <= MAX_VERBATIM_CHARACTERS:
            passages = chain(self._verbatim(quote, start, end), passages)
        return next((p for p in passages if not is_negated(self.text, p.start, p.end)), None)

    def places(
        self, quote: Quotation, start: int, end: int, max_share: float, verbatim: bool = True
    ) -> Iterator[Passage]:
        """Yield the passages for a quote.

        `max_share` is the share of punctuation that may differ. The places of a short quote are
        those where it stands exactly as it is written, if there are any (with `verbatim`).
        """
        if verbatim and len(quote.words) <= MAX_VERBATIM_CHARACTERS:
            found = False
            for passage in self._verbatim(quote, start, end):
                found = True
                yield passage
            if found:
                return
        later: list[tuple[int, int]] = []
        for span in self._spans(quote, start, end):
            differences = self._differences(quote, span)
            if differences == 0:
                yield self._passage(quote, span, start, end)
                later.clear()
                max_share = 0.0
            elif differences and differences <= max_share * len(quote.bare):
                later.append(span)
        if later:
            yield self._passage(quote, later[0], start, end)

    def _verbatim(self, quote: Quotation, start: int, end: int) -> Iterator[Passage]:
        """Yield the places of a short quote in the text as it is, without looking at its folds."""
        before, behind = quote.outer_sizes
        position = start
        for _ in range(_MAX_VERBATIM_PLACES):
            position = self.text.find(quote.words, position, end)
            if position < 0:
                return
            span = position + before, position + len(quote.words) - behind
            if self._is_whole(quote, span) and self._differences(quote, span) == 0:
                yield self._passage(quote, span, start, end)
            position += 1

    def _spans(self, quote: Quotation, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the whole words with the same characters that count, without those marks that
        stand before and behind them."""
        folded = self._folded
        position, last = folded.position(start), folded.position(end)
        for _ in range(_MAX_PLACES):
            position = folded.bare.find(quote.bare, position, last)
            if position < 0:
                return
            first = folded.start(position)
            behind = None if first is None else folded.end(position + len(quote.bare))
            span = None if first is None or behind is None else (first, behind)
            if span and self._is_whole(quote, span):
                yield span
            position += 1

    def _is_whole(self, quote: Quotation, span: tuple[int, int]) -> bool:
        """Return whether a passage is no part of longer words; signs behind a word belong to it."""
        if not (starts_whole(self.text, span[0]) and ends_whole(self.text, span[1])):
            return False
        quote_end = len(quote.words) - quote.outer_sizes[1]
        return same_signs_behind(quote.words, quote_end, self.text, span[1])

    def _differences(self, quote: Quotation, span: tuple[int, int]) -> int | None:
        start, end = span
        words, context = self.text[start:end], self.text[max(0, start - _CONTEXT) : start]
        if written(words) == quote.written:
            # only what stands before it can differ
            ours, theirs = read(quote.written[:2], quote.marks[0]), read(quote.written[:2], context)
            return light_differences(ours, theirs)
        passage = read(words, context)
        if len(passage.gaps) != len(quote.reading.gaps):
            return None
        return light_differences(quote.reading, passage)

    def _passage(self, quote: Quotation, span: tuple[int, int], first: int, last: int) -> Passage:
        """Return the passage with those outer marks in text[first:last] that the quote has too."""
        start, end = span
        before, behind = quote.marks
        text_before = self.text[max(first, start - _CONTEXT) : start]
        start -= common_marks(before[::-1], text_before[::-1])
        end += common_marks(behind, self.text[end : min(last, end + _CONTEXT)])
        return Passage(start, end, verified=True)

    def similar(self, folded_quote: str, start: int, end: int) -> Passage | None:
        folded = self._folded
        window = folded.position(start), folded.position(end)
        span = find_similar(folded_quote, folded.bare, *window)
        if span is None:
            return None
        first, last = folded.offset(span[0]), folded.offset(span[1] - 1) + 1
        return Passage(*_widen(self.text, first, last, start, end), verified=False)


def _widen(text: str, start: int, end: int, first: int, last: int) -> tuple[int, int]:
    """Return the span widened to the borders of words, but not over text[first:last]."""
    while start > first and text[start].isalnum() and text[start - 1].isalnum():
        start -= 1
    while end < last and text[end - 1].isalnum() and text[end].isalnum():
        end += 1
    return start, end
