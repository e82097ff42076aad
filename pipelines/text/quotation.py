"""Prepares a quote for comparison with passages: its words, its outer marks, and what it proves.

The outer marks are the characters at the beginning and the end of a quote that folding drops
(`folding.py`): quotation marks, brackets and other punctuation.
"""

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
    """A quote, prepared for comparison with passages of a document.

    Attributes:
        words: the quote without white space at its ends.
        bare: the quote folded to the characters that must be equal (see `folding.bare`).
    """

    def __init__(self, words: str) -> None:
        self.words = words.strip()
        self.bare = bare(self.words)

    @lazy
    def outer_sizes(self) -> tuple[int, int]:
        """The numbers of outer marks at the beginning and at the end of `words`, in characters."""
        size = len(self.words)
        before = next((i for i in range(size) if bare_character(self.words[i])), size)
        behind = next((i for i in range(size) if bare_character(self.words[size - 1 - i])), size)
        return before, behind

    @lazy
    def marks(self) -> tuple[str, str]:
        """The outer marks: the part of `words` before `core`, and the part after it."""
        before, behind = self.outer_sizes
        return self.words[:before], self.words[len(self.words) - behind :]

    @lazy
    def core(self) -> str:
        """The part of `words` without the outer marks."""
        before, behind = self.outer_sizes
        return self.words[before : len(self.words) - behind]

    @lazy
    def written(self) -> str:
        """The core as `written` returns it: in plain form, with single blanks."""
        return written(self.core)

    @lazy
    def reading(self) -> Reading:
        """The core, taken apart for the comparison of numbers, signs and units."""
        return read(self.core, self.marks[0])

    def proves_something(self) -> bool:
        """Return whether an occurrence of the quote is evidence, rather than a coincidence.

        It is if the quote has a digit, at least 4 letters, 2 or more letters that are all capital,
        or 2 letters of a script such as Chinese, Korean or Thai, and is not just an article. Only
        the first 200 characters are looked at.
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
    """Return `words` in plain form (see `folding.plain`), with single blanks and none at the ends.

    Passages that are equal in this form differ only in white space and the shape of marks.
    """
    return " ".join(plain(words).split())


def common_marks(marks: str, text: str) -> int:
    """Return the length of the beginning of `text` that repeats the marks `marks`, in order.

    `marks` are the outer marks of a quote, and `text` what follows a passage. Blanks are ignored in
    both. It ends after the last mark that is the same, and is 0 if the first one differs. For the
    marks before a passage, both are passed in reverse.
    """
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
