"""Decides how the part of a document that the model was shown supports one value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from pipelines.documents import Evidence, EvidenceStatus
from pipelines.tasks.computed import is_computed
from pipelines.tasks.schema import JsonSchema
from pipelines.tasks.stated import (
    Statement,
    Words,
    find_statement,
    is_label,
    proves,
    statement_of,
)
from pipelines.text.mentions import Place
from pipelines.text.quotes import Passage
from pipelines.text.search import DocumentSearch

PLACES = 8
"""The largest number of places that are given for a value that is `found`."""

# A search for something similar takes milliseconds, and a list may have a thousand items.
_MAX_SIMILAR_SEARCHES = 32
_MIN_WORDS_OF_SIMILAR = 4


@dataclass(frozen=True, slots=True)
class Quoted:
    """A quote as the model wrote it, and its passages in the document; none if it is absent."""

    words: str
    passages: tuple[Passage, ...]

    @property
    def verified(self) -> Sequence[Passage]:
        """The passages that have the quote's words."""
        return [passage for passage in self.passages if passage.verified]


class Grounds:
    """The part [start, end) of a document, in which quotes and values are looked for."""

    def __init__(self, search: DocumentSearch, start: int, end: int) -> None:
        self._search = search
        self._span = (start, min(end, len(search.text)))
        self._similar_searches = 0

    def quoted(self, words: str) -> Quoted | None:
        """Return a quote with its passages; None if it has no words."""
        # a lone surrogate cannot be encoded as UTF-8, so it could be neither found nor stored
        words = words.strip().encode("utf-8", "replace").decode()
        return Quoted(words, tuple(self._search.finder.find(words, *self._span))) if words else None

    def evidence(
        self, path: str, value: Any, schema: JsonSchema, quoted: Quoted | None
    ) -> list[Evidence]:
        """Return the evidence of one value that is neither null, nor an object, nor a list."""
        if isinstance(value, bool):
            return [self._of_quote_only(path, quoted)]
        statement = statement_of(value, schema, self._search.mentions)
        if quoted and (passage := self.passage_of(statement, quoted)):
            return [self.row(path, EvidenceStatus.SHOWN, passage, quoted.words)]
        if is_label(schema):
            return [Evidence(path, EvidenceStatus.NOT_APPLICABLE)]
        if proves(statement) and (places := self.places(statement, PLACES)):
            return [self.row_of_place(path, EvidenceStatus.FOUND, place) for place in places]
        if self.is_computed(statement, quoted):
            return [Evidence(path, EvidenceStatus.NOT_APPLICABLE)]
        return [self._weak(path, statement, quoted)]

    def passage_of(self, statement: Statement, quoted: Quoted) -> Passage | None:
        """Return the first verified passage of a quote that contains a statement."""
        for passage in quoted.verified:
            if find_statement(
                statement, self._search, self._span, passage.start, passage.end, limit=1
            ):
                return passage
        return None

    def places(self, statement: Statement, limit: int) -> list[Place]:
        """Return up to `limit` places of a statement, in order."""
        return find_statement(statement, self._search, self._span, *self._span, limit)

    def is_computed(self, statement: Statement, quoted: Quoted | None) -> bool:
        """Return whether a statement is a number computed from those of a verified quote."""
        if not isinstance(statement, Decimal) or quoted is None:
            return False
        mentions = self._search.mentions.span(*self._span)
        numbers = [
            values
            for passage in quoted.verified
            for values in mentions.values_in(passage.start, passage.end)
        ]
        return is_computed(statement, numbers)

    def row(self, path: str, status: EvidenceStatus, passage: Passage, quote: str) -> Evidence:
        """Return the evidence of a quote's passage."""
        row = self.row_of_place(path, status, (passage.start, passage.end))
        return row if row.text == quote else replace(row, quote=quote)

    def row_of_place(self, path: str, status: EvidenceStatus, place: Place) -> Evidence:
        """Return the evidence of a place."""
        start, end = place
        text = self._search.text[start:end]
        return Evidence(path, status, text, start, end, page=self._search.page(start))

    def _of_quote_only(self, path: str, quoted: Quoted | None) -> Evidence:
        """Return the evidence of a value that a text states in its own words, such as a boolean."""
        if quoted is None:
            return Evidence(path, EvidenceStatus.NOT_APPLICABLE)
        if quoted.verified:
            return self.row(path, EvidenceStatus.SHOWN, quoted.verified[0], quoted.words)
        if quoted.passages:
            return self.row(path, EvidenceStatus.NEAR, quoted.passages[0], quoted.words)
        return Evidence(path, EvidenceStatus.ABSENT, quote=quoted.words)

    def _weak(self, path: str, statement: Statement, quoted: Quoted | None) -> Evidence:
        """Return where a value may be stated, or that it is absent."""
        if quoted and quoted.passages and not quoted.verified:
            return self.row(path, EvidenceStatus.NEAR, quoted.passages[0], quoted.words)
        if place := self._weak_place(statement):
            return self.row_of_place(path, EvidenceStatus.NEAR, place)
        return Evidence(path, EvidenceStatus.ABSENT, quote=quoted.words if quoted else None)

    def _weak_place(self, statement: Statement) -> Place | None:
        """Return the first place that may state a value: it proves little, or is only similar."""
        # what proves something has been looked for before
        if not proves(statement) and (places := self.places(statement, 1)):
            return places[0]
        if isinstance(statement, Decimal):
            mentions = self._search.mentions.span(*self._span)
            return next(iter(mentions.unclear_numbers(statement)), None)
        if isinstance(statement, Words) and self._may_be_similar(statement):
            self._similar_searches += 1
            similar = self._search.finder.find(statement.text, *self._span)
            return (similar[0].start, similar[0].end) if similar else None
        return None

    def _may_be_similar(self, statement: Words) -> bool:
        """Return whether to look for a passage like a text: it is long, and few were looked for."""
        long = len(statement.text.split()) >= _MIN_WORDS_OF_SIMILAR
        return long and self._similar_searches < _MAX_SIMILAR_SEARCHES
