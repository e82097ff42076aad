"""The search for quotes and values in one document, shared by all its tasks and chunks."""

from __future__ import annotations

from array import array
from bisect import bisect_right

from pipelines.text.lazy import lazy
from pipelines.text.mentions import DocumentMentions
from pipelines.text.quotes import QuoteFinder


class DocumentSearch:
    """Finds quotes (`finder`) and normalized values (`mentions`) in a document.

    Either prepares the document when it is first asked.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.finder = QuoteFinder(text)
        self.mentions = DocumentMentions(text)

    def page(self, offset: int) -> int | None:
        """Return the number of the page at an offset, from 1; None without form feeds."""
        return bisect_right(self._page_ends, offset) + 1 if self._page_ends else None

    @lazy
    def _page_ends(self) -> array[int]:
        ends = array("q")
        at = self.text.find("\f")
        while at >= 0:
            ends.append(at)
            at = self.text.find("\f", at + 1)
        return ends
