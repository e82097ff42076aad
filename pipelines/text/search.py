"""The search for quotes and values in one document, shared by all its tasks and chunks."""

from __future__ import annotations

from typing import Protocol

from pipelines.text.mentions import DocumentMentions


class FoundPassage(Protocol):
    """A passage text[start:end] of the document, which is `verified` or only similar to a quote."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def verified(self) -> bool: ...


class Finder(Protocol):
    """Finds words in a document, as `quotes.py` does."""

    @property
    def text(self) -> str: ...

    def find(
        self, quote: str, start: int = 0, end: int | None = None
    ) -> tuple[FoundPassage, ...]: ...

    def find_all(
        self, words: str, start: int = 0, end: int | None = None, limit: int = 8
    ) -> tuple[FoundPassage, ...]: ...


class DocumentSearch:
    """Finds quotes (`finder`) and normalized values (`mentions`) in a document."""

    def __init__(self, finder: Finder) -> None:
        self.finder = finder
        self.mentions = DocumentMentions(finder.text)

    @property
    def text(self) -> str:
        """The document's text."""
        return self.finder.text
