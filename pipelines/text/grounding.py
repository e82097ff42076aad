"""Finds a quote in a text, to verify that the document contains it.

Three searches, the first match counts: the exact characters; a match that ignores the kind of white
space, hyphenation at line ends, and the shape of quotation marks and dashes; a fuzzy match.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import re2
from rapidfuzz import fuzz

from pipelines.documents import Quote

MIN_SIMILARITY = 90.0
"""Minimum similarity of a fuzzy match, in percent (indel similarity to the best window)."""
# A shorter quote has a similar window in almost any text.
_MIN_FUZZY_CHARACTERS = 16

_VARIANTS = {
    character: f"[{re.escape(characters)}]"
    for characters in ("'‘’‚‛`´′", '"“”„‟«»″', "-‐‑‒–—―−")
    for character in characters
}
_BROKEN_WORD = re.compile(r"(?<=\w)(?:-|‐|\u00ad)[^\S\n]*\n\s*(?=\w)")
# The characters for which `str.isspace` is true, except the newline, in RE2's syntax.
_BLANKS = (
    r"\t\x0b-\x0d\x1c-\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}"
    r"\x{3000}"
)
_SPACE = rf"[\n{_BLANKS}]"
_MAY_BREAK = rf"(?:[-‐\x{{ad}}][{_BLANKS}]*\n{_SPACE}*)?"
# Up to this length of a quote, RE2's automaton fits its memory, and it reads the text only once. A
# longer quote is searched exactly and fuzzily only.
_MAX_PATTERN_CHARACTERS = 1000
_RE2_MEMORY_BYTES = 2**25


def locate(quote: str, text: str, start: int = 0, end: int | None = None) -> Quote:
    """Search text[start:end] for the words `quote`, and return them with their offsets.

    The span is that of the first exact match, else of the first that differs only in white space,
    hyphenation and the shape of marks, else of the most similar passage if its similarity is at
    least MIN_SIMILARITY. Offsets are characters from the start of `text`; `end` None means its end.
    The result's text is `quote` as given. If nothing matches, it is unverified, with None as
    offsets.
    """
    end = len(text) if end is None else end
    span = (
        _find_exact(quote, text, start, end)
        or _find_normalized(quote, text, start, end)
        or _find_similar(quote, text, start, end)
    )
    if span is None:
        return Quote(quote, None, None, verified=False)
    return Quote(quote, *span, verified=True)


def _find_exact(quote: str, text: str, start: int, end: int) -> tuple[int, int] | None:
    offset = text.find(quote, start, end)
    return (offset, offset + len(quote)) if offset >= 0 else None


def _find_normalized(quote: str, text: str, start: int, end: int) -> tuple[int, int] | None:
    words = [_word_pattern(word) for word in _BROKEN_WORD.sub("", quote).split()]
    if not words or len(quote) > _MAX_PATTERN_CHARACTERS:
        return None
    # RE2 reads a text once; `re` would start again at each place that matches the beginning
    pattern = f"{_SPACE}+".join(words).encode("utf-8", "replace")
    data = text[start:end].encode("utf-8", "surrogatepass")
    match = re2.compile(pattern, options=_options()).search(data)
    # frees the cache of compiled patterns, of which none is used twice
    re2.purge()
    if match is None:
        return None
    begin = start + len(data[: match.start()].decode("utf-8", "surrogatepass"))
    return begin, begin + len(data[match.start() : match.end()].decode("utf-8", "surrogatepass"))


@cache
def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _RE2_MEMORY_BYTES
    return options


def _word_pattern(word: str) -> str:
    """Return a pattern for a word that matches its variants, hyphenated after any letter."""
    letters = [_VARIANTS.get(letter, re.escape(letter)) for letter in word]
    pattern = letters[0]
    for before, after, letter in zip(word, word[1:], letters[1:], strict=False):
        pattern += (_MAY_BREAK if before.isalnum() and after.isalnum() else "") + letter
    return pattern


def _find_similar(quote: str, text: str, start: int, end: int) -> tuple[int, int] | None:
    if len(quote) < _MIN_FUZZY_CHARACTERS or len(quote) > end - start:
        return None
    match = fuzz.partial_ratio_alignment(quote, text[start:end], score_cutoff=MIN_SIMILARITY)
    return (start + match.dest_start, start + match.dest_end) if match else None
