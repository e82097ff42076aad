"""Reads durations, such as `two (2) years`, `24 months` or `second anniversary`.

Durations are equal if they have the same number of months or of hours: two years are 24 months, but
a month is not 30 days, and 30 business days are not 30 days.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

from pipelines.text.numerals import find_numerals

Duration = tuple[str, Fraction]
"""A unit, `months` or `hours`, and how many of them: ("months", Fraction(24)) for two years.

For business days, and other durations in working time, the unit begins with `working `."""
PlacedDuration = tuple[int, int, Duration]
"""Start and end of a duration in a text, in characters, and the duration."""

_UNITS: tuple[tuple[str, str, int], ...] = (
    (r"years?|jahren?|jahre?s?|ans?|années?|años?|anni|anno|anos?|jaar|jaren|år|yrs?\.?|лет|года?"
     r"|ans", "months", 12),
    (r"quarters?|quartale?n?|trimestres?|trimestri", "months", 3),
    (r"months?|monate?n?|mois|mes(?:es)?|mesi|mese|mês|maand(?:en)?|månader|måneder|mos?\.|месяц\w*",
     "months", 1),
    (r"weeks?|wochen?|semaines?|semanas?|settiman[ae]|we?ken|week|veckor|uger|uker", "hours", 168),
    (r"days?|tagen?|tage|jours?|d[ií]as?|giorn[oi]|dias?|dag(?:en|ar|e)?|дн\w*|день", "hours", 24),
    (r"hours?|hrs?\.?|stunden?|heures?|horas?|or[ae]|uren|uur|timmar|timer", "hours", 1),
)  # fmt: skip
_HAN_UNITS: tuple[tuple[str, str, int], ...] = (
    ("年間?", "months", 12),
    ("[个個箇ヶか]月間?", "months", 1),
    ("(?:周|週間?|星期)", "hours", 168),
    ("(?:天|日間?)", "hours", 24),
    ("(?:小时|小時|時間)", "hours", 1),
)
_UNIT = re.compile(
    r"(?<![^\W\d_])(?:" + "|".join(f"({words})" for words, _, _ in _UNITS) + r")(?![^\W\d_])",
    re.IGNORECASE,
)
_HAN_UNIT = re.compile("|".join(f"({words})" for words, _, _ in _HAN_UNITS))
_ANNIVERSARY = re.compile(
    r"\b(?:(first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth)|(\d{1,2})(?:st|nd|rd|th))"
    r"(?:\s+\([^()]{1,6}\))?(?:\s+\(?annual\)?)?\s+anniversary\b",
    re.IGNORECASE,
)
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth"
_ADJECTIVES = (
    r"(?:(?:full|consecutive|calendar|successive|additional|(?P<working>business|working)|volle|"
    r"aufeinanderfolgende)\s+){0,2}"
)
# What stands between a number and its unit: two (2) full years
_BEFORE_UNIT = re.compile(
    rf"\s*(?:\(\s*(?P<inside>\d+|[^\W\d_]+(?:-[^\W\d_]+)?)\s*\))?[\s-]{{0,2}}{_ADJECTIVES}$",
    re.IGNORECASE,
)
_DIGITS = re.compile(
    r"(?<![\d.,/'’])(?<!\s[-−])(?<!\d[ \u00a0\u202f])(?:\d{1,3}(?:,\d{3})+|\d+(?:[.,]\d{1,2})?)$"
)
_WORD = re.compile(r"[^\W\d_]+$")
_HALF = re.compile(r"\s+and\s+(?:a|one)\s+half\b", re.IGNORECASE)
_JOINED = re.compile(r",\s+|(?:,?\s+(?:and|und|et|y|e|en|och))?\s+", re.IGNORECASE)
_HAN_NUMBER_BEFORE = re.compile(r"(\d+|[一二三四五六七八九十两兩百]+)\s?$")
_ISO = re.compile(
    r"P(?:(\d{1,9})Y)?(?:(\d{1,9})M)?(?:(\d{1,9})W)?(?:(\d{1,9})D)?(?:T(?:(\d{1,9})H)?)?"
)
_ARTICLES = ("a", "an", "ein", "einem", "einer")
_AROUND = 60


def duration_of(value: str) -> Duration | None:
    """Return the duration that the whole string `value` states, as in `2 years` or ISO 8601 `P2Y`.

    Returns None if it states no duration, more than one, or anything else besides, and for an ISO
    8601 duration that combines years or months with smaller units.
    """
    words = value.strip()
    if words.startswith("P") and len(words) > 2 and (match := _ISO.fullmatch(words)):
        years, months, weeks, days, hours = (int(part or 0) for part in match.groups())
        if years or months:
            rest = weeks or days or hours
            return None if rest else ("months", Fraction(12 * years + months))
        return "hours", Fraction(168 * weeks + 24 * days + hours)
    durations = list(find_durations(words))
    if len(durations) != 1 or durations[0][:2] != (0, len(words.rstrip(". "))):
        return None
    return durations[0][2]


def find_durations(text: str) -> Iterator[PlacedDuration]:
    """Yield the durations in a text, not in text order: those with units, then anniversaries, then
    those in Chinese and Japanese.

    `text` has only ASCII digits (see `numbers.ascii_digits`). A duration in several units, such as
    "one year and six months", is a single one.
    """
    yield from _joined(text, _of_units(text))
    for match in _ANNIVERSARY.finditer(text):
        years = int(match[2]) if match[2] else _ORDINALS.split().index(match[1].casefold()) + 1
        yield match.start(), match.end(), ("months", Fraction(12 * years))
    if not text.isascii():
        yield from _east_asian(text)


def _of_units(text: str) -> Iterator[tuple[int, int, Duration, int]]:
    """Yield the durations with one unit, and how many of their kind the unit is."""
    for match in _UNIT.finditer(text):
        _, name, factor = _UNITS[(match.lastindex or 1) - 1]
        first = max(0, match.start() - _AROUND)
        before = text[first : match.start()]
        between = _BEFORE_UNIT.search(before)
        if between is None or (number := _number_before(before[: between.start()])) is None:
            continue
        start, count = number
        if between["inside"] and count != _number(between["inside"]):
            continue
        half = _HALF.match(text, match.end())
        count += Fraction(1, 2) if half else 0
        # 30 business days are not 30 days
        name = f"working {name}" if between["working"] else name
        end = half.end() if half else match.end()
        yield first + start, end, (name, count * factor), factor


def _joined(
    text: str, placed: Iterator[tuple[int, int, Duration, int]]
) -> Iterator[PlacedDuration]:
    """Yield durations, those in several units as one: one year and six months."""
    last: tuple[int, int, Duration, int] | None = None
    for one in placed:
        start, end, (name, count), factor = one
        if last is None:
            last = one
        elif name == last[2][0] and factor < last[3] and _JOINED.fullmatch(text, last[1], start):
            last = (last[0], end, (name, last[2][1] + count), factor)
        else:
            yield last[:3]
            last = one
    if last is not None:
        yield last[:3]


def _number_before(words: str) -> tuple[int, Fraction] | None:
    """Return where the number begins that ends `words`, and its value; None if there is none."""
    if digits := _DIGITS.search(words):
        number = digits[0]
        plain = number.replace(",", "" if re.search(r",\d{3}$", number) else ".")
        return digits.start(), Fraction(plain)
    for start, end, value in find_numerals(words):
        if end == len(words):
            return start, Fraction(value)
    word = _WORD.search(words)
    # half a year is no year; twenty-five is not five
    if word is None or words[: word.start()].rstrip().casefold().endswith("half"):
        return None
    count = _number(word[0])
    return (word.start(), count) if count == 1 and word[0].casefold() in _ARTICLES else None


def _number(words: str) -> Fraction | None:
    if words[0].isdecimal():
        return Fraction(words.replace(",", "."))
    numerals = list(find_numerals(words))
    if len(numerals) == 1 and numerals[0][:2] == (0, len(words)):
        return Fraction(numerals[0][2])
    return Fraction(1) if words.casefold() in _ARTICLES else None


def _east_asian(text: str) -> Iterator[PlacedDuration]:
    for match in _HAN_UNIT.finditer(text):
        _, name, factor = _HAN_UNITS[(match.lastindex or 1) - 1]
        before = text[max(0, match.start() - 8) : match.start()]
        number = _HAN_NUMBER_BEFORE.search(before)
        # a year of four digits is part of a date
        if number and len(number[1]) < 4 and (count := _number(number[1])) is not None:
            yield match.start() - len(before) + number.start(), match.end(), (name, count * factor)
