"""Checks that a passage does not begin or end inside a word, a number or a character.

The scripts without blanks that are meant below are those of Chinese, Japanese, Thai and others that
write no blanks between words.
"""

from __future__ import annotations

import re
import unicodedata

from pipelines.text.folding import is_format
from pipelines.text.scales import is_scaled

_HYPHENS = "-‐‑"
# between two digits, they continue a number, a time, a date or a ratio
_NUMBER_JOINTS = ".,:/'’·٫٬．，：／'\u202f\u2009点"
_HAN_NUMERALS = frozenset("〇零一二三四五六七八九十百千万萬亿億兆两兩")
# Scripts without blanks: the beginning of a word cannot be seen.
_WITHOUT_BLANKS = re.compile(
    "[\u0e00-\u0eff\u0f00-\u109f\u1780-\u17ff\u19e0-\u19ff\u2e80-\u312f\u3190-\ua4cf\uf900-\ufaff"
    "\uff66-\uff9f\U0001b000-\U0001b16f\U00020000-\U0003ffff]"
)
_KATAKANA = re.compile("[\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f]")
_HANGUL = re.compile("[\uac00-\ud7a3\u1100-\u11ff]")
# A negation in these scripts is joined to its word without a blank.
_NEGATED_BEFORE = ("不", "未", "非", "无", "無", "没", "沒", "勿", "毋", "否", "ไม่", "มิ")
_NEGATED_BEHIND = re.compile(
    "(?:(?:し|され|でき)(?:て(?:い)?)?|[わらかさたばまいえけげせてべめれりきぎちびみ])?"
    "(?:ない|なかっ|なく|ません|ず(?:に|、|。)|ぬ|ざる)"
)
# Korean particles and forms of the verb "to be", which are joined to a noun.
_PARTICLES = re.compile(
    "(?:들)?(?:은|는|이|가|을|를|의|에|에서|에게|께|와|과|도|로|으로|만|까지|부터|보다|처럼|이나|나|"
    "이며|며|이고|고|이다|다|입니다|이었다|였다|인|이라|라|라고|이라고)"
)
# 12 500: a group of three digits belongs to the digits before it. In a table it may be a cell of
# its own, so that behind a passage the number must go on with its unit.
_GROUP = re.compile(r"[0-9]{3}(?![0-9])")
_DIGITS_BEFORE_GROUP = re.compile(r"(?<![\d.,:/])[0-9]{1,3}[ \xa0]$")
_FIRST_GROUP = re.compile(r"(?<![\d.,:/])[0-9]{1,3}$")
_GROUPS_BEHIND = re.compile(
    r"(?:[ \xa0][0-9]{3}(?![0-9]))+(?:(?<=\xa0[0-9]{3})|,[0-9]+|[ \xa0]?(?:[^\W\d_]|[$€£¥%₽₹]))"
)
_UNIT_BEFORE = re.compile(r"\d\s?[^\W\d_]{1,4}$")
_REACH = 64
# Signs that belong to the word they touch. A dash does only before a blank, an end or punctuation,
# but a double one, or one in $5-$10, does not.
_SIGNS_BEHIND = re.compile(r"""[+#]+(?![\w=$€£¥])|[-‐‑−](?=\s|[,;:!?)\]}"'’”»/|*]|\.(?!\d)|$)""")
_DASHES = "-‐‑–—−"
_NEXT_LINE = re.compile(r"[^\S\r\n\f]*[\r\n\f]")
# <5 is not 5; but an arrow, and > at the beginning of a quoted line, are no comparison
_COMPARISON = re.compile(
    r"(?:[≤≥≦≧≠≮≯±]|(?<![<-])<=?|(?<![-=>])>=?)$"
    r"|(?:[≤≥≦≧≠≮≯]|(?<![<-])<=?|(?:(?<=[\w)\]])|(?<=[\w)\]] ))>=?) $"
)
_TAG_BEFORE = re.compile(r"<[^<>]{1,60}>\s?$")
_REST_OF_RANGE = re.compile(r"\s*[$€£¥]?\d")
# A* is a grade, but a star behind a longer word is a mark of a footnote, and *A* is emphasis.
_GRADE = re.compile(r"(?<!\w)[A-Z]$")
_STAR = re.compile(r"\*(?![\w*])")
_OPENING_STAR = re.compile(r"(?<![\w*])\*\w")


