"""Evidence of a reply in free text, which uses words of its own.

Its quotes must contain every number and date in it. Its names must stand in the document. A short
reply of several words is itself a value, which its quotes must contain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pipelines.documents import Evidence, EvidenceStatus
from pipelines.tasks.grounds import Grounds, Quoted
from pipelines.tasks.meanings import Moment, Statement, Words
from pipelines.tasks.stated import proves, statement_of, with_currency
from pipelines.text.dates import DayOrder, find_dates
from pipelines.text.mentions import DocumentMentions, Place
from pipelines.text.numbers import TOKEN, ascii_digits, read_amount
from pipelines.text.search import DocumentSearch

_NAME = re.compile(r"(?<![.!?:]\s)(?<=[^\W\d_][\s,])(?:[A-Z]\w+)(?:\s+(?:[A-Z]\w+))*")
_BETWEEN_NAMES = re.compile(r"[,;]\s|\s(?:and|und|et|y|e)\s")
_MAX_WORDS_OF_VALUE = 6


def evidence_of_reply(
    text: str | None,
    quotes: Sequence[str],
    search: DocumentSearch,
    start: int,
    end: int,
    *,
    anchored: bool = False,
) -> tuple[Evidence, ...]:
    """Return the evidence of a reply in free text: one Evidence for each quote, with the path "".

    If no quote is verified, the reply's own words are looked for in the document instead.

    Args:
        text: the reply's text; None or blank if it has none.
        quotes: the quotes that the model gave with it.
        search: finds quotes and values in the document.
        start: the first character of the part of the document that the model was shown, in which
            evidence is looked for.
        end: the character after its last one.
        anchored: whether a quote may consist of the first and last words of a passage.
    """
    return evidence_in_spans(text, quotes, search, [(start, end)], anchored=anchored)


def evidence_in_spans(
    text: str | None,
    quotes: Sequence[str],
    search: DocumentSearch,
    spans: Sequence[Place],
    *,
    anchored: bool = False,
) -> tuple[Evidence, ...]:
    """Return the evidence of a reply about several parts of a document.

    It is as `evidence_of_reply` returns it. `spans` has the start and end, in characters, of each
    part, at least one. A quote is looked for in all parts, and the first part that contains it
    counts. The reply's own words are looked for in the first part only.
    """
    parts = [Grounds(search, *span, anchored=anchored) for span in spans]
    quoted = [found for words in quotes if (found := _Located.of(words, parts))]
    if not text or not text.strip():
        return tuple(found.row(EvidenceStatus.NEAR) for found in quoted)
    if not any(found.quoted.verified for found in quoted):
        rows = parts[0].evidence("", text.strip(), {}, None)
        if rows[0].status is EvidenceStatus.FOUND or not quoted:
            return tuple(rows)
        return tuple(found.row(EvidenceStatus.NEAR) for found in quoted)
    if anchored:
        statements = list(_statements(text.strip(), search.mentions))
        quoted = [found.narrowed(statements) for found in quoted]
    status = _status(text.strip(), quoted, search.mentions, parts)
    return tuple(found.row(status) for found in quoted)


@dataclass(frozen=True, slots=True)
class _Located:
    """A quote, and the part of the document that it is looked for in."""

    quoted: Quoted
    grounds: Grounds

    @classmethod
    def of(cls, words: str, parts: Sequence[Grounds]) -> _Located | None:
        found = [cls(quoted, part) for part in parts if (quoted := part.quoted(words))]
        verified = (located for located in found if located.quoted.verified)
        similar = (located for located in found if located.quoted.passages)
        return next(verified, None) or next(similar, None) or next(iter(found), None)

    def row(self, status: EvidenceStatus) -> Evidence:
        """Return the evidence of the quote; `status` is that of a verified one."""
        quoted = self.quoted
        if quoted.verified:
            return self.grounds.row("", status, quoted.verified[0], quoted.words)
        if quoted.passages:
            return self.grounds.row("", EvidenceStatus.NEAR, quoted.passages[0], quoted.words)
        return Evidence("", EvidenceStatus.ABSENT, quote=quoted.words)

    def contains(self, statement: Statement) -> bool:
        """Return whether a verified passage of the quote contains a statement."""
        return self.grounds.passage_of(statement, self.quoted) is not None

    def narrowed(self, statements: Sequence[Statement]) -> _Located:
        """Return the quote with the one verified passage that contains the most statements."""
        alone = [
            replace(self, quoted=Quoted(self.quoted.words, (passage,)))
            for passage in self.quoted.verified
        ]
        return max(alone, key=lambda found: sum(map(found.contains, statements)), default=self)

    def gives(self, statement: Statement) -> bool:
        """Return whether a statement is computed from numbers of the quote."""
        return self.grounds.is_computed(statement, self.quoted)


def _status(
    text: str, quoted: Sequence[_Located], mentions: DocumentMentions, parts: Sequence[Grounds]
) -> EvidenceStatus:
    """Return how a reply's verified quotes support it."""
    computed = False
    for statement in _statements(text, mentions):
        if any(found.contains(statement) for found in quoted):
            continue
        if isinstance(statement, Words):
            if not any(part.places(statement, 1) for part in parts):
                return EvidenceStatus.NEAR
        elif any(found.gives(statement) for found in quoted):
            computed = True
        else:
            return EvidenceStatus.NEAR
    return EvidenceStatus.NOT_APPLICABLE if computed else EvidenceStatus.SHOWN


def _statements(text: str, mentions: DocumentMentions) -> Iterator[Statement]:
    """Yield the dates, numbers and names that a reply states."""
    whole = statement_of(text.rstrip("."), {}, mentions)
    if not isinstance(whole, Words):
        yield whole
        return
    plain = ascii_digits(text)
    dates = find_dates(plain, mentions.day_order)
    dates = dates or find_dates(plain, DayOrder.MONTH_FIRST)
    yield from (Moment(day) for _, _, day in dates)
    for match in TOKEN.finditer(plain):
        if any(start <= match.start() < end for start, end, _ in dates):
            continue
        if amount := read_amount(plain, *match.span(), mentions.separators):
            yield with_currency(amount[1], plain, *match.span())
    names = [match[0] for match in _NAME.finditer(text)]
    if _is_name(text) and proves(whole):
        names = [name for name in _BETWEEN_NAMES.split(text.rstrip(".")) if name.strip()]
    yield from (Words(name) for name in names)


def _is_name(text: str) -> bool:
    """Return whether a reply is a name or a list of names rather than a sentence."""
    words = text.split()
    capitals = sum(word[:1].isupper() or word[:1].isdigit() for word in words)
    return 2 <= len(words) <= _MAX_WORDS_OF_VALUE and capitals >= len(words) - 1
