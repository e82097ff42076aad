"""Decides which of point and comma a document uses as decimal separator.

`1.234` is 1234 in a German text and 1.234 in an English one. Numbers that can be read in one way
only, such as `1.234,50`, decide for the whole document; without any, its language does. If neither
decides, such a number has no certain value.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from enum import StrEnum


class Separators(StrEnum):
    """The decimal separator of a document, by which a point or comma before three digits is read.

    POINT: the point precedes decimals, and the comma separates thousands (`1,234` is 1234). COMMA:
    the reverse (`1.234` is 1234). UNCLEAR: the document does not show it, and such numbers have no
    certain value.
    """

    POINT = "point"
    COMMA = "comma"
    UNCLEAR = "unclear"


SAMPLE_CHARACTERS = 300_000
"""Length of the beginning of a document from which its conventions are derived, in characters."""
_LANGUAGE_CHARACTERS = 20_000
_MIN_WORDS = 2
# One number against many may be a misprint, or the number of a section.
_MAJORITY = 3

_GROUPED_THEN_DECIMAL = re.compile(
    r"(?<![\d.,])\d{1,3}(?:([.,' ’\u00a0\u2009\u202f])\d{3}){1,9}([.,])\d{1,9}\b"
)
_GROUPED_TWICE = re.compile(r"(?<![\d.,])\d{1,3}([.,])\d{2,3}(?:\1\d{3}){1,9}(?![\d.,]\d)")
_DECIMAL = re.compile(
    r"(?:(?<=[$€£¥])|(?<=[$€£¥] ))\d+([.,])\d{1,2}(?![\d.,]*\d)"
    r"|(?<![\d.,])\d+([.,])\d{1,2}(?=\s?[%€％])"
)
_AMBIGUOUS_POINT = re.compile(r"(?<![\d.,])[1-9]\d{0,2}\.\d{3}(?![\d.,]*\d)")
_SCRIPTS_WITH_POINT = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]")

_WORDS_WITH_POINT = "the of and for with are was by this which shall"
# From German to Turkish. Spanish is in neither set: Mexico writes a point, Spain a comma.
_WORDS_WITH_COMMA = """
der die das und ist mit von nicht den dem
les des est dans pour une aux avec
il della gli sono che delle nel
dos das não uma com pelo
het een van voor niet zijn
och att som på är till
og af ikke
jest oraz się nie przez dla
které jsou pro není
ja että sekä
и на не по для что
ve bir için ile bu
"""


def separators_of(text: str) -> Separators:
    """Return the decimal separator of a document, derived from the beginning of its `text`.

    In this order, the first that is present decides: numbers with both separators, amounts with
    decimals such as `$ 1.50`, and the language. POINT if none is present and there is no number
    such as `1.234` either.
    """
    sample = text[:SAMPLE_CHARACTERS]
    return (
        _voted(_certain_decimal_signs(sample))
        or _voted(_signs_of_amounts(sample))
        or _of_language(sample)
        or (Separators.UNCLEAR if _AMBIGUOUS_POINT.search(sample) else Separators.POINT)
    )


def _certain_decimal_signs(text: str) -> Iterable[str]:
    for match in _GROUPED_THEN_DECIMAL.finditer(text):
        if match[1] != match[2]:
            yield match[2]
    for match in _GROUPED_TWICE.finditer(text):
        yield "," if match[1] == "." else "."


def _signs_of_amounts(text: str) -> Iterable[str]:
    return (match[1] or match[2] for match in _DECIMAL.finditer(text))


def _voted(decimal_signs: Iterable[str]) -> Separators | None:
    """Return the meaning for which decimal signs vote; None if there are no votes."""
    votes = Counter(decimal_signs)
    return _majority(votes["."], votes[","]) if votes else None


def _majority(point: int, comma: int) -> Separators:
    if point >= _MAJORITY * comma:
        return Separators.POINT
    return Separators.COMMA if comma >= _MAJORITY * point else Separators.UNCLEAR


def _of_language(text: str) -> Separators | None:
    sample = text[:_LANGUAGE_CHARACTERS].casefold()
    if len(_SCRIPTS_WITH_POINT.findall(sample)) * 4 > len(sample):
        return Separators.POINT
    words = Counter(re.findall(r"[^\W\d_]+", sample))
    point = sum(words[word] for word in _WORDS_WITH_POINT.split())
    comma = sum(words[word] for word in set(_WORDS_WITH_COMMA.split()))
    return _majority(point, comma) if max(point, comma) >= _MIN_WORDS else None
