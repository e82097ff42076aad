"""Decides whether words that a quote leaves out, as in "a ... b", can turn its meaning.

Words between two sentences cannot: the quote then has two parts of their own. Within a sentence,
three kinds of words can: a negation ("shall [not] pay"), a number beside which one of the quote
would be read with other words ("a fee of [100 EUR and a deposit of] 500 EUR"), and another party
in a clause of its own ("the lessor [is paid, and the lessee] pays"). Where it is not clear, words
turn the meaning: the quote is then only similar to the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipelines.text.characters import SENTENCE_END
from pipelines.text.meaning_words import (
    CLAUSE_WORDS,
    JOINED_NEGATION,
    NEGATED_WORD,
    NEGATIONS,
    PARTIES,
    PORTUGUESE,
)
from pipelines.text.numerals import find_numerals

_REACH = 2_000
_MIN_LAST_WORD = 4
_SENTENCE_END = re.compile(SENTENCE_END)
_LAST_WORD = re.compile(r"([^\W\d_]+)[.!?…\"'”’»)\]\s]*$")
_ABBREVIATIONS = "approx arts assn bros corp dept dist excl figs gmbh hrsg incl intl sect secs"
_CLAUSE_MARK = re.compile(r"[,;:،؛，；：、–—।]")  # noqa: RUF001  # marks of other scripts
_DIGIT = re.compile(r"\d")
_BRACKETS = re.compile(r"[(（\[][^()（）\[\]]*[)）\]]")
_ASIDE_MARKS = tuple(",，、–—،")  # noqa: RUF001  # marks of other scripts


def sentence_start(text: str, end: int) -> int:
    """Return where the sentence begins that text[end - 1] belongs to, at most 2,000 characters
    before `end`; a beginning that is not clear is not one."""
    first = max(0, end - _REACH)
    return max(_borders(text, first, end), default=first)


def turns_meaning(text: str, before: tuple[int, int], behind: tuple[int, int]) -> bool:
    """Return whether the words that a quote leaves out between two of its parts turn its meaning.

    `before` and `behind` are the (start, end) of the parts in `text`.
    """
    start, end = before[1], behind[0]
    while start > before[0] and not text[start - 1].isalnum():
        start -= 1
    if end - start > _REACH or any(_borders(text, start, end)):
        return False
    omitted = text[start:end]
    if _negates(omitted):
        return True
    omitted = _BRACKETS.sub(" ", omitted)
    if _has_number(omitted) and not _is_aside(omitted):
        return any(_has_number(text[slice(*part)]) for part in (before, behind))
    return _changes_party(omitted)


def _borders(text: str, start: int, end: int) -> Iterator[int]:
    """Yield the offsets in text[start:end] at which a sentence certainly begins."""
    for match in _SENTENCE_END.finditer(text, start, end):
        if match.end() < end or text[match.end() - 1 : match.end()].isspace():
            word = _LAST_WORD.search(text, max(0, match.start() - 40), match.end())
            if _ends_sentence(match[0], word[1] if word else "", text[match.end() : end][:1]):
                yield match.end()


def _ends_sentence(mark: str, word: str, behind: str) -> bool:
    """Return whether a full stop is no part of an abbreviation or ordinal number."""
    if mark[0] not in ".…":
        return not behind.islower()
    is_word = len(word) >= _MIN_LAST_WORD and word.casefold() not in _ABBREVIATIONS.split()
    return is_word and not behind.islower()


def _negates(words: str) -> bool:
    folded = words.casefold()
    tokens = re.findall(r"[\w\u0900-\u097f'’]+", folded)
    negations = NEGATIONS.intersection(tokens)
    if negations == {"no"} and not PORTUGUESE.isdisjoint(tokens):
        negations = frozenset()
    if negations or JOINED_NEGATION.search(folded):
        return True
    return any(NEGATED_WORD.fullmatch(token) for token in tokens)


def _has_number(words: str) -> bool:
    return bool(_DIGIT.search(words)) or any(True for _ in find_numerals(words))


def _is_aside(words: str) -> bool:
    """Return whether words stand between two commas or dashes, and have none inside."""
    core = words.strip()
    if not (core.startswith(_ASIDE_MARKS) and core.endswith(_ASIDE_MARKS)):
        return False
    return not _CLAUSE_MARK.search(core[1:-1])


def _changes_party(words: str) -> bool:
    """Return whether words have a clause of their own with another party."""
    if not words.strip() or _is_aside(words):
        return False
    tokens = re.findall(r"\w+", words.casefold())
    if not _CLAUSE_MARK.search(words) and CLAUSE_WORDS.isdisjoint(tokens):
        return False
    is_named = any(word[0].isupper() for word in re.findall(r"[^\W\d_]+", words))
    return is_named or PARTIES.search(words) is not None
