"""Finds the mentions of a value in a document: the places where it occurs, in any format.

Values are numbers, dates, durations and names. For example, `1,200` mentions the number 1200.

The values in a span of the document, such as a chunk, are indexed once, when the first value of
their kind is looked for; the time is linear in the span's length. Numbers are indexed by their
significant digits, which neither separators nor scales change, and read only when looked for.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from datetime import date
from decimal import Decimal
from typing import TypeVar

from pipelines.text.dates import DayOrder, day_order, find_dates
from pipelines.text.durations import Duration, find_durations
from pipelines.text.lazy import lazy
from pipelines.text.names import WordIndex
from pipelines.text.numbers import (
    NO_VALUES,
    SPACED_TOKEN,
    TOKEN,
    Number,
    ascii_digits,
    digits_key,
    read_number,
    scaled,
    value_key,
)
from pipelines.text.numerals import find_numerals
from pipelines.text.scales import find_statements, is_percent
from pipelines.text.separators import SAMPLE_CHARACTERS, Separators, separators_of
from pipelines.text.signs import is_negative_before

Place = tuple[int, int]
"""Start and end of a value in a document's text, in characters."""
K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
# How far the statement "in thousands" above a table reaches, in characters.
_STATEMENT_REACH = 10_000
_WHOLE_DOCUMENT = re.compile(
    r"unless otherwise|all (?:amounts|figures)|sofern nicht|soweit nicht|sauf indication",
    re.IGNORECASE,
)
_AROUND_STATEMENT = (40, 120)
# Passages are read side by side; those of a pool's document in flight are few.
_MAX_SPANS = 8


class DocumentMentions:
    """The index of the values that one document, given as `text`, mentions in any format.

    All tasks and chunks share it. The document's conventions, such as the meaning of a comma in a
    number, are derived from its first 300,000 characters.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._spans: OrderedDict[Place, SpanMentions] = OrderedDict()

    @lazy
    def _sample(self) -> str:
        return ascii_digits(self.text[:SAMPLE_CHARACTERS])

    @lazy
    def separators(self) -> Separators:
        """The meaning of point and comma in the document's numbers."""
        return separators_of(self._sample)

    @lazy
    def day_order(self) -> DayOrder:
        """The order of day and month in the document's dates in digits."""
        return day_order(self._sample)

    @lazy
    def power(self) -> int:
        """The power of ten that the document states for all its amounts, 0 if it does not."""
        before, after = _AROUND_STATEMENT
        for start, power in find_statements(self._sample):
            if _WHOLE_DOCUMENT.search(self._sample[max(0, start - before) : start + after]):
                return power
        return 0

    def span(self, start: int, end: int) -> SpanMentions:
        """Return the index of the values mentioned in text[start:end].

        The 8 indexes used last are cached, so that the tasks about one chunk share one.
        """
        mentions = self._spans.pop((start, end), None) or SpanMentions(self, start, end)
        self._spans[start, end] = mentions
        if len(self._spans) > _MAX_SPANS:
            self._spans.popitem(last=False)
        return mentions


