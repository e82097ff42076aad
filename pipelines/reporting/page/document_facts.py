"""The facts of a report about single documents: their texts, values and evidence.

Knows nothing of files, or of HTML.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of text; `places` are the numbers of the places that it belongs to, and `ends` those
    that end with it."""

    text: str
    places: Sequence[int] = ()
    ends: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a document's text that is shown; `hidden` characters before it are not."""

    start: int
    end: int
    hidden: int
    segments: Sequence[Segment]


@dataclass(frozen=True, slots=True)
class TextView:
    """The text of a document: all of it, or windows; `hidden` characters follow the last one."""

    characters: int
    windows: Sequence[Window]
    hidden: int


@dataclass(frozen=True, slots=True)
class Quote:
    """The evidence of one value: `state` is one of `values.STATES`, or "" if the text need not have
    the value; `words` are the document's, or the model's quote; `place` is where it is lit."""

    path: str
    state: str
    words: str
    place: int | None


@dataclass(frozen=True, slots=True)
class Value:
    """A value of an answer: a `text`, `items` of a list, or `fields`; `kind` says which. A leaf
    without a value has the text None."""

    kind: str
    text: str | None = None
    items: Sequence[Value] = ()
    fields: Sequence[tuple[str, Value]] = ()
    quotes: Sequence[Quote] = ()


@dataclass(frozen=True, slots=True)
class AnswerFacts:
    """The answer to one task about a document: `status` is `answered` or why there is none."""

    task: str
    kind: str
    status: str
    strategy: str
    chunks: int
    prompt_tokens: int
    output_tokens: int
    value: Value


@dataclass(frozen=True, slots=True)
class DocumentPage:
    """A document with its answers. `text` is None if it cannot be shown; `note` then says why."""

    id: str
    source: str | None
    row: int | None
    text: TextView | None
    note: str
    answers: Sequence[AnswerFacts]
