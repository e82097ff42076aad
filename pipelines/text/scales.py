"""Reads the scale or per cent sign after a number, and statements such as "in thousands".

A scale is a word or sign that multiplies the number before it, such as `million`, `bn` or `%`. A
statement of scale, often above a table, applies to the numbers after it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SCALE_WORDS: dict[int, str] = {
    3: "thousands?|tausend|tsd|mille|milliers|miles|mil|migliaia|duizend|tusen|tusind|tys|тыс|"
    "тысяч",
    6: "millions?|mill?ionen|mio|mill|mln|millones|millón|milioni|milione|milhões|milhão|miljoen|"
    "miljoner|miljoonaa|milj|mn|mln|млн|миллионов|миллиона",
    9: "billions?|milliarden?|mrd|milliards?|miliardi|miljard|miljarder|mld|bn|bln|bil|млрд",
    12: "trillions?|trn|billionen|трлн",
    5: "lakhs?|lacs?",
    7: "crores?|cr",
}
_WORD_SCALE = re.compile(
    "[)]?(?:[ \u00a0-]{0,2}|\\s)(?:"
    + "|".join(f"(?P<p{power}>{words})" for power, words in _SCALE_WORDS.items())
    + r")(?![^\W\d_])",
    re.IGNORECASE,
)
_HAN_POWERS = {
    "十亿": 9, "十億": 9, "百万": 6, "百萬": 6, "千万": 7, "千萬": 7, "亿": 8, "億": 8, "兆": 12,
    "万": 4, "萬": 4, "千": 3, "억": 8, "만": 4, "천": 3, "조": 12, "백만": 6,
}  # fmt: skip
_HAN_SCALE = re.compile("[ \\s]?(" + "|".join(sorted(_HAN_POWERS, key=len, reverse=True)) + ")")
_LETTER_POWERS = {"k": 3, "K": 3, "M": 6, "MM": 6, "m": 6, "B": 9, "b": 9, "T": 12}
_LETTER_SCALE = re.compile(r"[ \u00a0]?(MM|[kKMmBbT])(?![^\W_])")
_PERCENT = re.compile(
    r"\)?\s?(?:[%％٪]|(?:percent|per\s+cent|pct|prozent|pour\s?cent|por\s?cien?to|per\s?cento|"
    r"procent)"
    r"(?![^\W\d_]))",
    re.IGNORECASE,
)
_BASIS_POINTS = re.compile(r"\s?-?(?:basis\s+points?|bps?|Basispunkte)\b", re.IGNORECASE)
_STATEMENT = re.compile(
    r"(?:\(|\b(?:amounts?|dollars|euros|figures|expressed|stated|presented|reported|shown|angaben|"
    r"beträge|montants|importes|importi|valores)\b|[$€£]|\b(?:USD|EUR|GBP|CHF)\b)"
    r"[^.()\n]{0,40}?\b(?:in|en|em|i)\s+(?:[A-Z]{0,3}\s?[$€£¥]\s?)?"
    r"(?:"
    + "|".join(f"(?P<s{power}>{words})" for power, words in _SCALE_WORDS.items())
    + r")(?![^\W\d_])"
    r"|(?P<s30>(?:\bin\s+[$€£]?\s?['’]?|[$€£]\s?['’]?|(?<![\w.,])['’])000s?\b|\bT(?:EUR|€|USD)\b)"
    r"|(?P<h>[单單]位|単位)\s*[:：]?\s*(?:人民[币幣])?(?P<han>百万|百萬|千|万|萬|亿|億|十亿|十億)",
    re.IGNORECASE,
)
_UNSCALED = re.compile(
    r"\(\s*(?:in|amounts?\s+in)\s+(?:whole\s+|actual\s+)?"
    r"(?:U\.?S\.?\s+)?(?:dollars|euros|units|US\$|\$)"
    r"\s*[,)]|[单單]位\s*[:：]?\s*元",
    re.IGNORECASE,
)

Statement = tuple[int, int]
"""The offset at which a statement such as "in thousands" begins, and its power of ten, here 3."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The scale after a number.

    Attributes:
        powers: the powers of ten by which the number can be multiplied; the last one gives the
            value that is meant. `4.1%` is 4.1 and 0.041, so the powers of `%` are (0, -2).
        length: the length of the scale in the text, in characters, with the blank before it; 0 if
            the number has no scale, and then `powers` is (0,).
    """

    powers: tuple[int, ...]
    length: int


_REACH = 24
_NO_SCALE = Scale((0,), 0)


def read_scale(after: str, money: bool) -> Scale:
    """Return the scale at the beginning of `after`, the text directly after a number.

    `money` is whether the number has a currency: then a letter such as "m" after a blank is a
    scale.
    """
    if match := _PERCENT.match(after):
        return Scale((0, -2), match.end())
    if match := _BASIS_POINTS.match(after):
        return Scale((0, -2, -4), match.end())
    if match := _WORD_SCALE.match(after):
        return Scale((0, int((match.lastgroup or "p0")[1:])), match.end())
    if match := _HAN_SCALE.match(after):
        return Scale((0, _HAN_POWERS[match[1]]), match.end())
    letter = _LETTER_SCALE.match(after)
    # "5 m" is a length, "$5 m" an amount
    if letter and (money or (letter.start(1) == 0 and letter[1] in ("k", "K", "M", "MM"))):
        return Scale((0, _LETTER_POWERS[letter[1]]), letter.end())
    return _NO_SCALE


def is_scaled(text: str, end: int) -> bool:
    """Return whether text[end:] begins with a word that multiplies the number before it.

    A capital letter in the next line begins something else.
    """
    behind = text[end : end + _REACH]
    if behind[:1] in ("\n", "\r") and behind[1:2].isupper():
        return False
    return bool(_WORD_SCALE.match(behind) or _HAN_SCALE.match(behind))


def is_percent(text: str, end: int) -> bool:
    """Return whether text[end:] begins with a per cent sign or words for per cent."""
    return bool(_PERCENT.match(text, end))


def find_statements(text: str) -> list[Statement]:
    """Return the statements of scale in a text, in order.

    The power 0 is that of a statement such as "(in dollars)": it ends the effect of the statement
    before it.
    """
    found = [(match.start(), 0) for match in _UNSCALED.finditer(text)]
    for match in _STATEMENT.finditer(text):
        if match["han"]:
            found.append((match.start(), _HAN_POWERS[match["han"]]))
        elif match["s30"]:
            found.append((match.start(), 3))
        else:
            found.append((match.start(), int((match.lastgroup or "s0")[1:])))
    return sorted(found)
