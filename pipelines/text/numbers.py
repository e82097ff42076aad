"""Computes the value of a number in a text from its separators, sign, scale and per cent sign.

A number can have several possible values: `4.1%` is 4.1 and 0.041, `$72,500 thousand` is 72500 and
72500000. It has no value if the text leaves it open, such as `1.234` in a document without another
number or a known language, or `(12)` in a table. Knows one number and its surroundings only.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal

from pipelines.text.scales import read_scale
from pipelines.text.separators import Separators
from pipelines.text.signs import CURRENCY, is_part, is_year, sign_of

NO_VALUES: frozenset[Decimal] = frozenset()
"""The values of a number whose value is not certain."""
TOKEN = re.compile(
    r"\d+(?:[.,'’٫٬·]\d+|[\u2009\u202f]\d{3}(?!\d))*"
    r"|(?<![\w.,)])\.\d+"
)
"""Pattern of a number in digits as printed, without sign, currency or blanks inside."""
SPACED_TOKEN = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:[ \u00a0]\d{3}){1,9}(?:[.,]\d+)?(?![.,]?\d)")
"""Pattern of a number whose thousands are separated by blanks, or of several adjacent numbers."""

_CURRENCY_BEFORE = re.compile(rf"{CURRENCY}[ \u00a0]?\(?$", re.IGNORECASE)
_CURRENCY_AFTER = re.compile(rf"[ \u00a0]?{CURRENCY}|[元円원]", re.IGNORECASE)
_WORDS_AFTER = re.compile(r"[^\W\d_]{2,}")
_LINE_CHARACTERS = 160
_AROUND = 40
_SENTENCE_GOES_ON = re.compile(r"[)]?(?:[.;:,]\s|[ ]?\n[ ]?[a-z])")
_PER_UNIT = re.compile(r"\bper\b|\bpro\s+Aktie|\bpar\s+action|\bpor\s+acción|每股", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a text, with its possible values.

    Attributes:
        start: the offset of its first digit or decimal point in the text, in characters.
        end: the offset after its last digit.
        values: the values that it can mean, sign and scale included; empty if none is certain.
        scalable: whether a statement such as "in thousands" can apply to it, because it is in a
            table and has no scale of its own.
    """

    start: int
    end: int
    values: frozenset[Decimal]
    scalable: bool = False


def read_number(text: str, start: int, end: int, separators: Separators) -> Number:
    """Return the number that is printed as text[start:end], with its possible values.

    The span is a match of TOKEN or SPACED_TOKEN. The sign, the scale and whether the digits are a
    number at all, rather than a part of a date or a code, are decided by 40 characters on each side
    and the line around them. `separators` is the meaning of point and comma in the document.
    """
    before, after = text[max(0, start - _AROUND) : start], text[end : end + _AROUND]
    money = bool(_CURRENCY_BEFORE.search(before) or _CURRENCY_AFTER.match(after))
    magnitude = _magnitude(text[start:end], separators, money)
    if magnitude is None or is_part(before, after, text[start:end]):
        return Number(start, end, NO_VALUES)
    row = _in_row(text, end)
    sign = sign_of(before, after, text[start:end], money, row)
    if sign is None:
        return Number(start, end, NO_VALUES)
    signed = magnitude if sign > 0 else magnitude.copy_negate()
    powers = read_scale(after, money).powers
    scalable = (
        powers == (0,) and row and not is_year(text[start:end]) and _is_cell(text, start, end)
    )
    return Number(start, end, frozenset(scaled(signed, power) for power in powers), scalable)


def read_amount(
    text: str, start: int, end: int, separators: Separators
) -> tuple[int, Decimal] | None:
    """Return the end of the number text[start:end] with its scale, and the one value that is meant.

    The end is the offset after the scale's last character. The value of `$72.5 million` is
    72500000, and that of `4.1%` is 0.041. Returns None if the number has no certain value. The
    arguments are those of `read_number`.
    """
    number = read_number(text, start, end, separators)
    if not number.values:
        return None
    before, after = text[max(0, start - _AROUND) : start], text[end : end + _AROUND]
    money = bool(_CURRENCY_BEFORE.search(before) or _CURRENCY_AFTER.match(after))
    scale = read_scale(after, money)
    value = (min if scale.powers[-1] < 0 else max)(number.values, key=abs)
    return end + scale.length, value


