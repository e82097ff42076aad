"""Finds the passages of a document that a model's quote reproduces, and verifies the quote by them.

A passage verifies a quote if all letters, digits, signs and units are the same, and if it begins
and ends at the borders of words. Only white space, hyphenation, the shape of punctuation marks, a
small part of the punctuation, and page furniture (headers and footers) in between may differ. If
there is no such passage, a similar one is returned as not verified.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass, replace
from itertools import pairwise

from pipelines.text.folding import bare
from pipelines.text.furniture import without_interruptions
from pipelines.text.grams import GramFilter
from pipelines.text.lazy import lazy
from pipelines.text.omissions import sentence_start, turns_meaning
from pipelines.text.quotation import Quotation
from pipelines.text.source import MAX_VERBATIM_CHARACTERS, Passage, Source

ELLIPSIS = re.compile(r"[\[(]\s*(?:…|\.\s?\.\s?\.)\s*[\])]|…+|\.{3,}|\. \. \.(?: \.)?")
"""Matches an ellipsis between two parts of a quote."""
# Places of a part that are compared with the sentence of the next one.
_MAX_PARTS = 16
_MAX_TRIES = 8
# For the many absent values of a list: a filter is as fast to build as some searches are.
_MIN_FILTERED_CHARACTERS = 50_000
_MIN_SEARCHES = 16
_MAX_FILTERS = 4


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
    def _source(self) -> Source:
        return Source(self.text)

    @lazy
    def _without_interruptions(self) -> Source | None:
        """The text without page furniture and tags, None if it has none."""
        text = without_interruptions(self.text)
        return None if text == self.text else Source(text)

    def find(self, quote: str, start: int = 0, end: int | None = None) -> tuple[Passage, ...]:
        """Return the first passage in text[start:end] that verifies `quote`, else a similar one.

        The result has one passage, or one for each part that was found of a quote with an ellipsis
        ("a ... b"), in order. The passages of such parts are verified only if every part is, and
        if the words left out between them do not turn the meaning (see omissions.py). Of several
        passages that verify the quote, the first with the same punctuation is preferred. An `end`
        of None is the end of the text.

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
        is_word = len(quote.words) <= MAX_VERBATIM_CHARACTERS and len(quote.words.split()) == 1
        if passage or is_word or self._without_interruptions is None:
            return passage
        return self._without_interruptions.first(quote, start, end)

    def _approximate(self, words: str, start: int, end: int) -> Passage | None:
        quote = Quotation(words)
        return self._source.similar(quote.bare, start, end) if quote.proves_something() else None

    def _find_parts(self, parts: list[str], start: int, end: int) -> tuple[Passage, ...]:
        first: list[Passage] = []
        for _ in range(_MAX_TRIES):
            passages = self._parts_from(parts, start, end)
            if len(passages) < len(parts) or not all(passage.verified for passage in passages):
                break
            start = passages[0].end
            passages = self._drawn_together(parts, passages)
            if not self._is_turned(passages):
                return tuple(passages)
            first = first or passages
        return tuple(replace(passage, verified=False) for passage in first or passages)

    def _parts_from(self, parts: list[str], start: int, end: int) -> list[Passage]:
        """Return the first passages of the parts in order, each behind the one before it."""
        passages: list[Passage] = []
        for part in parts:
            passage = self._verify(part, start, end) or self._approximate(part, start, end)
            if passage:
                passages.append(passage)
                start = passage.end
        return passages

    def _drawn_together(self, parts: list[str], passages: list[Passage]) -> list[Passage]:
        """Return the passages with each moved to its last place in the sentence of the next one.

        It is there that a reader looks for what the quote leaves out.
        """
        drawn = passages[-1:]
        for part, passage in zip(parts[-2::-1], passages[-2::-1], strict=True):
            limit = drawn[0].start
            place = max(passage.end, sentence_start(self._uninterrupted, limit))
            for _ in range(_MAX_PARTS):
                later = self._verify(part, place, limit)
                if later is None:
                    break
                passage, place = later, later.end
            drawn.insert(0, passage)
        return drawn

    def _is_turned(self, passages: list[Passage]) -> bool:
        """Return whether what a quote leaves out within a sentence can turn its meaning."""
        spans = [(passage.start, passage.end) for passage in passages]
        return any(turns_meaning(self._uninterrupted, *pair) for pair in pairwise(spans))

    @property
    def _uninterrupted(self) -> str:
        source = self._without_interruptions
        return self.text if source is None else source.text
