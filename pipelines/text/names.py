"""Finds words in a text regardless of case, commas, full stops, `&` and spellings of legal forms.

Numbers among the words keep their separators and signs, and units behind them their case.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

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
_SPACED_SCRIPTS = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


def words_of(text: str) -> list[str]:
    """Return the words of a name or passage, as they are compared."""
    return [word for _, _, word in _tokens(text)]


def canonical_legal_form(word: str) -> str:
    """Return a word, or the usual abbreviation if it is a legal form written out."""
    return _LEGAL_FORMS.get(word, word)


def is_name_like(text: str) -> bool:
    """Return whether a text rarely stands elsewhere by chance: it has two or more words.

    In scripts without blanks three characters are enough; a code needs six characters,
    among them letters and digits, or five digits.
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
    """Return whether the words of a name, if text[start:end] has them, stand together there."""
    words, places = list(_tokens(name)), list(_tokens(text[start:end]))
    if [word for _, _, word in words] != [word for _, _, word in places] or not words:
        return True
    spans = [(start + first, start + last) for first, last, _ in places]
    return is_name_at(name, [word[:2] for word in words], text, spans, LEGAL_FORMS)


class WordIndex:
    """The words of a text, joined by single blanks, to find names in.

    Building it takes time linear in the text; a search is one search for a string.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._text_starts = array("q")
        self._text_ends = array("q")
        self._joined_starts = array("q")
        joined: list[str] = []
        length = 1
        for start, end, word in _tokens(text):
            self._text_starts.append(start)
            self._text_ends.append(end)
            self._joined_starts.append(length)
            joined.append(word)
            length += len(word) + 1
        self._joined = f" {' '.join(joined)} "
        self._known = frozenset(joined)

    def find(
        self, name: str, limit: int, start: int = 0, end: int | None = None
    ) -> list[tuple[int, int]]:
        """Return up to `limit` places of a name within [start, end) of the text."""
        words = words_of(name)
        first, last = self._words_in(start, end)
        # without this, each absent name of a long list would be a search of the whole text
        if not words or first >= last or not self._known.issuperset(words[:-1]):
            return []
        places = self._find(name, words, limit, first, last)
        if not places and len(words) > 2 and _is_form(words):
            places = self._find(name, words[:-1], limit, first, last, without_form=True)
        return places

    def _words_in(self, start: int, end: int | None) -> tuple[int, int]:
        """Return the range of the words within [start, end) of the text."""
        first = bisect_left(self._text_starts, start)
        return first, len(self._text_ends) if end is None else bisect_right(self._text_ends, end)

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
        if words[-1] not in self._known:
            return []
        sought = f" {' '.join(words)} "
        name_words = [(start, end) for start, end, _ in _tokens(name)]
        at = self._joined_starts[first] - 1
        stop = self._joined_starts[last] if last < len(self._joined_starts) else len(self._joined)
        places: list[tuple[int, int]] = []
        while len(places) < limit and (at := self._joined.find(sought, at, stop)) >= 0:
            index = bisect_right(self._joined_starts, at + 1) - 1
            spans = [
                (self._text_starts[place], self._text_ends[place])
                for place in range(index, index + len(words))
            ]
            is_other = without_form and self._is_other_form(at + len(sought), spans[-1][1])
            if not is_other and is_name_at(name, name_words, self._text, spans, LEGAL_FORMS):
                places.append((spans[0][0], spans[-1][1]))
            at += len(sought) - 1
        return places

    def _is_other_form(self, at: int, end: int) -> bool:
        """Return whether another legal form belongs to the name that stands before `end`."""
        return self._word_after(at) in LEGAL_FORMS or goes_on_to_form(
            self._text, end, LEGAL_FORMS | _LEGAL_FORMS.keys()
        )

    def _word_after(self, at: int) -> str:
        stop = self._joined.find(" ", at)
        return self._joined[at:stop] if stop > at else ""


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
            folded = _fold(word)
        yield match.start(), match.end(), folded
        after_number = number


def _fold(word: str) -> str:
    plain = word.replace(".", "")
    if not plain.isascii():
        plain = unicodedata.normalize("NFKC", plain)
    return canonical_legal_form(plain.casefold())