def starts_whole(text: str, start: int) -> bool:
    """Return whether a passage that begins at text[start] does not begin inside a word or number.

    Its first character is a letter, a digit or a symbol. Returns False if the characters before it
    belong to the same word or number: a letter or digit, a separator after a digit (`1.|5`), the
    hyphen of a prefix (`non-|stop`), a comparison (`<|5`), or a negation that is joined to its
    word. In scripts without blanks, letters before it are allowed. True at the start of the text.
    """
    before = _skip_formats(text[max(0, start - _REACH) : start][::-1])
    if not before:
        return True
    first, neighbour = text[start], before[0]
    if _is_mark(first) or _joined(neighbour, first):
        return False
    if _continues_number(before, first, text[start + 1 : start + 2]):
        return False
    if first.isdigit() and _is_compared(before[::-1]):
        return False
    if neighbour == "_" and before[1:2].isalnum() and first.isalnum():
        return False
    if _GROUP.match(text, start) and _DIGITS_BEFORE_GROUP.search(text[max(0, start - 8) : start]):
        return False
    if first.isalpha() and before[::-1].endswith(_NEGATED_BEFORE):
        return False
    return not (first.isalpha() and _ends_in_prefix(before[::-1]))


def _is_compared(before: str) -> bool:
    """Return whether a sign such as < or ≥ stands before a number."""
    return bool(_COMPARISON.search(before)) and not _TAG_BEFORE.search(before)


def ends_whole(text: str, end: int) -> bool:
    """Return whether a passage that ends before text[end] does not end inside a word or number.

    The rules are those of `starts_whole`, for the characters after the passage. In addition,
    exponents, words hyphenated at the end of a line and joined negations continue a word, a scale
    such as `million` continues a number, and Korean particles continue nothing. True at the end of
    the text.
    """
    behind = _skip_formats(text[end : end + _REACH])
    if not behind:
        return True
    last, neighbour = text[end - 1], behind[0]
    if _is_mark(neighbour):
        return not (last.isalnum() or _is_mark(last))
    if _is_raised(neighbour):
        return not (last.isdigit() or _UNIT_BEFORE.search(text[max(0, end - _REACH) : end]))
    if _is_mark(last):
        last = _base(text, end)
    if _joined(last, neighbour) and not _is_particle(last, text[end : end + _REACH]):
        return False
    if _continues_number(behind, last, text[end - 2 : end - 1]):
        return False
    if _is_in_compound(last, behind):
        return False
    if _GROUPS_BEHIND.match(text, end) and _FIRST_GROUP.search(text[max(0, end - 8) : end]):
        return False
    if last.isdigit() and is_scaled(text, end):
        return False
    return not (last.isalpha() and (_goes_on(behind) or _NEGATED_BEHIND.match(behind)))


def signs_behind(marks: str) -> str:
    """Return the signs at the start of `marks` that belong to the word before: + in A+, - in A-.

    `marks` is the text directly behind a word. Returns "" if there are none, and "-" for a dash of
    any shape.
    """
    match = _SIGNS_BEHIND.match(marks)
    if not match:
        return ""
    return "-" if match[0] in _DASHES else match[0]


def same_signs_behind(quote: str, quote_end: int, text: str, end: int) -> bool:
    """Return whether the same signs stand behind the last words of a quote and of a passage.

    The words end before quote[quote_end] and before text[end]. Signs belong to a word: A- is
    not A, and C++ is not C. A dash does not if it ends a line or joins a range.
    """
    dashes = quote[quote_end : quote_end + 1], text[end : end + 1]
    if all(dash and dash in _DASHES for dash in dashes):
        return True
    return _sign_at(quote, quote_end) == _sign_at(text, end)


