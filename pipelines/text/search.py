"""The search for quotes and values in one document, shared by all its tasks and chunks."""

from __future__ import annotations

from array import array
from bisect import bisect_right

from pipelines.text.lazy import lazy
from pipelines.text.mentions import DocumentMentions
from pipelines.text.quotes import QuoteFinder


class DocumentSearch:
    """The searches for quotes and values in one document, given as `text`.

    Attributes:
        text: the document.
        finder: finds quotes in it.
        mentions: finds numbers, dates, durations and names in it, in any format.

    `finder` and `mentions` each prepare the document at their first search.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.finder = QuoteFinder(text)
        self.mentions = DocumentMentions(text)

    def page(self, offset: int) -> int | None:
        """Return the number of the page that has the character at `offset`, from 1.

        A form feed ends a page, and belongs to the page after it. Returns None if the document has
        no form feed.
        """
        return bisect_right(self._page_ends, offset) + 1 if self._page_ends else None

    @lazy
    def _page_ends(self) -> array[int]:
        ends = array("q")
        at = self.text.find("\f")
        while at >= 0:
            ends.append(at)
            at = self.text.find("\f", at + 1)
        return ends
