"""The search for quotes and values in one document, shared by all its tasks and chunks."""

from __future__ import annotations

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
