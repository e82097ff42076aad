"""Prepares a quote for comparison with passages: its letters, its marks, and what it proves."""

from __future__ import annotations

import re

from pipelines.text.facts import Reading, read
from pipelines.text.folding import bare, bare_character, plain
from pipelines.text.lazy import lazy

_MIN_LETTERS = 4
_MAX_WORD_CHARACTERS = 200
_ONE_DASH = str.maketrans("−—", "--")
_ARTICLES = frozenset(
    (
        *("a", "an", "the", "der", "die", "das", "den", "dem", "des", "ein", "eine", "einen"),
        *("einem", "einer", "eines", "le", "la", "les", "un", "une", "des", "du", "el", "los"),
        *("las", "uno", "una", "unos", "unas", "il", "lo", "gli", "i", "o", "os", "as", "um"),
        *("uma", "de", "het", "een", "en", "ett", "den", "det"),
    )
)
_IDEOGRAPHS_OR_SYLLABLES = re.compile("[\u0e00-\u0fff\u1780-\u17ff\u2e80-\ud7a3\uf900-\ufaff]")


class Quotation:
    """A quote, prepared for comparison with passages. Its outer marks count for nothing."""

    def __init__(self, words: str) -> None:
        self.words = words.strip()
        self.bare = bare(self.words)

    @lazy
    def outer_sizes(self) -> tuple[int, int]:
        """The numbers of characters at the beginning and at the end that count for nothing."""
        size = len(self.words)
        before = next((i for i in range(size) if bare_character(self.words[i])), size)
        behind = next((i for i in range(size) if bare_character(self.words[size - 1 - i])), size)
        return before, behind

    @lazy
    def marks(self) -> tuple[str, str]:
        """The marks before and behind it."""
        before, behind = self.outer_sizes
        return self.words[:before], self.words[len(self.words) - behind :]

    @lazy
    def core(self) -> str:
        before, behind = self.outer_sizes
        return self.words[before : len(self.words) - behind]

    @lazy
    def written(self) -> str:
        """The core in its plain form, with single blanks."""
        return written(self.core)

    @lazy
    def reading(self) -> Reading:
        return read(self.core, self.marks[0])

    def proves_something(self) -> bool:
        """Return whether it is more than a letter, an article or a mark.

        It has a digit, a word of some length, or an abbreviation in capital letters.
        """
        words = self.words[:_MAX_WORD_CHARACTERS]
        if any(map(str.isdigit, words)):
            return True
        letters = [character for character in words if character.isalpha()]
        if any(_IDEOGRAPHS_OR_SYLLABLES.match(letter) for letter in letters):
            return len(letters) > 1
        if "".join(letters).lower() in _ARTICLES:
            return False
        return len(letters) >= _MIN_LETTERS or (len(letters) > 1 and all(map(str.isupper, letters)))


def written(words: str) -> str:
    return " ".join(plain(words).split())


def common_marks(marks: str, text: str) -> int:
    """Return how many characters of `text` have the same marks as the quote, one after another."""
    size = 0
    wanted = "".join(map(_mark, marks))
    for index, character in enumerate(text):
        mark = _mark(character)
        if not wanted or not wanted.startswith(mark):
            break
        if mark:
            wanted, size = wanted[len(mark) :], index + 1
    return size


def _mark(character: str) -> str:
    """Return a mark in its plain form, "" for a blank."""
    return plain(character).strip().translate(_ONE_DASH)
