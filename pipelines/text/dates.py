"""Finds full dates in a text, in the formats and month names of the main languages.

A date in digits, such as `3/4/2023`, is read in the order of day and month that the document shows
by other dates, or states in words. If it does neither, the date is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from enum import StrEnum

from pipelines.text.numerals import value_of_han


class DayOrder(StrEnum):
    """The order of day and month in a document's dates in digits, such as `3/4/2023`.

    UNCLEAR if the document does not show it: such dates are then not read.
    """

    DAY_FIRST = "day_first"
    MONTH_FIRST = "month_first"
    UNCLEAR = "unclear"


PlacedDate = tuple[int, int, date]
"""Start and end of a date in a text, in characters, and the date."""

_MONTHS = (
    "january jan januar januari janvier janv enero ene gennaio gen janeiro styczeń stycznia leden "
    "ledna tammikuuta tammikuu январь января jänner ocak",
    "february feb februar februari février févr fevrier febrero febbraio fevereiro fev luty lutego "
    "únor února helmikuuta helmikuu февраль февраля feber şubat",
    "march mar märz mrz maart mars marzo março marzec marca březen března maaliskuuta maaliskuu "
    "март марта mart mrt",
    "april apr avril avr abril abr aprile kwiecień kwietnia duben dubna huhtikuuta huhtikuu апрель "
    "апреля nisan",
    "may mai mei mayo maggio maio maj maja květen května toukokuuta toukokuu май мая mayıs",
    "june jun juni juin junio giugno giu junho czerwiec czerwca červen června kesäkuuta kesäkuu "
    "июнь июня haziran",
    "july jul juli juillet juil julio luglio lug julho lipiec lipca červenec července heinäkuuta "
    "heinäkuu июль июля temmuz",
    "august aug augustus augusti août aout agosto ago sierpień sierpnia srpen srpna elokuuta "
    "elokuu август августа ağustos",
    "september sept sep septembre septiembre settembre setembro wrzesień września září syyskuuta "
    "syyskuu сентябрь сентября eylül set",
    "october oct oktober okt octobre octubre ottobre ott outubro out październik października "
    "říjen října lokakuuta lokakuu октябрь октября ekim",
    "november nov novembre noviembre novembro listopad listopada listopadu marraskuuta marraskuu "
    "ноябрь ноября kasım",
    "december dec dezember dez décembre déc decembre diciembre dic dicembre dezembro desember "
    "grudzień grudnia prosinec prosince joulukuuta joulukuu декабрь декабря aralık des",
)
_MONTH_NUMBERS = {name: number for number, names in enumerate(_MONTHS, 1) for name in names.split()}
_MONTH = "|".join(sorted(_MONTH_NUMBERS, key=len, reverse=True))
_ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
    "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
)
_ORDINAL_NUMBERS = {
    **{word: number for number, word in enumerate(_ORDINALS.split(), 1)},
    **{f"twenty-{word}": 20 + number for number, word in enumerate(_ORDINALS.split()[:9], 1)},
    "thirtieth": 30,
    "thirty-first": 31,
}
_DAY = r"(?P<day>\d{1,2})(?:\s?(?:st|nd|rd|th|er|º|°|ª|\.))?"
_DAY_WORD = "|".join(sorted(_ORDINAL_NUMBERS, key=len, reverse=True))
_YEAR = r"(?P<year>[12]\d{3})"
# What follows a year that is a number of things: on March 1, 2000 shares were sold.
_YEAR_END = (
    r"(?!\d|[.,]\d|\s(?:shares|units|people|persons|employees|copies|dollars|euros|percent)\b)"
)
_ANY_DAY = rf"(?:{_DAY}|(?P<word>{_DAY_WORD}))"
# 1 March 2024, 1. März 2024, 1 de marzo de 2024, 18th day of April, 2001, 1-Mar-2024
_DAY_BEFORE = re.compile(
    rf"(?<![\d.,/]){_ANY_DAY}(?:\s+day)?(?:\s+of|\s+de|\s+del|\s+di)?(?:\s+the\s+month\s+of)?"
    r"[\s-]{0,3}$",
    re.IGNORECASE,
)
_YEAR_BEHIND = re.compile(
    r"\.?(?:\s+(?:de|del|di|do)\b)?[\s,./-]{0,3}(?:in\s+the\s+year\s+(?:of\s+)?)?"
    rf"{_YEAR}{_YEAR_END}",
    re.IGNORECASE,
)
# March 1, 2024
_DAY_AND_YEAR_BEHIND = re.compile(
    rf"\.?[\s-]{{1,3}}(?:the\s+)?{_ANY_DAY}(?!\d)[\s,.-]{{1,3}}{_YEAR}{_YEAR_END}", re.IGNORECASE
)
# 2024-Mar-01, 2024 March 1; but not "31 December 2023 March 31, 2024"
_YEAR_BEFORE = re.compile(rf"(?<!\d){_YEAR}(?:[\s,/-]{{1,3}}|\.)$")
_DAY_BEHIND = re.compile(
    rf"\.?[\s,./-]{{1,3}}{_DAY}(?!\d)(?![\s,.]{{1,3}}[12]\d{{3}}(?!\d))", re.IGNORECASE
)
# 2024-03-01
_ISO = re.compile(
    rf"(?<![\d./-]){_YEAR}(?P<mark>[-/.])(?P<month>\d{{1,2}})(?P=mark)(?P<day>\d{{1,2}})(?!\d)"
)
_WORD = re.compile(r"[^\W\d_]+")
_NUMBERED = re.compile(
    r"(?:\b(?:version|release|section|sec|clause|article|art|no|v|abschnitt|ziffer|kapitel)\.?|§)\s?$",
    re.IGNORECASE,
)
_NUMERIC = re.compile(
    r"(?<![\d./-])(?P<first>\d{1,2})(?P<mark>[./-])\s?(?P<second>\d{1,2})(?P=mark)\s?"
    r"(?P<year>[12]\d{3}|\d{2})(?![\d]|[./-]\d)"
)
_SHORT_YEAR = re.compile(
    rf"(?<![\d./-])(?P<day>\d{{1,2}})-(?P<month>{_MONTH})-(?P<year>\d{{2}})(?!\d)", re.IGNORECASE
)
_HAN_NUMBER = "[〇零一二三四五六七八九十]"
_CJK = re.compile(
    rf"(?:(?P<era>令和|平成|昭和|民[国國])\s?)?(?P<year>\d{{1,4}}|元|{_HAN_NUMBER}{{2,4}})\s?[年년]\s?"
    rf"(?P<month>\d{{1,2}}|{_HAN_NUMBER}{{1,3}})\s?[月월]\s?"
    rf"(?P<day>\d{{1,2}}|{_HAN_NUMBER}{{1,4}})\s?[日일号號]"
)
# The year before the first of each era.
_ERAS = {"令和": 2018, "平成": 1988, "昭和": 1925, "民国": 1911, "民國": 1911}
_BEFORE_MONTH, _AFTER_MONTH = 48, 40
_BEFORE_NUMBER = 12
_DAY_FIRST_WORDS = re.compile(
    r"day\s?[/,.-]\s?month|\bdd\s?[/.-]\s?mm|\bjj\s?[/.-]\s?mm|\btt\.mm", re.IGNORECASE
)
_MONTH_FIRST_WORDS = re.compile(r"month\s?[/,.-]\s?day|\bmm\s?[/.-]\s?dd", re.IGNORECASE)
_MAJORITY = 3
_SHORT_YEARS_OF_2000 = 70


def day_order(text: str) -> DayOrder:
    """Return the order of day and month in a document's dates in digits, derived from its `text`.

    A statement in words such as "dd/mm" decides. Otherwise dates with one number above 12, such as
    `25/4/2023`, do if at least 3 of 4 have the same order. UNCLEAR if neither decides.
    """
    day_first, month_first = _DAY_FIRST_WORDS.search(text), _MONTH_FIRST_WORDS.search(text)
    if bool(day_first) is not bool(month_first):
        return DayOrder.DAY_FIRST if day_first else DayOrder.MONTH_FIRST
    votes: Counter[DayOrder] = Counter()
    for match in _NUMERIC.finditer(text):
        if match["mark"] == ".":
            continue
        first, second = int(match["first"]), int(match["second"])
        if first > 12 >= second > 0:
            votes[DayOrder.DAY_FIRST] += 1
        elif second > 12 >= first > 0:
            votes[DayOrder.MONTH_FIRST] += 1
    for order, other in (
        (DayOrder.DAY_FIRST, DayOrder.MONTH_FIRST),
        (DayOrder.MONTH_FIRST, DayOrder.DAY_FIRST),
    ):
        if votes[order] and votes[order] >= _MAJORITY * votes[other]:
            return order
    return DayOrder.UNCLEAR


def find_dates(text: str, order: DayOrder) -> list[PlacedDate]:
    """Return the dates with day, month and year in a text, in text order.

    `text` has only ASCII digits (see `numbers.ascii_digits`). `order` is that of its dates in
    digits; with UNCLEAR, a date such as `3/4/2023` is left out, and `25/4/2023` is not.
    """
    placed = {place[:2]: place for place in _written(text)}
    placed |= {place[:2]: place for place in _in_digits(text, order)}
    if "年" in text or "년" in text:
        placed |= {place[:2]: place for place in _east_asian(text)}
    return sorted(placed.values())


def _written(text: str) -> Iterator[PlacedDate]:
    """Yield the dates with the name of a month, and those of ISO 8601.

    Only a few characters around the name of a month are read.
    """
    last_end = 0
    for word in _WORD.finditer(text):
        month = _MONTH_NUMBERS.get(word[0].casefold())
        if month and (placed := _around_month(text, *word.span(), month, last_end)):
            last_end = placed[1]
            yield placed
    for match in _ISO.finditer(text):
        if day := _date(int(match["year"]), int(match["month"]), int(match["day"])):
            yield match.start(), match.end(), day


def _around_month(text: str, start: int, end: int, month: int, last_end: int) -> PlacedDate | None:
    """Return the date whose month is text[start:end]; the date before it ends at `last_end`."""
    first = max(0, start - _BEFORE_MONTH)
    before, behind = text[first:start], text[end : end + _AFTER_MONTH]
    day, year = _DAY_BEFORE.search(before), _YEAR_BEHIND.match(behind)
    if day and year and first + day.start() >= last_end:
        return _placed(first + day.start(), end + year.end(), _date_of(year, month, day))
    both = _DAY_AND_YEAR_BEHIND.match(behind)
    if both and not re.search(r"\d-$", before):
        return _placed(start, end + both.end(), _date_of(both, month, both))
    year, day = _YEAR_BEFORE.search(before), _DAY_BEHIND.match(behind)
    if year and day and first + year.start() >= last_end:
        return _placed(first + year.start(), end + day.end(), _date_of(year, month, day))
    return None


def _placed(start: int, end: int, day: date | None) -> PlacedDate | None:
    return (start, end, day) if day else None


def _date_of(year: re.Match[str], month: int, day: re.Match[str]) -> date | None:
    word = day.groupdict().get("word")
    return _date(
        int(year["year"]), month, _ORDINAL_NUMBERS[word.casefold()] if word else int(day["day"])
    )


def _in_digits(text: str, order: DayOrder) -> Iterator[PlacedDate]:
    for match in _NUMERIC.finditer(text):
        before = text[max(0, match.start() - _BEFORE_NUMBER) : match.start()]
        if match["mark"] == "." and _NUMBERED.search(before):
            continue
        first, second = int(match["first"]), int(match["second"])
        day_first = match["mark"] == "." or first > 12 or order is DayOrder.DAY_FIRST
        month_first = second > 12 or order is DayOrder.MONTH_FIRST
        if not day_first and not month_first and first != second:
            continue
        months = (second, first) if day_first and second <= 12 else (first, second)
        if day := _date(_full_year(match["year"]), *months):
            yield match.start(), match.end(), day
    for match in _SHORT_YEAR.finditer(text):
        month = _MONTH_NUMBERS[match["month"].casefold()]
        if day := _date(_full_year(match["year"]), month, int(match["day"])):
            yield match.start(), match.end(), day


def _full_year(digits: str) -> int:
    year = int(digits)
    if len(digits) == 4:
        return year
    return year + (2000 if year < _SHORT_YEARS_OF_2000 else 1900)


def _east_asian(text: str) -> Iterator[PlacedDate]:
    for match in _CJK.finditer(text):
        year, month, day = (_han_number(match[name]) for name in ("year", "month", "day"))
        if year is None or month is None or day is None:
            continue
        found = _date(year + _ERAS.get(match["era"] or "", 0), month, day)
        if found and found.year >= 1000:
            yield match.start(), match.end(), found


def _han_number(digits: str) -> int | None:
    if digits == "元":
        return 1
    return int(digits) if digits.isdecimal() else value_of_han(digits)


def _date(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None
