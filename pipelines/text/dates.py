"""Finds full dates in a text, in the formats and month names of the main languages.

A date in digits, such as `3/4/2023`, is read in the order of day and month that the document tells:
by other dates, or in words. If it does not tell, the date is left out. Knows no documents' spans.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from enum import StrEnum

from pipelines.text.numerals import value_of_han


class DayOrder(StrEnum):
    """The order of a document's dates in digits; UNCLEAR if it does not tell."""

    DAY_FIRST = "day_first"
    MONTH_FIRST = "month_first"
    UNCLEAR = "unclear"


PlacedDate = tuple[int, int, date]
"""Start and end of a date in a text, and the date."""

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
_BETWEEN = r"[\s,.]{0,3}"
_WRITTEN = (
    # 1 March 2024, 1. März 2024, 1 de marzo de 2024, 18th day of April, 2001, 1-Mar-2024
    rf"(?<![\d.,/])(?:{_DAY}|(?P<word>{_DAY_WORD}))(?:\s+day)?(?:\s+of|\s+de|\s+del|\s+di)?"
    rf"(?:\s+the\s+month\s+of)?[\s-]{{0,3}}(?P<month>{_MONTH})\.?(?![^\W\d_])"
    rf"(?:\s+(?:de|del|di|do))?[\s,./-]{{0,3}}(?:in\s+the\s+year\s+(?:of\s+)?)?{_YEAR}(?!\d)",
    # March 1, 2024
    rf"(?<![^\W\d_])(?<!\d-)(?P<month>{_MONTH})\.?[\s-]{{1,3}}(?:the\s+)?"
    rf"(?:{_DAY}|(?P<word>{_DAY_WORD}))"
    rf"(?![\d])[\s,.-]{{1,3}}{_YEAR}(?!\d)",
    # 2024-Mar-01, 2024 March 1
    rf"(?<!\d){_YEAR}[\s,./-]{{1,3}}(?P<month>{_MONTH})\.?[\s,./-]{{1,3}}{_DAY}(?!\d)",
    # 2024-03-01
    rf"(?<![\d./-]){_YEAR}(?P<mark>[-/.])(?P<number>\d{{1,2}})(?P=mark)(?P<day>\d{{1,2}})(?![\d])",
)
_WRITTEN_DATES = tuple(re.compile(pattern, re.IGNORECASE) for pattern in _WRITTEN)
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
_YEAR_NUMBER = re.compile(r"(?<!\d)[12]\d{3}(?!\d)")
_BEFORE_YEAR, _AFTER_YEAR = 60, 16
_DAY_FIRST_WORDS = re.compile(
    r"day\s?[/,.-]\s?month|\bdd\s?[/.-]\s?mm|\bjj\s?[/.-]\s?mm|\btt\.mm", re.IGNORECASE
)
_MONTH_FIRST_WORDS = re.compile(r"month\s?[/,.-]\s?day|\bmm\s?[/.-]\s?dd", re.IGNORECASE)
_MAJORITY = 3
_SHORT_YEARS_OF_2000 = 70


def day_order(text: str) -> DayOrder:
    """Return the order of day and month in a document's dates in digits."""
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
    """Return the full dates in a text, in order. `text` has ASCII digits."""
    placed = {place[:2]: place for place in _written(text)}
    placed |= {place[:2]: place for place in _in_digits(text, order)}
    if "年" in text or "년" in text:
        placed |= {place[:2]: place for place in _east_asian(text)}
    return sorted(placed.values())


def _written(text: str) -> Iterator[PlacedDate]:
    """Yield the dates with a year of four digits around each such number.

    Only a few characters around a year are read: the month names in every place would be slow.
    """
    for year in _YEAR_NUMBER.finditer(text):
        start = max(0, year.start() - _BEFORE_YEAR)
        for pattern in _WRITTEN_DATES:
            for match in pattern.finditer(text, start, year.end() + _AFTER_YEAR):
                if match.start("year") == year.start() and (day := _of_match(match)):
                    yield match.start(), match.end(), day


def _of_match(match: re.Match[str]) -> date | None:
    groups = match.groupdict()
    month = groups.get("number") or _MONTH_NUMBERS[groups["month"].casefold()]
    word = groups.get("word")
    day = _ORDINAL_NUMBERS[word.casefold()] if word else int(groups["day"])
    return _date(int(groups["year"]), int(month), day)


def _in_digits(text: str, order: DayOrder) -> Iterator[PlacedDate]:
    for match in _NUMERIC.finditer(text):
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
