"""Finds the passages of a document that a model's quote reproduces, and verifies the quote by them.

A passage verifies a quote if all letters, digits, signs and units are the same, and if it begins
and ends at the borders of words. Only white space, hyphenation, the shape of punctuation marks, a
small part of the punctuation, and page furniture (headers and footers) in between may differ. If
there is no such passage, a similar one is returned as not verified.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.text.edges import ends_whole, same_signs_behind, starts_whole
from pipelines.text.facts import MAX_LIGHT_SHARE, light_differences, read
from pipelines.text.folding import FoldedText, bare
from pipelines.text.furniture import without_interruptions
from pipelines.text.grams import GramFilter
from pipelines.text.lazy import lazy
from pipelines.text.quotation import Quotation, common_marks, written
from pipelines.text.similarity import find_similar

ELLIPSIS = re.compile(r"[\[(]\s*(?:…|\.\s?\.\s?\.)\s*[\])]|…+|\.{3,}|\. \. \.(?: \.)?")
"""Matches an ellipsis between two parts of a quote."""
_MAX_PLACES = 300
"""Places that are compared before a quote counts as absent: a bound for short words."""
_MAX_VERBATIM_PLACES = 10_000
_MAX_VERBATIM_CHARACTERS = 16
_CONTEXT = 16
# For the many absent values of a list: a filter is as fast to build as some searches are.
_MIN_FILTERED_CHARACTERS = 50_000
_MIN_SEARCHES = 16
_MAX_FILTERS = 4


@dataclass(frozen=True, slots=True)
class Passage:
    """The passage text[start:end], in characters, of a document that a quote was compared with.

    `verified` is True if the passage verifies the quote, and False if it is only similar to it.
    """

    start: int
    end: int
    verified: bool


@dataclass(slots=True)
class _Searches:
    """Counts the searches of a part of the text for words; keeps its filter after some of them."""

    count: int = 0
    grams: GramFilter | None = None


class QuoteFinder:
    """Finds quotes in one document, given as `text`.

    It prepares the text once, when the first quote is looked for, in time linear in its length.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._searches: OrderedDict[tuple[int, int], _Searches] = OrderedDict()

    @lazy
    def _source(self) -> _Source:
        return _Source(self.text)

    @lazy
    def _without_interruptions(self) -> _Source | None:
        """The text without page furniture and tags, None if it has none."""
        text = without_interruptions(self.text)
        return None if text == self.text else _Source(text)

    def find(self, quote: str, start: int = 0, end: int | None = None) -> tuple[Passage, ...]:
        """Return the first passage in text[start:end] that verifies `quote`, else a similar one.

        The result has one passage, or one for each part that was found of a quote with an ellipsis
        ("a ... b"), in order. The passages of such parts are verified only if every part is. Of
        several passages that verify the quote, the first with the same punctuation is preferred. An
        `end` of None is the end of the text.

        Returns () if no passage is similar, and for a quote that proves nothing, such as an article
        or a single letter (see `Quotation.proves_something`).
        """
        end = len(self.text) if end is None else min(end, len(self.text))
        start = max(0, start)
        passage = self._verify(quote, start, end)
        if passage:
            return (passage,)
        parts = [part for part in ELLIPSIS.split(quote) if bare(part)]
        if len(parts) > 1:
            return self._find_parts(parts, start, end)
        passage = (self._verify(parts[0], start, end) if parts and parts[0] != quote else None) or (
            self._approximate(quote, start, end)
        )
        return (passage,) if passage else ()

    def find_all(
        self, words: str, start: int = 0, end: int | None = None, limit: int = 8
    ) -> tuple[Passage, ...]:
        """Return up to `limit` passages in text[start:end] that verify `words`, in text order.

        They do not overlap. The checks are those of `find`, with two differences: all punctuation
        inside `words` must be the same, and `words` may be of any length, also one letter. Page
        furniture is not skipped, and similar passages are not returned. An `end` of None is the end
        of the text.
        """
        end = len(self.text) if end is None else min(end, len(self.text))
        quote = Quotation(words)
        passages: list[Passage] = []
        if not quote.bare or not self._may_contain(quote.bare, max(0, start), end):
            return ()
        for passage in self._source.places(quote, max(0, start), end, max_share=0.0):
            if len(passages) == limit:
                break
            if not passages or passage.start >= passages[-1].end:
                passages.append(passage)
        return tuple(passages)

    def _may_contain(self, folded: str, start: int, end: int) -> bool:
        """Return False if text[start:end] certainly does not contain a folded text."""
        if end - start < _MIN_FILTERED_CHARACTERS:
            return True
        searches = self._searches.pop((start, end), None) or _Searches()
        self._searches[start, end] = searches
        if len(self._searches) > _MAX_FILTERS:
            self._searches.popitem(last=False)
        searches.count += 1
        if searches.count > _MIN_SEARCHES and searches.grams is None:
            searches.grams = GramFilter(self._source.bare(start, end))
        return searches.grams is None or searches.grams.may_contain(folded)

    def _verify(self, words: str, start: int, end: int) -> Passage | None:
        quote = Quotation(words)
        if not quote.proves_something():
            return None
        passage = self._source.first(quote, start, end)
        is_word = len(quote.words) <= _MAX_VERBATIM_CHARACTERS and len(quote.words.split()) == 1
        if passage or is_word or self._without_interruptions is None:
            return passage
        return self._without_interruptions.first(quote, start, end)

    def _approximate(self, words: str, start: int, end: int) -> Passage | None:
        quote = Quotation(words)
        return self._source.similar(quote.bare, start, end) if quote.proves_something() else None

    def _find_parts(self, parts: list[str], start: int, end: int) -> tuple[Passage, ...]:
        passages: list[Passage] = []
        for part in parts:
            passage = self._verify(part, start, end) or self._approximate(part, start, end)
            if passage:
                passages.append(passage)
                start = passage.end
        if len(passages) == len(parts) and all(passage.verified for passage in passages):
            return tuple(passages)
        return tuple(Passage(passage.start, passage.end, False) for passage in passages)


