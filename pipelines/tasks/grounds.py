"""Decides how the part of a document that the model was shown supports one value of its answer.

The statement of a value is what it says, read as a date, number, duration or words (`stated.py`). A
place is the start and end, in characters, of words in the document that state the same.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import chain
from typing import Any

from pipelines.documents import Evidence, EvidenceStatus
from pipelines.tasks.anchors import anchored_passages
from pipelines.tasks.computed import is_computed
from pipelines.tasks.meanings import Statement, Words
from pipelines.tasks.occurrences import Turn, own_places, possible_places
from pipelines.tasks.schema import JsonSchema
from pipelines.tasks.stated import find_statement, is_label, key_of, proves, statement_of
from pipelines.text.mentions import Place
from pipelines.text.search import DocumentSearch
from pipelines.text.source import Passage

PLACES = 8
"""The maximum number of places that the evidence of one value has with the status FOUND."""

# A search for something similar takes milliseconds, and a list may have a thousand items.
_MAX_SIMILAR_SEARCHES = 32
_MIN_WORDS_OF_SIMILAR = 4
# Places in the words around a chunk, in which a frequent value stands more often than in any list.
_MAX_OUTSIDE = 64


@dataclass(frozen=True, slots=True)
class Quoted:
    """A quote in the model's answer, and where the document has it.

    Attributes:
        words: the quote as the model wrote it, without white space around it.
        passages: the passages of the document with these or similar words, in order; empty if there
            are none.
    """

    words: str
    passages: tuple[Passage, ...]

    @property
    def verified(self) -> Sequence[Passage]:
        """Return the passages that contain the quote's own words, not only similar ones."""
        return [passage for passage in self.passages if passage.verified]


