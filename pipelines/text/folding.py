"""Folds text to the characters that must be equal in a quote, and maps them back to offsets.

Each character is folded on its own: compatibility forms and case are unified; white space, format
and control characters, quotation marks, hyphens, dashes, light punctuation and glyphs without a
meaning are dropped: they do not count. Letters, accents, digits and symbols count. Characters that
are dropped here can still decide whether two passages state the same facts (see facts.py).

A text has two forms: `bare` has only the characters that count, `plain` also blanks, case and
punctuation.
"""

from __future__ import annotations

import unicodedata
from array import array
from bisect import bisect_right

_BLOCK_CHARACTERS = 256
_SINGLE_QUOTES = "'`´‘’‚‛′‵ʹʻʼˈ׳＇‹›"
_DOUBLE_QUOTES = '"“”„‟″‶ʺ״＂«»「」『』﹁﹂﹃﹄｢｣〝〞〟'
# punctuation of Unicode that is part of what a text says: 5 % is not 5
_MEANINGFUL_PUNCTUATION = frozenset("%‰‱٪&@#§/\\")
# symbols of Unicode that say nothing: column rules, replacement characters, trademarks
_MEANINGLESS_SYMBOLS = frozenset("|¦\ufffd\ufffc®©™℠")
# joiners, fillers, stretched Arabic letters and selectors of glyphs
_INVISIBLE = frozenset("\u034f\u0640\u115f\u1160\u3164\uffa0\u180b\u180c\u180d")
# ² is not 2, ½ is not 1/2, and ① is not 1
_KEPT_FORMS = ("<super>", "<sub>", "<fraction>", "<circle>")
_LINE = "|"
# minus signs of accounts, and boxes that are ticked or not
_TELLING_DRAWINGS = frozenset("△▲▼▽■□▢▣◼◻")
_LONG_DASHES = "—―⸺⸻"


class _Table(dict[int, str]):
    """A table for `str.translate` that folds a character when it is first looked up."""

    def __missing__(self, code: int) -> str:
        folded = self[code] = _fold(chr(code))
        return folded


class _PlainTable(dict[int, str]):
    """The same for `plain`."""

    def __missing__(self, code: int) -> str:
        plain_form = self[code] = _plain(chr(code))
        return plain_form


def bare(text: str) -> str:
    """Return the bare form of `text`: only the characters that count, with case folded.

    Blanks and most punctuation are dropped; `%`, `&`, `@`, `#` and slashes count. The result may be
    shorter or longer than `text`, since one character can become several.
    """
    folded = text.translate(_BARE)
    # the marks of one letter in their canonical order; everything else is decomposed already
    ordered = unicodedata.normalize("NFD", folded)
    return ordered if len(ordered) == len(folded) else folded


def bare_character(character: str) -> str:
    """Return the bare form of one character: "" if it does not count, else at least one."""
    return _BARE[ord(character)]


def plain(text: str) -> str:
    """Return the plain form of `text`: with its case and punctuation, but one form of each mark.

    Compatibility forms and digits of other scripts are unified, blanks and column rules become
    blanks, dashes "-" or "—" (the minus sign stays), quotation marks ' or ", characters without a
    meaning U+FFFD. Format characters are dropped.
    """
    return text.translate(_PLAIN)


def is_format(character: str) -> bool:
    """Return whether a character is invisible and takes no space, such as a soft hyphen."""
    return unicodedata.category(character) == "Cf" or _is_invisible(character)


