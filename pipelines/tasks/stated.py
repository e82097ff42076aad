"""Reads what one value of an answer states, and finds the places of a document that state the same.

A string such as `1 March 2024`, `$72,500` or `two years` is compared as a date, number or duration.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Hashable
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import Any

from pipelines.tasks.meanings import Measure, Moment, Money, Statement, Words
from pipelines.tasks.schema import JsonSchema
from pipelines.text.currencies import currencies_at
from pipelines.text.dates import DayOrder, find_dates
from pipelines.text.durations import duration_of
from pipelines.text.mentions import DocumentMentions, Place, SpanMentions
from pipelines.text.names import is_name, is_name_like, words_of
from pipelines.text.negations import is_negated
from pipelines.text.numbers import TOKEN, ascii_digits, is_telling, read_amount
from pipelines.text.scales import read_scale
from pipelines.text.search import DocumentSearch
from pipelines.text.units import is_short, is_unit, unit_at

_MIDNIGHT = "00:00:00"
_TIME = re.compile(
    r"(?<![\d:.,])(?P<hour>\d{1,2})(?:[:.h](?P<minute>\d{2})(?:[:.](?P<second>\d{2}))?)?"
    r"\s?(?:(?P<half>[ap])\.?m\b)?(?![\d:])",
    re.IGNORECASE,
)
_AROUND_DATE = 40
_ADDRESS = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+|(?:[a-z]+://|www\.)\S+", re.IGNORECASE)
_ADDRESS_BEFORE = re.compile(r"[\w.+-]$")
_ADDRESS_BEHIND = re.compile(r"[.+-]?[\w@]")
_NUMBER_AROUND = re.compile(
    r"[\s$€£¥₹()+−-]*(?:[A-Z]{2,3}\$?|Rs\.?)?[\s$€£¥₹()+−-]*", re.IGNORECASE
)  # fmt: skip
_MARK = re.compile(r"[^\w\s.,]")
_DATE_FORMATS = ("date", "date-time")


def is_label(schema: JsonSchema) -> bool:
    """Return whether a normalized schema has an `enum` or a `const`.

    Its values are then labels, whose words the document's text need not contain.
    """
    return "enum" in schema or "const" in schema


def statement_of(value: Any, schema: JsonSchema, mentions: DocumentMentions) -> Statement:
    """Return what a string or number states, independent of its spelling.

    A string that as a whole is a date, a number or a duration is read as that; any other string,
    and that of an `enum` or `const`, is Words.

    Args:
        value: a string or a number.
        schema: its normalized schema; {} if there is none.
        mentions: the document's dates and numbers; a string is read with the document's order of
            day and month and its decimal separator.
    """
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
        duration = duration_of(plain) if isinstance(number, Measure) else None
        return duration or number
    return duration_of(plain) or Words(text)


def key_of(statement: Statement) -> Hashable:
    """Return a key that is equal for statements that say the same, in the same document.

    Statements with equal keys are found at the same places of the document's text.
    """
    match statement:
        case Money():
            return Decimal(statement), statement.currencies
        case Measure():
            return Decimal(statement), statement.unit
        case Words(text) if not _ADDRESS.fullmatch(text):
            # C++ is not C#
            return tuple(words_of(text)), "".join(_MARK.findall(text))
    return statement


def proves(statement: Statement) -> bool:
    """Return whether a text that contains a statement proves it, as it rarely does so by chance.

    True for a date, for a number of 4 or more digits of which 3 are significant, and for words of a
    name-like text, such as two or more words (`is_name_like`). False for a duration.
    """
    match statement:
        case Moment():
            return True
        case Decimal():
            return is_telling(statement)
        case Words(text):
            return is_name_like(text)
    return False


def find_statement(
    statement: Statement,
    search: DocumentSearch,
    mentions: SpanMentions,
    start: int,
    end: int,
    limit: int,
) -> list[Place]:
    """Return up to `limit` places within text[start:end] of a document that make a statement.

    A place is the start and end, in characters, of words that state the same, in any format. Places
    are in the document's order.

    Args:
        statement: what is looked for.
        search: finds quotes and values in the document.
        mentions: the values of a part of the document that contains [start, end).
        start: the first character of the part in which the statement is looked for.
        end: the character after its last one.
        limit: the maximum number of places.
    """
    match statement:
        case Decimal():
            places = mentions.numbers(statement)
            if isinstance(statement, Money):
                places = [p for p in places if _has_currency(statement, search.text, p)]
            if isinstance(statement, Measure):
                places = [p for p in places if _has_unit(statement, search.text, p)]
        case Moment(day, time):
            places = mentions.dates(day)
            if time:
                places = [p for p in places if _has_time(time, search.text, p)]
        case Words(text):
            if _ADDRESS.fullmatch(text):
                return _places_of_address(text, search, start, end, limit)
            return _places_of_words(text, search, mentions, start, end, limit)
        case _:
            places = mentions.durations(statement)
    first = bisect_left(places, (start, 0))
    inside = (places[at] for at in range(first, bisect_left(places, (end, 0))))
    return list(islice((place for place in inside if place[1] <= end), limit))


def _places_of_words(
    words: str, search: DocumentSearch, mentions: SpanMentions, start: int, end: int, limit: int
) -> list[Place]:
    """Return the places of words; of a description, not those where a word beside negates it.

    A description begins with a small letter: "not liable" does not state `liable`, but a name is
    one also behind "not".
    """
    places = mentions.names(words, limit, start, end)
    if not places:
        passages = search.finder.find_all(words, start, end, limit)
        places = [(passage.start, passage.end) for passage in passages]
        places = [place for place in places if is_name(words, search.text, *place)]
    if not words[:1].islower():
        return places
    return [place for place in places if not is_negated(search.text, *place)]


def _places_of_address(
    address: str, search: DocumentSearch, start: int, end: int, limit: int
) -> list[Place]:
    """Return the places of an e-mail or web address, all of whose marks count."""
    places = [(p.start, p.end) for p in search.finder.find_all(address, start, end, 8 * limit)]
    return [
        place
        for place in places
        if search.text[slice(*place)].casefold() == address.casefold()
        and not _ADDRESS_BEFORE.search(search.text[max(0, place[0] - 2) : place[0]])
        and not _ADDRESS_BEHIND.match(search.text, place[1])
    ][:limit]


def _iso_moment(text: str) -> Moment | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    time = moment.strftime("%H:%M:%S")
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
    before, behind = text[: matches[0].start()].strip(), text[end:].strip()
    number = with_currency(value, text, *matches[0].span())
    if isinstance(number, Money) or not before.isalpha():
        if _NUMBER_AROUND.fullmatch(before) and _NUMBER_AROUND.fullmatch(behind):
            is_unit = behind.isalpha() and not isinstance(number, Money)
            return Measure.of(value, unit_at(text, end)) if is_unit else number
        if not before and is_short(behind) and is_short(unit_at(text, end)):
            return Measure.of(value, unit_at(text, end))
    return None


def with_currency(value: Decimal, text: str, start: int, end: int) -> Decimal:
    """Return a number as Money if a currency or `%` is beside it, as a Measure before a unit, else
    unchanged.

    `value` is the value of the number text[start:end].
    """
    currencies = currencies_at(text, start, end)
    if currencies:
        return Money.of(value, currencies)
    unit = unit_at(text, end)
    return Measure.of(value, unit) if is_unit(unit) else value


def _has_currency(money: Money, text: str, place: Place) -> bool:
    """Return whether the number at a place has the currency, or none, as in a table."""
    theirs = currencies_at(text, *place)
    return not theirs or not theirs.isdisjoint(money.currencies)


def _has_unit(measure: Measure, text: str, place: Place) -> bool:
    """Return whether the number at a place has the unit, or none, as in a table."""
    end = place[1]
    unit = unit_at(text, end)
    if not is_unit(unit):
        unit = unit_at(text, end + read_scale(text[end : end + _AROUND_DATE], money=False).length)
    return unit in ("", measure.unit)


def _has_time(time: str, text: str, place: Place) -> bool:
    """Return whether a time stands beside the date at a place."""
    start, end = place
    around = (text[max(0, start - _AROUND_DATE) : start], text[end : end + _AROUND_DATE])
    return any(_clock(match) == time for part in around for match in _TIME.finditer(part))


def _clock(match: re.Match[str]) -> str | None:
    """Return a time in 24 hours; None if it is only a number."""
    if not match["minute"] and not match["half"]:
        return None
    hour, half = int(match["hour"]), (match["half"] or "").casefold()
    if half and hour <= 12:
        hour = hour % 12 + (12 if half == "p" else 0)
    return f"{hour:02}:{match['minute'] or '00'}:{match['second'] or '00'}"
