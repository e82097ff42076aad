"""Reads what one value of an answer states, and finds the places of a document that state the same.

A string such as `1 March 2024`, `$72,500` or `two years` is compared as a date, number or duration.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import islice
from typing import Any

from pipelines.tasks.schema import JsonSchema
from pipelines.text.dates import DayOrder, find_dates
from pipelines.text.durations import Duration, duration_of
from pipelines.text.mentions import DocumentMentions, Place
from pipelines.text.names import is_name_like, words_of
from pipelines.text.numbers import TOKEN, ascii_digits, is_telling, read_amount
from pipelines.text.search import DocumentSearch

_MIDNIGHT = "00:00"
_NUMBER_AROUND = re.compile(
    r"[\s$€£¥₹()+−-]*(?:[A-Z]{2,3}\$?|Rs\.?)?[\s$€£¥₹()+−-]*", re.IGNORECASE
)  # fmt: skip
_DATE_FORMATS = ("date", "date-time")


@dataclass(frozen=True, slots=True)
class Words:
    """A text; two texts are the same regardless of case, punctuation and legal forms."""

    text: str


@dataclass(frozen=True, slots=True)
class Moment:
    """A date, with the time `HH:MM` if it has one other than midnight."""

    day: date
    time: str | None = None


Statement = Words | Moment | Decimal | Duration
"""What a value states."""


def is_label(schema: JsonSchema) -> bool:
    """Return whether a value is one of a fixed set, whose words need not stand in the text."""
    return "enum" in schema or "const" in schema


def statement_of(value: Any, schema: JsonSchema, mentions: DocumentMentions) -> Statement:
    """Return what a string or number states; numbers in strings are read as the document's are."""
    if isinstance(value, int | float | Decimal):
        return Decimal(str(value))
    text = str(value).strip()
    if is_label(schema):
        return Words(text)
    if schema.get("format") in _DATE_FORMATS and (moment := _iso_moment(text)):
        return moment
    plain = ascii_digits(text)
    dates = find_dates(plain, mentions.day_order)
    if (
        len(dates) == 1
        and plain[: dates[0][0]].strip(" ") == plain[dates[0][1] :].strip(" .") == ""
    ):
        return Moment(dates[0][2])
    # a date with an unclear order of day and month is compared by its words
    if (number := _number(plain, mentions)) is not None and not _is_digits_date(plain):
        return number
    return duration_of(plain) or Words(text)


def key_of(statement: Statement) -> Hashable:
    """Return a key that is equal for statements that stand at the same places."""
    if isinstance(statement, Words):
        return tuple(words_of(statement.text)) or statement
    return statement


def proves(statement: Statement) -> bool:
    """Return whether a statement rarely stands in a text by chance."""
    match statement:
        case Moment():
            return True
        case Decimal():
            return is_telling(statement)
        case Words(text):
            return is_name_like(text)
    return False


def find_statement(
    statement: Statement, search: DocumentSearch, span: Place, start: int, end: int, limit: int
) -> list[Place]:
    """Return up to `limit` places within [start, end) of the document that state the same.

    `span` is the part of the document whose values are indexed, and contains them.
    """
    mentions = search.mentions.span(*span)
    match statement:
        case Decimal():
            places = mentions.numbers(statement)
        case Moment(day, time):
            places = mentions.dates(day)
            if time and time not in search.text[start:end]:
                return []
        case Words(text):
            if named := mentions.names(text, limit, start, end):
                return named
            return [(p.start, p.end) for p in search.finder.find_all(text, start, end, limit)]
        case _:
            places = mentions.durations(statement)
    first = bisect_left(places, (start, 0))
    inside = (places[at] for at in range(first, bisect_left(places, (end, 0))))
    return list(islice((place for place in inside if place[1] <= end), limit))


def _iso_moment(text: str) -> Moment | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    time = moment.strftime("%H:%M")
    return Moment(moment.date(), None if time == _MIDNIGHT else time)


def _is_digits_date(text: str) -> bool:
    return bool(find_dates(text, DayOrder.DAY_FIRST) or find_dates(text, DayOrder.MONTH_FIRST))


def _number(text: str, mentions: DocumentMentions) -> Decimal | None:
    """Return the number that a whole text states, such as 72500000 for `$72.5 million`."""
    matches = list(TOKEN.finditer(text))
    if len(matches) != 1:
        return None
    amount = read_amount(text, *matches[0].span(), mentions.separators)
    if amount is None:
        return None
    end, value = amount
    around = text[: matches[0].start()], text[end:]
    return value if all(_NUMBER_AROUND.fullmatch(part) for part in around) else None
