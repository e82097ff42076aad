"""Decides from the text around digits which sign they have, and whether they are a number.

Parentheses and dashes are a minus in accounts and something else in sentences. If the text leaves
it open, the number has no sign, and so no certain value.
"""

from __future__ import annotations

import re

# Pattern of the sign, code or name of a currency.
CURRENCY = (
    r"(?:[$€£¥₹₩₽₺₴₫฿¢￥]|US\$|\b(?:USD|EUR|GBP|CHF|JPY|CNY|RMB|INR|CAD|AUD|"
    r"SEK|NOK|DKK|PLN|CZK|BRL|"
    r"MXN|KRW|RUB|HKD|SGD|Rs\.?|kr\.?|zł|Kč|Fr\.?|dollars?|euros?|pounds?)(?![^\W\d_]))"
)
_CURRENCY_AT_END = re.compile(rf"{CURRENCY}[ \u00a0]?\(?$", re.IGNORECASE)
_LETTER_BEFORE = re.compile(r"[A-Za-z\u00c0-\u024f\u0370-\u052f_]$")
_LETTER_OF_YEAR = re.compile(r"\b(?:FY|CY|Q[1-4]|H[12]|SS|WS)$")
_MINUS = "-−–－﹣"
_TRIANGLES = "△▲"
_MINUS_WORD = re.compile(r"(?:\b(?:minus|negative|минус|ناقص)|マイナス|負)\s?$", re.IGNORECASE)
_UNCLEAR_MINUS_WORD = re.compile(
    r"(?<!\bau )(?<!\bdu )(?<!\ble )(?<!\bal )(?<!\blo )\b(?:moins|menos|meno)\s$", re.IGNORECASE
)
# a part of a larger number: 1亿 2345万, 2 млн 345 тыс, 1,234½, 1.2e5
_SCALES = (
    r"(?:[万萬亿億兆억만조]|"
    r"(?:millions?|billions?|thousand|crores?|lakhs?|mio|mln|mrd|млн|млрд|тыс)\b\.?)"
)
_AFTER_SCALE = re.compile(rf"\d\s?{_SCALES}[ ]?(?:and )?$", re.IGNORECASE)
_GOES_ON = re.compile(
    rf"\s?{_SCALES} ?(?:and )?\d[\d.,]*\s?(?:{_SCALES}|[千百천백])|[¼-¾⅐-⅞]|[ ]\d/\d|[eE][+-]?\d"
    r"|\s?[\u00d7x*]\s?10(?:\^|[⁰-⁹⁻]|\*\*)|_\w|[A-Za-z]+\d(?<![A-Za-z][23])",
    re.IGNORECASE,
)
_SCALE_OR_CURRENCY = re.compile(
    rf"(?:{CURRENCY}|thousand|million|billion|mln|mio|mrd|bn|[kKmMbB]|percent|pct|bps?)",
    re.IGNORECASE,
)
# The sentence has a gap without the number: it is no remark in parentheses.
_NEEDS_NUMBER = re.compile(
    r"\b(?:was|were|is|are|be|of|to|by|from|at|totall?ed|war|ist|beträgt|betrug|von|est|de|es|fue)$",
    re.IGNORECASE,
)
_FORMAT_AND_DIGIT = re.compile(r"[\u00ad\u200b-\u200d\u2060\ufeff]")


def is_part(before: str, after: str, token: str) -> bool:
    """Return whether digits are only a part of a date, a time, a code or another longer number.

    `token` are the digits as printed, `before` and `after` the text around them, some 40 characters
    each. Digits like those of a year (see `is_year`) are not rejected as a part of a date.
    """
    if _AFTER_SCALE.search(before) or _GOES_ON.match(after) or _has_invisible(before, after):
        return True
    if is_year(token):
        return _is_part_of_code(before)
    if _LETTER_BEFORE.search(before) and not _CURRENCY_AT_END.search(before):
        return True
    if re.search(r"\d[/:.,]$|[A-Za-z]/$", before) or re.match(r"[/:]\d", after):
        return True
    hyphens = len(re.findall(r"\d[-–](?=\d)", before[-8:] + token + after[:8]))
    return hyphens > 1 or bool(re.search(r"[^\W\d_][-–]$", before))


def _has_invisible(before: str, after: str) -> bool:
    """Return whether only an invisible character parts the digits from others."""
    left, right = before[-2:], after[:2]
    return bool(
        (left[:1].isdecimal() and _FORMAT_AND_DIGIT.match(left[1:]))
        or (right[1:].isdecimal() and _FORMAT_AND_DIGIT.match(right))
    )


