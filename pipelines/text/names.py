"""Finds names in a text, regardless of case, commas, full stops and spellings of legal forms.

A word here is a run of letters, a number, or a sign such as `%`. Words are compared in canonical
form: in lower case, without full stops, `&` as "and", and legal forms of companies abbreviated
("Incorporated" as "inc"). Numbers keep their separators and signs, and units after them their
case.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from pipelines.text.joints import goes_on_to_form, is_name_at

_TOKEN = re.compile(
    r"[-−]?\d(?:[\d.,:/'’]*\d)?"
    r"|(?:[^\W\d_]\.){2,}(?:[^\W\d_](?!\w))?"
    r"|[^\W\d_]+|[&%‰$€£¥₹°]"
)
_LEGAL_FORMS = {
    "incorporated": "inc",
    "corporation": "corp",
    "company": "co",
    "limited": "ltd",
    "aktiengesellschaft": "ag",
    "lp": "lp",
    "llp": "llp",
    "llc": "llc",
}
_OTHER_FORMS = "plc gmbh sa sas sarl srl spa nv bv ab as asa oy oyj kg kgaa se pte pty kk"
LEGAL_FORMS = frozenset([*_LEGAL_FORMS.values(), *_OTHER_FORMS.split()])
"""The canonical spellings of legal forms at the end of a name."""
_UNIT_LETTERS = 4
# A text has each of its words many times.
_CACHED_WORDS, _CACHED_LETTERS = 2**14, 32
_BLOCK_OF_PLACES = 4096
_SPACED_SCRIPTS = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


def words_of(text: str) -> list[str]:
    """Return the words of a name or passage in order, in canonical form (see the module)."""
    return [word for _, _, word in _tokens(text)]


def canonical_legal_form(word: str) -> str:
    """Return `word`, or its usual abbreviation if it is a company's legal form written out.

    `word` is in lower case: "incorporated" gives "inc".
    """
    return _LEGAL_FORMS.get(word, word)


def is_name_like(text: str) -> bool:
    """Return whether a text is so specific that it rarely occurs in a document by chance.

    It is if it has two or more words with together at least 4 letters; at least 3 characters of a
    script without blanks between words; or, like a code, at least 6 characters without blanks, with
    both letters and digits or with 5 digits.
    """
    if len(_SPACED_SCRIPTS.findall(text)) >= 3:
        return True
    words = words_of(text)
    letters = sum(len(word) for word in words if not word.isdecimal())
    if len(words) >= 2 and letters >= 4:
        return True
    compact = "".join(text.split())
    digits = sum(map(str.isdigit, compact))
    return len(compact) >= 6 and digits > 0 and (digits >= 5 or any(map(str.isalpha, compact)))


def is_name(name: str, text: str, start: int, end: int) -> bool:
    """Return False if text[start:end] has the words of `name`, but not as one name.

    For example, "Ann. Lee" has the words of "Ann Lee", but separated by the end of a sentence.
    Returns True also if the words differ from those of `name`, or if `name` has none: call it only
    for a passage that was already found to be similar.
    """
    words, places = list(_tokens(name)), list(_tokens(text[start:end]))
    if [word for _, _, word in words] != [word for _, _, word in places] or not words:
        return True
    spans = [(start + first, start + last) for first, last, _ in places]
    return is_name_at(name, [word[:2] for word in words], text, spans, LEGAL_FORMS)


class WordIndex:
    """An index of the words of one text, to find names in it.

    Building it takes time linear in the length of `text`. A search takes time linear in the number
    of occurrences of the name's rarest word.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        numbers: dict[str, int] = {}
        words, starts, ends = array("i"), array("q"), array("q")
        for start, end, word in _tokens(text):
            words.append(numbers.setdefault(word, len(numbers)))
            starts.append(start)
            ends.append(end)
        self._numbers = numbers
        self._words = np.array(words, dtype=np.int32)
        self._starts, self._ends = starts, ends
        # the indices of each word, one word after the other
        self._indices = np.argsort(self._words, kind="stable").astype(np.int32)
        counts = np.bincount(self._words, minlength=len(numbers))
        self._bounds = np.concatenate([[0], np.cumsum(counts)])
        self._forms = {numbers[form] for form in LEGAL_FORMS if form in numbers}

    def find(
        self, name: str, limit: int, start: int = 0, end: int | None = None
    ) -> list[tuple[int, int]]:
        """Return the first `limit` places of a name in text[start:end], as (start, end) offsets.

        The places are in text order and do not overlap. If the name has more than two words and
        ends in a legal form ("Acme Widgets Ltd"), and does not occur, the name without that form is
        looked for; places where another legal form follows are left out. An `end` of None is the
        end of the text.
        """
        words = words_of(name)
        first, last = self._words_in(start, end)
        if not words or first >= last:
            return []
        places = self._find(name, words, limit, first, last)
        if not places and len(words) > 2 and _is_form(words):
            places = self._find(name, words[:-1], limit, first, last, without_form=True)
        return places

    def _words_in(self, start: int, end: int | None) -> tuple[int, int]:
        """Return the range of the words within [start, end) of the text."""
        first = bisect_left(self._starts, start)
        return first, len(self._ends) if end is None else bisect_right(self._ends, end)

    def _find(
        self,
        name: str,
        words: list[str],
        limit: int,
        first: int,
        last: int,
        *,
        without_form: bool = False,
    ) -> list[tuple[int, int]]:
        name_words = [(start, end) for start, end, _ in _tokens(name)]
        places: list[tuple[int, int]] = []
        behind = 0
        for index in self._sequences(words, first, last):
            if len(places) == limit:
                break
            following = index + len(words)
            if index < behind or (without_form and self._is_of_other_form(following)):
                continue
            spans = list(
                zip(self._starts[index:following], self._ends[index:following], strict=True)
            )
            if not is_name_at(name, name_words, self._text, spans, LEGAL_FORMS):
                continue
            places.append((spans[0][0], spans[-1][1]))
            behind = following
        return places

    def _sequences(self, words: list[str], first: int, last: int) -> Iterator[int]:
        """Yield the indices from `first` at which the words stand one after another."""
        numbers = [self._numbers.get(word) for word in words]
        known = [number for number in numbers if number is not None]
        if len(known) < len(numbers):
            return
        rarest = min(range(len(known)), key=lambda at: self._count(known[at]))
        begin, end = self._bounds[known[rarest]], self._bounds[known[rarest] + 1]
        indices = self._indices[begin:end]
        stop = last - len(known) + rarest + 1
        begin, end = np.searchsorted(indices, (first + rarest, stop))
        for at in range(begin, end, _BLOCK_OF_PLACES):
            candidates = indices[at : min(end, at + _BLOCK_OF_PLACES)] - rarest
            for offset, number in enumerate(known):
                if offset != rarest and len(candidates):
                    candidates = candidates[self._words[candidates + offset] == number]
            yield from candidates.tolist()

    def _count(self, number: int) -> int:
        return int(self._bounds[number + 1] - self._bounds[number])

    def _is_of_other_form(self, index: int) -> bool:
        """Return whether a legal form belongs to the name that ends before the word `index`."""
        if index < len(self._words) and int(self._words[index]) in self._forms:
            return True
        return goes_on_to_form(self._text, self._ends[index - 1], LEGAL_FORMS | _LEGAL_FORMS.keys())


def _is_form(words: list[str]) -> bool:
    return words[-1] in LEGAL_FORMS and words[-2] not in LEGAL_FORMS


def _tokens(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and folded form of each word, number, and some signs."""
    after_number = False
    for match in _TOKEN.finditer(text):
        word = match[0]
        number = word[0].isdigit() or word[-1].isdigit()
        if number:
            folded = word.replace("−", "-").replace("’", "'")
            if folded[0] == "-" and match.start() and text[match.start() - 1].isalnum():
                folded = folded[1:]
        elif word == "&":
            folded = "and"
        elif after_number and len(word) <= _UNIT_LETTERS:
            folded = word
        else:
            folded = _fold_cached(word) if len(word) <= _CACHED_LETTERS else _fold(word)
        yield match.start(), match.end(), folded
        after_number = number


def _fold(word: str) -> str:
    plain = word.replace(".", "")
    if not plain.isascii():
        plain = unicodedata.normalize("NFKC", plain)
    return canonical_legal_form(plain.casefold())


_fold_cached = lru_cache(_CACHED_WORDS)(_fold)