def digits_key(token: str) -> str:
    """Return the significant digits of a number as printed: its digits without outer zeros.

    Separators, sign and scale do not change them, so they serve as key of an index. "0" if all
    digits are zeros or there are none.
    """
    return "".join(filter(str.isdecimal, token)).strip("0") or "0"


def value_key(value: Decimal) -> str:
    """Return the `digits_key` that every way to print `value` in digits has."""
    return "".join(map(str, value.as_tuple().digits)).strip("0") or "0"


def is_telling(value: Decimal) -> bool:
    """Return whether a number is so specific that it rarely occurs in a text by chance.

    It is if it has 4 or more significant digits (without outer zeros), or 3 and an absolute value
    of at least 1000.
    """
    significant = len(value_key(value))
    return significant >= 4 or (significant == 3 and abs(value) >= 1000)


def ascii_digits(text: str) -> str:
    """Return `text` with the digits of all scripts as ASCII digits, in the same length.

    The full-width forms of `(`, `)`, `%`, `-`, `.` and the yen sign are replaced by the usual ones.
    """
    if text.isascii():
        return text
    odd = {c for c in set(text) if not c.isascii() and (c.isdecimal() or c in "（）％－．￥")}
    return text.translate({ord(c): unicodedata.normalize("NFKC", str(_digit(c))) for c in odd})


def _digit(character: str) -> str:
    return str(unicodedata.decimal(character)) if character.isdecimal() else character


def _magnitude(token: str, separators: Separators, money: bool) -> Decimal | None:
    """Return the absolute value of a number as printed; None if it is unclear or not a number."""
    signs, groups = re.findall(r"\D", token), re.split(r"\D", token)
    if not signs:
        return None if token.startswith("0") and len(token) > 1 else Decimal(token)
    if _all_thousands(signs, groups, separators, money):
        return Decimal("".join(groups)) if _grouped(groups, signs[0]) else None
    thousands, last = signs[:-1], signs[-1]
    if last not in ".,٫·" or last in thousands or len(set(thousands)) > 1:
        return None
    if thousands and not _grouped(groups[:-1], thousands[0]):
        return None
    if not thousands and _ambiguous(groups, last, separators):
        return None
    return Decimal(f"{''.join(groups[:-1]) or '0'}.{groups[-1]}")


def _all_thousands(
    signs: list[str], groups: list[str], separators: Separators, money: bool
) -> bool:
    """Return whether every sign of a number separates thousands."""
    if len(set(signs)) > 1:
        return False
    sign = signs[0]
    if sign in " \u00a0":
        return separators is Separators.COMMA or money
    if sign in "'’٬\u2009\u202f" or len(signs) > 1:
        return True
    if sign not in ".," or not _grouped(groups, sign):
        return False
    return separators is (Separators.POINT if sign == "," else Separators.COMMA)


def _ambiguous(groups: list[str], sign: str, separators: Separators) -> bool:
    """Return whether a sign before the last three digits might separate thousands."""
    if sign not in ".," or not _grouped(groups, sign):
        return False
    return separators is not (Separators.POINT if sign == "." else Separators.COMMA)


def _grouped(groups: list[str], thousands: str) -> bool:
    """Return whether digits are grouped as thousands are, or as lakhs and crores with a comma."""
    first, rest = groups[0], groups[1:]
    if not 1 <= len(first) <= 3 or first.startswith("0"):
        return False
    if all(len(group) == 3 for group in rest):
        return True
    indian = len(rest) > 1 and thousands == "," and len(first) <= 2 and len(rest[-1]) == 3
    return indian and all(len(group) == 2 for group in rest[:-1])


def _in_row(text: str, end: int) -> bool:
    """Return whether no words follow in the line, as in the row of a table."""
    line_end = text.find("\n", end, end + _LINE_CHARACTERS)
    if line_end < 0:
        if len(text) - end > _LINE_CHARACTERS:
            return False
        line_end = len(text)
    return not _WORDS_AFTER.search(text, end, line_end)


def _is_cell(text: str, start: int, end: int) -> bool:
    """Return whether a number at the end of a line is one of a table, not of a sentence."""
    line = text[max(0, text.rfind("\n", max(0, start - _LINE_CHARACTERS), start)) : start]
    return not (_SENTENCE_GOES_ON.match(text, end) or _PER_UNIT.search(line))


def scaled(value: Decimal, power: int) -> Decimal:
    """Return `value` times 10 to the `power`, exactly: no digit is rounded away."""
    if not power:
        return value
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    return Decimal((sign, digits, exponent + power))