def _is_part_of_code(before: str) -> bool:
    """Return whether digits like those of a year belong to a code or a telephone number."""
    if _LETTER_BEFORE.search(before):
        return not (_LETTER_OF_YEAR.search(before) or _CURRENCY_AT_END.search(before))
    return bool(re.search(r"(?<!\d)(?:\d{3}|\d{5,})[-.]$|[A-Za-z]/$", before))


def is_year(token: str) -> bool:
    """Return whether a number as printed looks like a year: 4 digits, from 1500 to 2199."""
    return len(token) == 4 and token.isdecimal() and "1500" <= token < "2200"


def sign_of(before: str, after: str, token: str, money: bool, row: bool) -> int | None:
    """Return the sign of a number, 1 or -1; None if the text leaves it open.

    `token` are the digits as printed, `before` and `after` the text around them, some 40 characters
    each. `money` is whether the number has a currency, and `row` whether no words follow in its
    line, as in the row of a table.
    """
    stripped = re.sub(rf"(?:{CURRENCY})[ \u00a0]?$", "", before, flags=re.IGNORECASE)
    closes = re.match(r"[ \u00a0]?(?:[%％]|(?P<word>[A-Za-z]{0,8})[ ]?)?\s{0,3}[)]", after)
    opened = re.search(r"[(]\s{0,3}$", stripped)
    if opened and not closes and row and ")" not in after:
        return None
    if closes and opened:
        if closes["word"] and not _SCALE_OR_CURRENCY.fullmatch(closes["word"]):
            return 1
        stripped = stripped[: opened.end()].rstrip()
        return _sign_in_parentheses(stripped, after[closes.end() :], token, money, row)
    if _MINUS_WORD.search(stripped):
        return -1
    if _UNCLEAR_MINUS_WORD.search(stripped):
        return None
    mark = stripped[-1:]
    if mark == "—" and not stripped[-2:-1].isalnum() and stripped[:-1].strip():
        return None
    if mark and mark in _TRIANGLES:
        return -1
    if mark and mark in _MINUS:
        return _sign_after_minus(stripped[:-1])
    if re.search(rf"[{_MINUS}] $", stripped):
        return 1 if re.search(r"\d[ ]?.[ ]$", stripped) else None
    trailing = re.match(rf"[{_MINUS}](?![\w({_MINUS}])", after)
    return None if trailing else 1


def _sign_after_minus(before: str) -> int | None:
    """Return the sign of a number behind a minus: a range or a code has a plus."""
    if re.search(rf"[\d%)]$|[^\W\d_]$|\d ?{CURRENCY}$", before):
        return 1
    # two hyphens are a dash
    return None if before.endswith(tuple(_MINUS)) else -1


def _sign_in_parentheses(before: str, after: str, token: str, money: bool, row: bool) -> int | None:
    """Return the sign of a number alone in parentheses, which are a minus in accounts."""
    words = before[:-1].rstrip()
    if re.search(r"[$€£¥₹]$", words):
        return -1
    if _ends_in_numeral(words):
        return 1
    prose = bool(re.search(r"[^\W\d_]$", words) and re.match(r"[,;.]|[ ]?[a-z]", after))
    if re.search(r"\D", token) or money:
        return None if prose and (money or not _NEEDS_NUMBER.search(words)) else -1
    if row and re.search(r"\d[)%]?\s*[$€£]?$", words):
        return None if is_year(token) else -1
    return None if row and not is_year(token) else 1


def _ends_in_numeral(words: str) -> bool:
    tail = re.search(r"([^\W\d_]+)(?:\s+(?:dollars?|euros?|pounds?|percent|per cent))?$", words)
    return bool(tail) and bool(
        re.fullmatch(
            r"(?:.*-)?(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|"
            r"(?:thir|four|fif|six|seven|eigh|nine)teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty|"
            r"hundred|thousand|million|billion|dollars?|percent)",
            tail[1],  # type: ignore[index]
            re.IGNORECASE,
        )
    )


def is_negative_before(text: str, start: int) -> bool:
    """Return whether a word for minus, such as "minus" or "moins", directly precedes text[start:].

    For a number in words at `start`; `sign_of` is for digits.

    Also if that word can mean something else, as "moins" can.
    """
    before = text[max(0, start - 12) : start]
    return bool(_MINUS_WORD.search(before) or _UNCLEAR_MINUS_WORD.search(before))