class Grounds:
    """Looks for evidence in the part text[start:end] of a document that the model was shown.

    The model was asked about the chunk text[own[0]:own[1]] within it, or about all of it if `own`
    is None. Values are looked for in the chunk first, and then in the words around it. `search`
    finds quotes and values in the document; all offsets are in characters. With `anchored`, a quote
    may consist of the first and last words of a passage (`anchors.py`).
    """

    def __init__(
        self,
        search: DocumentSearch,
        start: int,
        end: int,
        own: Place | None = None,
        *,
        anchored: bool = False,
    ) -> None:
        self._search = search
        self._anchored = anchored
        self._span = (start, min(end, len(search.text)))
        self._own = own or self._span
        # kept here: chunks that are searched at the same time are more than the search keeps
        self._mentions = search.mentions.span(*self._span)
        self._similar_searches = 0
        self._statements: dict[str, Statement] = {}
        self._places: dict[tuple[Hashable, int], list[Place]] = {}

    def quoted(self, words: str) -> Quoted | None:
        """Return a quote of the model with its passages in this part; None if `words` is blank."""
        # a lone surrogate cannot be encoded as UTF-8, so it could be neither found nor stored
        words = words.strip().encode("utf-8", "replace").decode()
        return Quoted(words, self._passages(words)) if words else None

    def _passages(self, words: str) -> tuple[Passage, ...]:
        """Return the first passages of a quote that are not before the chunk, if there are any.

        Of anchors, all passages between them that end in the chunk or after it are returned.
        """
        if self._anchored and (between := anchored_passages(words, self._search, *self._span)):
            return tuple(p for p in between if p.end > self._own[0]) or between
        first = passages = self._search.finder.find(words, *self._span)
        while passages and passages[0].verified:
            if passages[-1].end > self._own[0]:
                return passages
            passages = self._search.finder.find(words, passages[0].end, self._span[1])
        return first

    def key(self, path: str, value: Any, schema: JsonSchema) -> Hashable:
        """Return a key that is equal for values that state the same, in whatever spelling.

        `path` is the value's path in the answer, and `schema` its normalized schema. A value's
        statement is read once for each path, so a path must always have the same value.
        """
        return value if isinstance(value, bool) else key_of(self._statement(path, value, schema))

    def _statement(self, path: str, value: Any, schema: JsonSchema) -> Statement:
        if path not in self._statements:
            self._statements[path] = statement_of(value, schema, self._search.mentions)
        return self._statements[path]

    def evidence(
        self,
        path: str,
        value: Any,
        schema: JsonSchema,
        quoted: Quoted | None,
        turn: Turn | None = None,
    ) -> list[Evidence]:
        """Return the evidence of one value, at least one Evidence.

        Args:
            path: the value's path in the answer.
            value: a string, a number or a boolean.
            schema: its normalized schema.
            quoted: the model's quote for it; None if it has none.
            turn: the value's position among the equal values of a list; None outside of lists. Only
                a value of a list has places of its own besides those of its quote.
        """
        if isinstance(value, bool):
            return [self._of_quote_only(path, quoted)]
        statement = self._statement(path, value, schema)
        if quoted and (passage := self.passage_of(statement, quoted)):
            shown = self.row(path, EvidenceStatus.SHOWN, passage, quoted.words)
            return [shown, *self._found(path, statement, turn)] if turn else [shown]
        if is_label(schema):
            return [Evidence(path, EvidenceStatus.NOT_APPLICABLE)]
        if proves(statement) and (found := self._found(path, statement, turn or Turn(0, 1))):
            return found
        if self.is_computed(statement, quoted):
            return [Evidence(path, EvidenceStatus.NOT_APPLICABLE)]
        return self._weak(path, statement, quoted, turn)

    def _found(self, path: str, statement: Statement, turn: Turn) -> list[Evidence]:
        places = possible_places(self._own_places(statement, turn.values), turn, PLACES)
        return [self.row_of_place(path, EvidenceStatus.FOUND, place) for place in places]

    def _own_places(self, statement: Statement, values: int) -> list[Place]:
        """Return the places at which so many equal values stand, those in the chunk first."""
        key = key_of(statement), values
        if key not in self._places:
            limit = values + PLACES
            self._places[key] = self._first_places(statement, values, limit)
        return self._places[key]

    def _first_places(self, statement: Statement, values: int, limit: int) -> list[Place]:
        inside = self.places(statement, limit, self._own)
        if len(inside) >= values or self._own == self._span:
            return inside
        return own_places(self.places(statement, limit + _MAX_OUTSIDE), self._own, values)

    def passage_of(self, statement: Statement, quoted: Quoted) -> Passage | None:
        """Return the first verified passage of a quote that states what a value states, or None."""
        for passage in quoted.verified:
            if find_statement(
                statement, self._search, self._mentions, passage.start, passage.end, limit=1
            ):
                return passage
        return None

    def places(self, statement: Statement, limit: int, within: Place | None = None) -> list[Place]:
        """Return up to `limit` places that state what a value states, in the document's order.

        They are within [within[0], within[1]), in characters, or anywhere in this part if that is
        None.
        """
        part = within or self._span
        return find_statement(statement, self._search, self._mentions, *part, limit)

    def is_computed(self, statement: Statement, quoted: Quoted | None) -> bool:
        """Return whether a value is a number computed from the numbers of a verified quote.

        False if it is not a number, or if there is no quote. See `computed.is_computed`.
        """
        if not isinstance(statement, Decimal) or quoted is None:
            return False
        numbers = [
            self._mentions.values_in(passage.start, passage.end) for passage in quoted.verified
        ]
        if self._anchored:  # the passages are alternatives, not parts of one
            return any(is_computed(statement, of_passage) for of_passage in numbers)
        return is_computed(statement, list(chain.from_iterable(numbers)))

    def row(self, path: str, status: EvidenceStatus, passage: Passage, quote: str) -> Evidence:
        """Return an Evidence for the value at `path` with a passage of its quote.

        `quote` is the quote as the model wrote it. It is recorded only if the document's words in
        the passage differ from it.
        """
        row = self.row_of_place(path, status, (passage.start, passage.end))
        return row if row.text == quote else replace(row, quote=quote)

    def row_of_place(self, path: str, status: EvidenceStatus, place: Place) -> Evidence:
        """Return an Evidence for the value at `path` with a place of the document and no quote."""
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

    def _weak(
        self, path: str, statement: Statement, quoted: Quoted | None, turn: Turn | None
    ) -> list[Evidence]:
        """Return where a value may be stated, or that it is absent."""
        if quoted and quoted.passages and not quoted.verified:
            return [self.row(path, EvidenceStatus.NEAR, quoted.passages[0], quoted.words)]
        if places := self._weak_places(statement, turn):
            return [self.row_of_place(path, EvidenceStatus.NEAR, place) for place in places]
        return [Evidence(path, EvidenceStatus.ABSENT, quote=quoted.words if quoted else None)]

    def _weak_places(self, statement: Statement, turn: Turn | None) -> Sequence[Place]:
        """Return places that may state a value: it proves little, or is only similar there."""
        # what proves something has been looked for before
        if not proves(statement):
            places = self._own_places(statement, turn.values if turn else 1)
            if places:
                return possible_places(places, turn, PLACES) if turn else places[:1]
        if isinstance(statement, Decimal):
            return self._mentions.unclear_numbers(statement)[:1]
        if isinstance(statement, Words) and self._may_be_similar(statement):
            self._similar_searches += 1
            similar = self._search.finder.find(statement.text, *self._span)
            return [(passage.start, passage.end) for passage in similar[:1]]
        return []

    def _may_be_similar(self, statement: Words) -> bool:
        """Return whether to look for a passage like a text: it is long, and few were looked for."""
        long = len(statement.text.split()) >= _MIN_WORDS_OF_SIMILAR
        return long and self._similar_searches < _MAX_SIMILAR_SEARCHES