class _Source:
    """A text in which quotes are looked for, with its folded form."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._folded = FoldedText(text)

    def bare(self, start: int, end: int) -> str:
        """Return text[start:end] folded."""
        return self._folded.bare[self._folded.position(start) : self._folded.position(end)]

    def first(self, quote: Quotation, start: int, end: int) -> Passage | None:
        """Return the first passage with the quote's punctuation, else the first with most of it."""
        if len(quote.words) <= _MAX_VERBATIM_CHARACTERS:
            passage = next(self._verbatim(quote, start, end), None)
            if passage:
                return passage
        return next(self.places(quote, start, end, MAX_LIGHT_SHARE, verbatim=False), None)

    def places(
        self, quote: Quotation, start: int, end: int, max_share: float, verbatim: bool = True
    ) -> Iterator[Passage]:
        """Yield the passages for a quote.

        `max_share` is the share of punctuation that may differ. The places of a short quote are
        those where it stands exactly as it is written, if there are any (with `verbatim`).
        """
        if verbatim and len(quote.words) <= _MAX_VERBATIM_CHARACTERS:
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
            position = self._text.find(quote.words, position, end)
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
        if not (starts_whole(self._text, span[0]) and ends_whole(self._text, span[1])):
            return False
        quote_end = len(quote.words) - quote.outer_sizes[1]
        return same_signs_behind(quote.words, quote_end, self._text, span[1])

    def _differences(self, quote: Quotation, span: tuple[int, int]) -> int | None:
        start, end = span
        words, context = self._text[start:end], self._text[max(0, start - _CONTEXT) : start]
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
        text_before = self._text[max(first, start - _CONTEXT) : start]
        start -= common_marks(before[::-1], text_before[::-1])
        end += common_marks(behind, self._text[end : min(last, end + _CONTEXT)])
        return Passage(start, end, verified=True)

    def similar(self, folded_quote: str, start: int, end: int) -> Passage | None:
        folded = self._folded
        window = folded.position(start), folded.position(end)
        span = find_similar(folded_quote, folded.bare, *window)
        if span is None:
            return None
        first, last = folded.offset(span[0]), folded.offset(span[1] - 1) + 1
        return Passage(*_widen(self._text, first, last, start, end), verified=False)


def _widen(text: str, start: int, end: int, first: int, last: int) -> tuple[int, int]:
    """Return the span widened to the borders of words, but not over text[first:last]."""
    while start > first and text[start].isalnum() and text[start - 1].isalnum():
        start -= 1
    while end < last and text[end - 1].isalnum() and text[end].isalnum():
        end += 1
    return start, end
