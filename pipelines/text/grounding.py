"""Is this quote in the document, and where. Knows text only.

A quote is looked for as it is; then without regard to white space, words broken at a line's end,
and the shape of quotation marks and dashes; then for words that are nearly the same.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import re2
from rapidfuzz import fuzz

from pipelines.documents import Quote

LEAST_SIMILARITY = 90.0
"""Per cent of characters that must be alike (indel similarity of the best window of the text)."""
# Of fewer characters something alike is found in any text.
_LEAST_CHARACTERS = 16

_ALIKE = {
    character: f"[{re.escape(characters)}]"
    for characters in ("'‘’‚‛`´′", '"“”„‟«»″', "-‐‑‒–—―−")
    for character in characters
}
_BROKEN_WORD = re.compile(r"(?<=\w)(?:-|‐|\u00ad)[^\S\n]*\n\s*(?=\w)")
# What `str.isspace` says of, but for the line's end, as RE2 has it.
_BLANKS = (
    r"\t\x0b-\x0d\x1c-\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}"
    r"\x{3000}"
)
_SPACE = rf"[\n{_BLANKS}]"
_MAY_BREAK = rf"(?:[-‐\x{{ad}}][{_BLANKS}]*\n{_SPACE}*)?"
# Of longer quotes only words that are nearly the same are looked for: for up to so many characters
# RE2 has room to remember where in a quote it may be, and reads a text once.
_MOST_CHARACTERS = 1000
_MOST_BYTES = 2**25


def locate(quote: str, text: str, start: int = 0, end: int | None = None) -> Quote:
    """The quote with the character offsets of its first place, or marked unverified.

    Only text[start:end] is looked at; offsets are those of `text`.
    """
    end = len(text) if end is None else end
    found = (
        _exactly(quote, text, start, end)
        or _loosely(quote, text, start, end)
        or _nearly(quote, text, start, end)
    )
    if found is None:
        return Quote(quote, None, None, verified=False)
    return Quote(quote, *found, verified=True)


def _exactly(quote: str, text: str, start: int, end: int) -> tuple[int, int] | None:
    found = text.find(quote, start, end)
    return (found, found + len(quote)) if found >= 0 else None


def _loosely(quote: str, text: str, start: int, end: int) -> tuple[int, int] | None:
    words = [_word_pattern(word) for word in _BROKEN_WORD.sub("", quote).split()]
    if not words or len(quote) > _MOST_CHARACTERS:
        return None
    # RE2 reads a text once; Python's engine would read on from each place that begins as the quote
    pattern = f"{_SPACE}+".join(words).encode("utf-8", "replace")
    data = text[start:end].encode("utf-8", "surrogatepass")
    found = re2.compile(pattern, options=_options()).search(data)
    # it would keep the last hundred, of which none comes again
    re2.purge()
    if found is None:
        return None
    begin = start + len(data[: found.start()].decode("utf-8", "surrogatepass"))
    return begin, begin + len(data[found.start() : found.end()].decode("utf-8", "surrogatepass"))


@cache
def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MOST_BYTES
    return options


def _word_pattern(word: str) -> str:
    """A pattern of a word as it may be printed, broken at any of its letters."""
    letters = [_ALIKE.get(letter, re.escape(letter)) for letter in word]
    pattern = letters[0]
    for before, after, letter in zip(word, word[1:], letters[1:], strict=False):
        pattern += (_MAY_BREAK if before.isalnum() and after.isalnum() else "") + letter
    return pattern


def _nearly(quote: str, text: str, start: int, end: int) -> tuple[int, int] | None:
    if len(quote) < _LEAST_CHARACTERS or len(quote) > end - start:
        return None
    found = fuzz.partial_ratio_alignment(quote, text[start:end], score_cutoff=LEAST_SIMILARITY)
    return (start + found.dest_start, start + found.dest_end) if found else None
