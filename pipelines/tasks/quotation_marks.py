"""Quotation marks of all languages: a pair around a text, and several marked texts in a row.

The characters beside a mark that can open or close, such as `"`, decide which of the two it does.
Knows no tasks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

PAIRS = {
    '"': '"”“', "'": "'’", "`": "`'´", "“": '”"', "”": "”", "„": '“”"', "‟": "”", "‘": "’'",
    "’": "’", "‚": "‘’", "«": "»", "»": "«»", "‹": "›", "›": "‹›", "「": "」", "『": "』",
    "《": "》", "〈": "〉", "｢": "｣", "＂": "＂", "〝": "〞〟", "❝": "❞",
}  # fmt: skip
"""The marks that can close a text, by the mark that opens it."""
_SEPARATOR = re.compile(
    r"(?:\s|[,;/|&+.…]|\[…\]|\[\.\.\.\]|\b(?:and|und|et|y|e|i|en|or)\b|和|、|，)*"
)


def unquoted(text: str) -> str | None:
    """Return a text without the pair of quotation marks around it; None if there is no such pair.

    White space inside the pair and full stops, commas and semicolons after it are dropped. Marks
    around only a part of the text are no such pair, as in `"A" means "B"` or
    `Acme Corp. (the "Company")`.
    """
    end = _end_of_pair(text)
    if end is None or text[end + 1 :].strip(" .,;。") or end == 0:
        return None
    return text[1:end].strip()


def marked_texts(text: str) -> list[str] | None:
    """Return the texts in quotation marks of which `text` consists, such as `"a" and "b"`.

    They are without their marks, in order. Between and after them, only white space, punctuation
    and words for "and" or "or" are allowed; None if `text` has anything else, or no such text.
    """
    if (whole := unquoted(text)) is not None:
        return [whole]
    texts, rest = [], text
    while rest and rest[0] in PAIRS:
        end = next(_closings(rest), None)
        if end is None:
            return None
        texts.append(rest[1:end].strip())
        separator = _SEPARATOR.match(rest, end + 1)
        assert separator is not None
        rest = rest[separator.end() :]
    return texts if texts and not rest else None


def is_open(text: str) -> bool:
    """Return whether a text begins with an opening quotation mark that no mark in it closes."""
    return text[:1] in PAIRS and next(_closings(text), None) is None


def _end_of_pair(text: str) -> int | None:
    """Return where the mark stands that closes the first character, if it ends the text."""
    end = len(text.rstrip(" .,;。")) - 1
    if text[:1] not in PAIRS or end < 1:
        return None
    if text[end] not in PAIRS[text[0]]:
        return None
    depth, below = 0, False
    for at in range(1, end):
        role = _role(text, at, text[0])
        if role > 0 and below:
            return None
        depth += role
        below |= depth < 0
    return end


def _closings(text: str) -> Iterator[int]:
    """Yield the places where the mark that begins a text may be closed."""
    depth = 1
    for at in range(1, len(text)):
        depth += _role(text, at, text[0])
        if depth == 0:
            yield at
            depth = 1


def _role(text: str, at: int, opener: str) -> int:
    """Return 1 if text[at] opens a pair like `opener`, -1 if it closes one, else 0."""
    mark = text[at]
    closes, opens = mark in PAIRS[opener], mark == opener
    if not (closes or opens):
        return 0
    before, after = text[at - 1], text[at + 1 : at + 2]
    inside_word = before.isalnum() and after.isalnum()
    if closes and opens:
        if inside_word and mark in "'’`":
            return 0
        return 1 if (before.isspace() or before in "([{") and after and not after.isspace() else -1
    if closes and inside_word and mark in "'’`":
        return 0
    return 1 if opens else -1
