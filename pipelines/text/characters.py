"""Borders of characters, words and lines in any script.

A character is what a reader sees as one: a letter with its marks, an emoji of several code points,
CR LF. Chinese, Japanese, Thai, Lao, Khmer and Burmese are written without blanks between words.
Does not know tokens or chunks.
"""

from __future__ import annotations

import re
import unicodedata

LINE_BREAK = r"(?>\r\n?|[\n\x0b\x0c\x85\u2028\u2029])"
"""Pattern of one line break: LF, CR LF, CR, form feed, and the line breaks of Unicode."""
IN_LINE = r"[^\n\r\x0b\x0c\x85\u2028\u2029]"
"""Pattern of one code point that is no part of a line break."""
SENTENCE_END = r"(?:[.!?…][\"'”’»)\]]*\s+|[。！？｡．][」』”’）》〉】]*\s*|[।॥؟۔។៕။።։]\s*)"  # noqa: RUF001  # full stops of other scripts
"""Pattern of the end of a sentence, with the white space after it."""
_LINE_BREAK = re.compile(LINE_BREAK)
# after a sentence, a clause or a blank, in a script without blanks between words
_PAUSE = re.compile(r"[。！？｡．、，；：」』）》】][」』”’）》〉】]*\s*|\s+")  # noqa: RUF001
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u303f\u3040-\u30ff\u3100-\u312f\u31a0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uff60\uff66-\uff9f\U00020000-\U0003fffd]"
)
_JOINER = "\u200d"
# Code points that continue a character although they are no marks: the joiner itself, emoji
# modifiers and tags, medial and final Hangul letters, and two Thai and Lao vowels.
_CONTINUES = re.compile(
    "[\u200c\u200d\u0e33\u0eb3\u1160-\u11ff\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]"
)
# Vowels that are written before the consonant that they follow in speech.
_PRECEDES = re.compile("[\u0e40-\u0e44\u0ec0-\u0ec4]")
_FLAG = re.compile("[\U0001f1e6-\U0001f1ff]")
# A longer sequence of marks may be cut.
_MAX_CODE_POINTS = 64


def is_unspaced(text: str, offset: int) -> bool:
    """Return whether the character before or at `offset` is of a script without blanks.

    Such scripts, for example Chinese, have no blanks between words. Offsets are in characters of
    `text`, from 0 to its length.
    """
    return bool(_UNSPACED.search(text, max(0, offset - 1), offset + 1))


def character_start(text: str, offset: int) -> int:
    """Return the last offset, at most `offset`, that is not inside a character of `text`.

    A character is one as a reader sees it, of up to 64 code points; within a longer one, the result
    is `offset` itself.
    """
    for border in range(offset, max(-1, offset - _MAX_CODE_POINTS), -1):
        if _is_border(text, border):
            return border
    return offset


def character_end(text: str, offset: int) -> int:
    """Return the first offset, at least `offset`, that is not inside a character of `text`.

    A character is one as a reader sees it, of up to 64 code points; within a longer one, the result
    is `offset` itself.
    """
    for border in range(offset, min(len(text) + 1, offset + _MAX_CODE_POINTS)):
        if _is_border(text, border):
            return border
    return offset


def pause_after(text: str, start: int, end: int) -> int | None:
    """Return the offset after the first pause in text[start:end]; None if there is none.

    A pause is the end of a sentence or clause in a script without blanks, or white space.
    """
    match = _PAUSE.search(text, start, end)
    return match.end() if match else None


def pause_before(text: str, start: int, end: int) -> int | None:
    """Return the offset after the last pause (see `pause_after`) in text[start:end], or None."""
    ends = [match.end() for match in _PAUSE.finditer(text, start, end)]
    return ends[-1] if ends else None


def first_line(text: str) -> str:
    """Return the text before its first line break; the whole text if it has none."""
    return _LINE_BREAK.split(text, maxsplit=1)[0]


def _is_border(text: str, offset: int) -> bool:
    if not 0 < offset < len(text):
        return True
    before, after = text[offset - 1], text[offset]
    if after.isascii():
        return not (before == "\r" and after == "\n")
    if unicodedata.category(after)[0] == "M" or _CONTINUES.match(after):
        return False
    if before == _JOINER or _PRECEDES.match(before):
        return False
    return not (_FLAG.match(after) and _flags_before(text, offset) % 2)


def _flags_before(text: str, offset: int) -> int:
    """Return the number of letters of flags right before `offset`: each flag has two."""
    count = 0
    while count < _MAX_CODE_POINTS and offset > count and _FLAG.match(text[offset - count - 1]):
        count += 1
    return count