class FoldedText:
    """A text in bare form, with a mapping between its positions and the offsets of the text.

    An offset is an index in the given `text`, a position one in `bare`. Memory for the mapping is
    two numbers for each 256 characters of the text.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts = array("q")
        self._positions = array("q")
        self.bare = "".join(self._fold_blocks())

    def _fold_blocks(self) -> list[str]:
        blocks = []
        start = position = 0
        while start < len(self._text):
            end = _block_end(self._text, start)
            self._starts.append(start)
            self._positions.append(position)
            blocks.append(bare(self._text[start:end]))
            position += len(blocks[-1])
            start = end
        return blocks

    def position(self, offset: int) -> int:
        """Return the position of an offset: the length of the bare form of the text before it."""

        if not self._starts:
            return 0
        block = bisect_right(self._starts, offset) - 1
        start = self._starts[block]
        return self._positions[block] + len(self._text[start:offset].translate(_BARE))

    def start(self, position: int) -> int | None:
        """Return the offset of the character whose bare form starts at a position.

        None if the position is inside the bare form of a character that became several.
        """
        offset, begin = self._character(position)
        return offset if begin == position else None

    def end(self, position: int) -> int | None:
        """Return the offset after the character whose bare form ends before a position, from 1.

        None if the position is inside the bare form of a character that became several.
        """
        offset, begin = self._character(position - 1)
        size = len(self._text[offset].translate(_BARE))
        return offset + 1 if begin + size == position else None

    def offset(self, position: int) -> int:
        """Return the offset of the character whose bare form contains `bare[position]`."""
        return self._character(position)[0]

    def _character(self, position: int) -> tuple[int, int]:
        """Return the offset of the character that became `bare[position]`, and where it begins."""
        block = bisect_right(self._positions, position) - 1
        start, begin = self._starts[block], self._positions[block]
        last = self._starts[block + 1] if block + 1 < len(self._starts) else len(self._text)
        low, high = start, last - 1
        while low < high:
            middle = (low + high + 1) // 2
            size = len(self._text[low:middle].translate(_BARE))
            if begin + size <= position:
                low, begin = middle, begin + size
            else:
                high = middle - 1
        return low, begin


def _block_end(text: str, start: int) -> int:
    """Return where a block ends, not between a letter and its marks."""
    end = min(start + _BLOCK_CHARACTERS, len(text))
    while end < len(text) and end < start + 2 * _BLOCK_CHARACTERS:
        if not unicodedata.combining(text[end]):
            break
        end += 1
    return end


def _fold(character: str) -> str:
    if _counts_for_nothing(character):
        return ""
    form = _unified(character)
    if form == character and _keeps_form(character):
        return character
    folded = unicodedata.normalize("NFKD", form.casefold())
    return "".join(part for part in folded if not _counts_for_nothing(part))


def _plain(character: str) -> str:
    if is_format(character):
        return ""
    category = unicodedata.category(character)
    if category[0] == "Z" or category == "Cc" or character == _LINE:
        return " "
    if _is_drawing(character):
        return character if character in _TELLING_DRAWINGS else " "
    if character == "−":
        return character
    if character in _LONG_DASHES:
        return "—"
    if category == "Pd" or character == "⁃":
        return "-"
    if character in _SINGLE_QUOTES:
        return "'"
    if character in _DOUBLE_QUOTES:
        return '"'
    if category in ("Co", "Cn") or (category == "Sk" and character not in "^＾"):
        return "\ufffd"
    return _unified(character)


def _unified(character: str) -> str:
    """Return the compatibility form, with digits of any script as ASCII digits."""
    if _keeps_form(character):
        return character
    decimal = unicodedata.decimal(character, None)
    return str(decimal) if decimal is not None else unicodedata.normalize("NFKD", character)


def _keeps_form(character: str) -> bool:
    return unicodedata.decomposition(character).startswith(_KEPT_FORMS)


def _counts_for_nothing(character: str) -> bool:
    category = unicodedata.category(character)
    if category[0] in "ZC":
        return category != "Cs"
    if category[0] == "P":
        form = unicodedata.normalize("NFKD", character)
        return form not in _MEANINGFUL_PUNCTUATION
    return (
        character in _MEANINGLESS_SYMBOLS
        or character in _SINGLE_QUOTES
        or character in _DOUBLE_QUOTES
        or character == "−"
        or (category == "Sk" and character not in "^＾")
        or _is_drawing(character)
        or _is_invisible(character)
    )


def _is_drawing(character: str) -> bool:
    """Return whether a character is a box, a block or a bullet."""
    return "\u2500" <= character <= "\u25ff"


def _is_invisible(character: str) -> bool:
    return (
        character in _INVISIBLE
        or "\ufe00" <= character <= "\ufe0f"
        or "\U000e0100" <= character <= "\U000e01ef"
    )


_BARE = _Table()
_PLAIN = _PlainTable()