class SpanMentions:
    """The index of the values that a span of a document, text[start:end], mentions.

    Created by `DocumentMentions.span`. All places are character offsets in the whole document.
    """

    def __init__(self, document: DocumentMentions, start: int, end: int) -> None:
        self.start = start
        self.end = min(end, len(document.text))
        self._document = document
        self._text = ascii_digits(document.text[start : self.end])
        self._read: dict[str, list[Number]] = {}
        self._places_of: dict[Decimal, list[Place]] = {}

    def numbers(self, value: Decimal) -> list[Place]:
        """Return the places of numbers that can mean `value`, in any format, in text order."""
        if value not in self._places_of:
            numbers = self._numbers_of(value_key(value))
            places = ((n.start, n.end) for n in numbers if value in n.values)
            self._places_of[value] = self._placed(places)
        return self._places_of[value]

    def unclear_numbers(self, value: Decimal) -> list[Place]:
        """Return the places of numbers that have the significant digits of `value`, but no certain
        value, such as `1.234` if the document does not show what its point means, in text order."""
        numbers = self._numbers_of(value_key(value))
        return self._placed((n.start, n.end) for n in numbers if not n.values)

    def values_in(self, start: int, end: int) -> list[frozenset[Decimal]]:
        """Return the possible values of each number in digits in text[start:end] of the document.

        One set for each of the first 8 numbers in text order. Numbers without a certain value are
        left out.
        """
        found = []
        for match in TOKEN.finditer(self._text, start - self.start, end - self.start):
            number = self._number(match.start(), match.end())
            if number.values:
                found.append(number.values)
        return found[:8]

    def dates(self, day: date) -> list[Place]:
        """Return the places where the full date `day` is mentioned in any format, in order."""
        return self._placed(self._dates.get(day, ()))

    def durations(self, duration: Duration) -> list[Place]:
        """Return the places where a duration of equal length is mentioned, in text order."""
        return self._placed(sorted(self._durations.get(duration, ())))

    def names(self, name: str, limit: int, start: int, end: int) -> list[Place]:
        """Return up to `limit` places of `name` in text[start:end] of the document, in text order.

        Spellings may differ as `WordIndex.find` describes.
        """
        places = self._words.find(name, limit, start - self.start, end - self.start)
        return self._placed(places)

    def _placed(self, places: Iterable[Place]) -> list[Place]:
        return [(start + self.start, end + self.start) for start, end in places]

    @lazy
    def _words(self) -> WordIndex:
        return WordIndex(self._text)

    @lazy
    def _dates(self) -> dict[date, list[Place]]:
        return _by_key(
            (day, (start, end))
            for start, end, day in find_dates(self._text, self._document.day_order)
        )

    @lazy
    def _durations(self) -> dict[Duration, list[Place]]:
        return _by_key(
            (duration, (start, end)) for start, end, duration in find_durations(self._text)
        )

    @lazy
    def _tokens(self) -> dict[str, list[Place]]:
        """The places of numbers in digits by their significant digits."""
        spaced = [match.span() for match in SPACED_TOKEN.finditer(self._text)]
        single = (match.span() for match in TOKEN.finditer(self._text))
        return _by_key((digits_key(self._text[s:e]), (s, e)) for s, e in (*spaced, *single))

    @lazy
    def _spaced(self) -> list[Number]:
        """The numbers whose thousands are separated by blanks, or which are several numbers."""
        spaces = (match.span() for match in SPACED_TOKEN.finditer(self._text))
        separators = self._document.separators
        return [read_number(self._text, start, end, separators) for start, end in spaces]

    @lazy
    def _numerals(self) -> dict[str, list[Number]]:
        """The numbers in words by their significant digits."""
        return _by_key(
            (digits_key(str(value)), self._numeral(start, end, value))
            for start, end, value in find_numerals(self._text)
        )

    def _numeral(self, start: int, end: int, value: int) -> Number:
        if is_negative_before(self._text, start):
            return Number(start, end, NO_VALUES)
        values = {Decimal(value)}
        if is_percent(self._text, end):
            values.add(Decimal(value).scaleb(-2))
        return Number(start, end, frozenset(values))

    @lazy
    def _date_places(self) -> list[Place]:
        return sorted(place for places in self._dates.values() for place in places)

    @lazy
    def _statements(self) -> list[tuple[int, int]]:
        """The statements of scale that reach into the span: offset in the span, and power."""
        first = max(0, self.start - _STATEMENT_REACH)
        text = ascii_digits(self._document.text[first : self.start]) + self._text
        return [(at + first - self.start, power) for at, power in find_statements(text)]

    def _numbers_of(self, key: str) -> list[Number]:
        if key not in self._read:
            digits = [self._number(start, end) for start, end in self._tokens.get(key, ())]
            numbers = [*digits, *self._numerals.get(key, ())]
            self._read[key] = sorted(numbers, key=lambda number: (number.start, number.end))
        return self._read[key]

    def _number(self, start: int, end: int) -> Number:
        token = self._text[start:end]
        number = read_number(self._text, start, end, self._document.separators)
        is_year = len(token) == 4 and token.isdecimal()
        if self._in_date(start, end) and not is_year:
            return Number(start, end, NO_VALUES)
        if self._part_of_spaced(start, end):
            return Number(start, end, NO_VALUES)
        if number.scalable and number.values and (power := self._power_at(start)):
            larger = {scaled(value, power) for value in number.values}
            return Number(start, number.end, number.values | larger)
        return number

    def _in_date(self, start: int, end: int) -> bool:
        index = bisect_right(self._date_places, (start, len(self._text))) - 1
        return index >= 0 and end <= self._date_places[index][1]

    def _part_of_spaced(self, start: int, end: int) -> bool:
        """Return whether a number is, or may be, a part of one with blanks between its digits."""
        index = bisect_left(self._spaced, start + 1, key=lambda number: number.start) - 1
        if index < 0:
            return False
        whole = self._spaced[index]
        part = end <= whole.end and (end - start) < (whole.end - whole.start)
        unclear = self._document.separators is Separators.UNCLEAR
        # a group such as "045" is no number of its own
        zeros = re.search(r"[ \u00a0]0\d\d", self._text[whole.start : whole.end])
        return part and " " not in self._text[start:end] and bool(whole.values or unclear or zeros)

    def _power_at(self, start: int) -> int:
        index = bisect_right(self._statements, (start, 0)) - 1
        if index >= 0 and start - self._statements[index][0] <= _STATEMENT_REACH:
            return self._statements[index][1]
        return self._document.power


def _by_key(pairs: Iterable[tuple[K, T]]) -> dict[K, list[T]]:
    grouped: dict[K, list[T]] = {}
    for key, element in pairs:
        grouped.setdefault(key, []).append(element)
    return grouped
