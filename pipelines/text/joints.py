"""Compares the joints of a name with those of a passage that has the same words.

A joint is the text between two neighbouring words: blanks, punctuation and symbols. Equal words
alone do not make a name: neither "by Ann. Lee was absent" nor "Ann Roe, Lee Bo" has an
Ann Lee in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipelines.text.edges import ends_whole, signs_behind, starts_whole

Span = tuple[int, int]
"""Start and end of a word in its text, in characters; the end is exclusive."""

_STRICT_WORDS = 3
_BLANK_LINE = re.compile(r"\n\s*\n|\f")
_SYMBOLS = frozenset("+#=<>~^@_*")
_STOPS = frozenset(";:|•·!?。\uff1b：、")
_BEHIND_COMMA = frozenset(("jr", "sr", "ii", "iii", "iv", "phd", "md", "esq", "cpa", "dds", "na"))
_ABBREVIATIONS = frozenset(
    (
        *("dr", "prof", "gen", "gov", "rep", "rev", "capt", "col", "ave", "assoc", "dept", "univ"),
        *("no", "co", "inc"),
    )
)
_VOWELS = re.compile("[aeiouyäöü]", re.IGNORECASE)
_LETTER_BEHIND = re.compile(r"['’][^\W\d_a-z]")
_MAX_SIGNS = 8
_SECOND_FORM = re.compile(r"\.?\s*(?:&|and\b|und\b)\s+Co\b")
_FOLLOWING_WORDS = re.compile(r"(?:[ \n]+(?:&|\(?[^\W\d_a-zß-ÿ])[^\s,;]*){1,4}")


def is_name_at(
    name: str, name_words: Sequence[Span], text: str, words: Sequence[Span], forms: frozenset[str]
) -> bool:
    """Return whether a passage that has the words of a name is an occurrence of that name.

    `name_words` are the words' places in `name`, and `words` the places of the equal words in
    `text`, as many and at least one. `forms` are the legal forms of companies, such as "inc", in
    lower case. Returns False if the passage begins or ends inside a word or number, if a joint has
    other symbols (such as `+`) than that of the name, or if a joint separates two names: by a blank
    line, a semicolon, or a comma that no legal form follows. The separation is only checked in
    names of up to 3 words.
    """
    start, end = words[0][0], words[-1][1]
    if not (starts_whole(text, start) and ends_whole(text, end)):
        return False
    if _LETTER_BEHIND.match(text, end):
        return False
    if not _same_signs(name[name_words[-1][1] :], text[end : end + _MAX_SIGNS]):
        return False
    if _folded(text, words[-1]) in forms and _SECOND_FORM.match(text, end):
        return False
    return all(
        _same_joint(
            name[name_words[index][1] : name_words[index + 1][0]],
            text[words[index][1] : words[index + 1][0]],
            (_folded(text, words[index]), _folded(text, words[index + 1])),
            forms,
            is_strict=len(words) <= _STRICT_WORDS,
        )
        for index in range(len(words) - 1)
    )


def _same_signs(ours: str, theirs: str) -> bool:
    """Return whether the same signs stand behind a word: A- is not A, and C is not C++.

    A dash behind the word in the document only may be a mark of its line or sentence.
    """
    our_signs, their_signs = signs_behind(ours), signs_behind(theirs)
    return our_signs == their_signs or (not our_signs and their_signs == "-")


def goes_on_to_form(text: str, end: int, forms: frozenset[str]) -> bool:
    """Return whether the name in `text` that ends before `end` is part of a longer company name.

    It is if one of the next 1 to 4 words, each with a capital letter or after "&", is a legal form
    in `forms`, as in "Acme Holdings Ltd." with `end` after "Acme".
    """
    following = _FOLLOWING_WORDS.match(text, end)
    words = re.findall(r"[^\W\d_]+", following[0].replace(".", "")) if following else ()
    return any(word.casefold() in forms for word in words)


def _same_joint(
    ours: str, theirs: str, words: tuple[str, str], forms: frozenset[str], *, is_strict: bool
) -> bool:
    if not _same_signs(ours, theirs) or _SYMBOLS.intersection(ours) != _SYMBOLS.intersection(
        theirs
    ):
        return False
    if not is_strict or ours == theirs:
        return True
    marks = set(theirs) - set(ours)
    if _BLANK_LINE.search(theirs) or not marks.isdisjoint(_STOPS):
        return False
    left, right = words
    if "," in marks and not (right in forms or right in _BEHIND_COMMA):
        return False
    return "." not in marks or left in forms or _is_abbreviation(left)


def _is_abbreviation(word: str) -> bool:
    if len(word) == 1 or word in _ABBREVIATIONS:
        return True
    return len(word) <= 4 and not _VOWELS.search(word)


def _folded(text: str, span: Span) -> str:
    return text[slice(*span)].replace(".", "").casefold()
