"""Divides text into words in which only letters, digits and meaningful symbols count.

Case, compatibility forms, invisible characters and digits of other scripts are unified as in
`text/folding.py`. Of scripts without blanks between words, such as Chinese or Thai, each letter is
a word of its own. Knows no phrases.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from pipelines.text.characters import is_unspaced
from pipelines.text.folding import bare, bare_character, plain


class _Divided(dict[int, str]):
    """A table for `str.translate` that puts blanks around what is no part of a longer word."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if unicodedata.category(character)[0] in "LMN":
            divided = f" {character} " if is_unspaced(character, 0) else character
        else:
            divided = f" {character} " if bare_character(character) else " "
        self[code] = divided
        return divided


_DIVIDED = _Divided()


def words_of(text: str) -> list[str]:
    """Return the folded words of a text, in order.

    A word is a run of letters, marks and digits, or one symbol that counts, such as % or +. Accents
    count.
    """
    words = plain(text).translate(_DIVIDED).split()
    return [folded for word in words if (folded := bare(word))]


def contains(words: Sequence[str], phrase: Sequence[str]) -> bool:
    """Return whether the words of a phrase stand in `words`, one directly after the other."""
    size = len(phrase)
    return size > 0 and any(
        words[start] == phrase[0] and words[start : start + size] == phrase
        for start in range(len(words) - size + 1)
    )
