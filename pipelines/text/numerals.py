"""Finds numbers written in words: in English, small ones in other languages, and in Chinese."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_ENGLISH_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
_ENGLISH_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_SCALES = {
    "hundred": 100,
    "thousand": 1000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
# From one upwards; a word that also means something else ("un", "neuf") counts only in a quote.
_OTHER_LANGUAGES = (
    "eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf",
    "une deux trois quatre cinq six sept huit neuf dix onze douze",
    "uno dos tres cuatro cinco seis siete ocho nueve diez once doce",
    "un due tre quattro cinque sei sette otto nove dieci undici dodici",
    "um dois três quatro cinco seis sete oito nove dez onze doze",
    "een twee drie vier vijf zes zeven acht negen tien elf twaalf",
    "ett två tre fyra fem sex sju åtta nio tio elva tolv",
)
_OTHER_TENS = {
    "zwanzig": 20,
    "dreißig": 30,
    "sechzig": 60,
    "neunzig": 90,
    "vingt": 20,
    "trente": 30,
    "soixante": 60,
    "veinte": 20,
    "treinta": 30,
    "sesenta": 60,
    "noventa": 90,
    "trinta": 30,
    "trenta": 30,
    "dertig": 30,
    "trettio": 30,
}
_ENGLISH = {
    **{word: number for number, word in enumerate(_ENGLISH_UNITS.split())},
    **{word: 10 * number for number, word in enumerate(_ENGLISH_TENS.split(), 2)},
}
_FOREIGN = {
    **_OTHER_TENS,
    **{
        word: number
        for words in reversed(_OTHER_LANGUAGES)
        for number, word in enumerate(words.split(), 1)
    },
}
# These are English words too, or have different meanings in two of the languages.
for _word in ("six", "sex", "once", "sept", "elf", "sei", "tre", "um", "un", "on"):
    _FOREIGN.pop(_word, None)
_FOREIGN = {word: number for word, number in _FOREIGN.items() if word not in _ENGLISH}


def _any_of(words: Iterable[str]) -> str:
    """Return the pattern of words, grouped by their first letters, the longest first.

    It is compared at every word of a document: an alternation of all of them takes five times as
    long.
    """
    rests: dict[str, list[str]] = {}
    for word in sorted(words, key=len, reverse=True):
        rests.setdefault(word[0], []).append(word[1:])
    groups = "|".join(f"{letter}(?:{'|'.join(of)})" for letter, of in rests.items())
    return f"(?=[{''.join(rests)}])\\b(?:{groups})\\b"


_ENGLISH_WORD = _any_of([*_ENGLISH, *_SCALES])
_ANY_WORD = _any_of([*_ENGLISH, *_SCALES, *_FOREIGN])
_WORDS = re.compile(
    rf"{_ANY_WORD}(?:(?:[-‐‑\s]{{1,3}}(?:and\s+)?){_ENGLISH_WORD})*+"
    # three-quarters is not three
    r"(?![-‐‑\s](?:hal(?:f|ves)|thirds?|quarters?|(?:fif|six|seven|eigh|nin|ten)ths?|drittel|viertel)\b)",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]+")
_HAN_DIGITS = {
    **{digit: number for number, digit in enumerate("零一二三四五六七八九")},
    "〇": 0,
    "两": 2,
    "兩": 2,
    **{digit: number for number, digit in enumerate("壹贰叁肆伍陆柒捌玖", 1)},
}
_HAN_SCALES = {"十": 10, "拾": 10, "百": 100, "佰": 100, "千": 1000, "仟": 1000}
_HAN_GROUPS = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_MAX_HAN_CHARACTERS = 40
_HAN = re.compile(f"[{''.join([*_HAN_DIGITS, *_HAN_SCALES, *_HAN_GROUPS])}]+")

Numeral = tuple[int, int, int]
"""Start and end of a number written in words, in characters of the text, and its value."""


def find_numerals(text: str) -> Iterator[Numeral]:
    """Yield the numbers written in words in a text: all in letters, then all in Chinese characters.

    Each of the two groups is in text order. Words without a clear value, such as "two three", are
    left out.
    """
    for match in _WORDS.finditer(text):
        value = _value_of_words([word.casefold() for word in _WORD.findall(match[0])])
        if value is not None:
            yield match.start(), match.end(), value
    if not text.isascii():
        for match in _HAN.finditer(text):
            value = value_of_han(match[0])
            if value is not None:
                yield match.start(), match.end(), value


def _value_of_words(words: list[str]) -> int | None:
    """Return the value of English words, or of one word of another language; None if unclear."""
    if words[0] in _FOREIGN:
        return _FOREIGN[words[0]] if len(words) == 1 else None
    total, group, last = 0, 0, None
    for word in words:
        if word == "and":
            continue
        if word in _SCALES:
            if last is None:
                return None
            scale = _SCALES[word]
            if scale == 100:
                if last in _SCALES:
                    return None
                group *= 100
            else:
                total, group = total + group * scale, 0
            last = word
            continue
        number = _ENGLISH[word]
        # "nineteen ninety" is a year, "two three" are two numbers
        if last is not None and last not in _SCALES and not (_ENGLISH[last] >= 20 > 10 > number):
            return None
        group, last = group + number, word
    return total + group


def value_of_han(numeral: str) -> int | None:
    """Return the value of a Chinese numeral, such as 12 for `十二` and 2024 for `二〇二四`.

    `numeral` consists of one or more Chinese characters for digits, powers of ten or zero. Returns
    None if they are no number in this order, or more than 40.
    """
    if len(numeral) > _MAX_HAN_CHARACTERS:
        return None
    if all(character in _HAN_DIGITS for character in numeral):
        return int("".join(str(_HAN_DIGITS[character]) for character in numeral))
    total, group, digit = 0, 0, None
    for character in numeral:
        if character in _HAN_DIGITS:
            if digit:
                return None
            digit = _HAN_DIGITS[character]
        elif character in _HAN_SCALES:
            group += (1 if digit is None else digit) * _HAN_SCALES[character]
            digit = None
        else:
            group += digit or 0
            if not group:
                return None
            total, group, digit = total + group * _HAN_GROUPS[character], 0, None
    return total + group + (digit or 0)