def _sign_at(text: str, end: int) -> str:
    """Return the signs behind the word that ends before text[end], "" if there are none."""
    word, behind = text[max(0, end - _REACH) : end], text[end : end + _REACH]
    last = word.rstrip("+#")[-1:]
    if not last.isalnum():
        return ""
    if behind[:1] == "*":
        line = word[max(word.rfind("\n"), word.rfind("\r")) + 1 :]
        is_grade = _STAR.match(behind) and _GRADE.search(line)
        return "*" if is_grade and not _OPENING_STAR.search(line) else ""
    signs = signs_behind(behind)
    if signs == "-":
        in_range = last.isdigit() and _REST_OF_RANGE.match(behind, 1)
        return "" if in_range or _NEXT_LINE.match(behind, 1) else signs
    return signs


def _base(text: str, end: int) -> str:
    """Return the letter that the marks before `end` belong to."""
    for character in reversed(text[max(0, end - _REACH) : end]):
        if not _is_mark(character):
            return character
    return text[end - 1]


def _skip_formats(characters: str) -> str:
    for index, character in enumerate(characters):
        if not is_format(character):
            return characters[index:]
    return ""


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "M" and not is_format(character)


def _is_raised(character: str) -> bool:
    return unicodedata.decomposition(character).startswith(("<super>", "<sub>", "<fraction>"))


def _joined(left: str, right: str) -> bool:
    """Return whether two neighbours belong to one word or number."""
    if not (left.isalnum() or _is_mark(left)) or not right.isalnum():
        return False
    if _is_digit(left) and _is_digit(right):
        return True
    if _KATAKANA.match(left) and _KATAKANA.match(right):
        return True
    return not (_WITHOUT_BLANKS.match(left) or _WITHOUT_BLANKS.match(right))


def _is_digit(character: str) -> bool:
    return character.isdigit() or character in _HAN_NUMERALS


def _continues_number(outside: str, edge: str, inside: str) -> bool:
    """Return whether a number goes on outside: 1|.5, 12|,500, and 5.|2 where the mark is inside."""
    if _is_digit(edge):
        return outside[0] in _NUMBER_JOINTS and outside[1:2] != "" and _is_digit(outside[1])
    return edge in _NUMBER_JOINTS and _is_digit(outside[0]) and inside != "" and _is_digit(inside)


def _is_in_compound(last: str, behind: str) -> bool:
    """Return whether a hyphen or underscore joins another word: Lee-|Smith, max_|size."""
    if behind[0] == "_":
        return last.isalnum() and behind[1:2].isalnum()
    return behind[0] in _HYPHENS and last.isalpha() and behind[1:2].isalpha()


def _ends_in_prefix(before: str) -> bool:
    """Return whether the words before end in a hyphen that joins a prefix: non-compliance."""
    stem = before.rstrip()
    if stem != before and "\n" not in before[len(stem) :] and "\r" not in before[len(stem) :]:
        return False
    return stem[-1:] != "" and stem[-1] in _HYPHENS and stem[-2:-1].isalpha()


def _goes_on(behind: str) -> bool:
    """Return whether a word that is hyphenated at the end of a line goes on in the next."""
    if behind[0] not in _HYPHENS:
        return False
    rest = behind[1:].lstrip()
    broken = behind[1 : len(behind) - len(rest)]
    return ("\n" in broken or "\r" in broken) and rest[:1].islower()


def _is_particle(last: str, behind: str) -> bool:
    if not _HANGUL.match(last):
        return False
    word = re.match("[\uac00-\ud7a3]+", behind)
    return word is not None and _PARTICLES.fullmatch(word[0]) is not None
