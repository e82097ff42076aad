"""Is this quote in the document, and where. Knows text only."""

from __future__ import annotations

from pipelines.documents import Quote


def locate(quote: str, text: str) -> Quote:
    """The quote with the character offsets of its first occurrence, or marked unverified."""
    start = text.find(quote)
    if start < 0:
        return Quote(quote, None, None, verified=False)
    return Quote(quote, start, start + len(quote), verified=True)
