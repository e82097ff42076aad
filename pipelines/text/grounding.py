"""Verifies one quote at a time. The search itself is in quotes.py."""

from __future__ import annotations

from functools import lru_cache

from pipelines.documents import Quote
from pipelines.text.quotes import QuoteFinder

# all quotes of a document follow each other, and a few documents are answered at a time
_finder = lru_cache(maxsize=8)(QuoteFinder)


def locate(quote: str, text: str, start: int = 0, end: int | None = None) -> Quote:
    """Search text[start:end] for the words `quote`, and return them with their offsets.

    Offsets are characters from the start of `text`; `end` None means its end. The result's text is
    `quote` as given. Without a passage that verifies the quote, offsets are None.
    """
    passages = _finder(text).find(quote, start, end)
    if passages and all(passage.verified for passage in passages):
        return Quote(quote, passages[0].start, passages[-1].end, verified=True)
    return Quote(quote, None, None, verified=False)
