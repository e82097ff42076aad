"""Documents, answers and dead letters as values, and the rows that become documents.

What answers become as columns, `columns.py` says. Knows nothing of engines, files or Ray.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

EMPTY = "empty"
NOT_TEXT = "not_text"
TOO_LARGE = "too_large"
TOO_LONG = "too_long"
INVALID_ANSWER = "invalid_answer"
REJECTED = "rejected"
ENGINE_CRASH = "engine_crash"
TIMEOUT = "timeout"

ANSWERED = "answered"

MAX_TEXT_BYTES = 128 * 2**20
_FILL = "fill it in, or leave the row out"

SOURCE, ROW, DOC_ID, TEXT = "source", "row", "doc_id", "text"
# Before the name of a kept column among a unit's rows, which may be one of those above.
KEPT = "kept."


@dataclass(frozen=True, slots=True)
class Document:
    """One row of the corpus. `text` is None exactly when `problem` says why it cannot be read."""

    doc_id: str | int
    text: str | None
    problem: Problem | None = None
    source: str = ""
    row: int = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """A span of a document's text by character offsets, its token ids, and the titles above it."""

    start: int
    end: int
    token_ids: tuple[int, ...]
    headings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a document, or one task of it, has no answer: a named reason and a sentence."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Quote:
    """Words the model says it read, with their character offsets where they are in the text.

    `field` is the extracted field that they show, None beside an answer in free words.
    """

    text: str
    start: int | None
    end: int | None
    verified: bool
    field: str | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    text: str


@dataclass(frozen=True, slots=True)
class Label:
    label: str
    confidence: float | None = None

    @property
    def weight(self) -> float:
        """What the label counts for in a vote: whole where no confidence is known."""
        return 1.0 if self.confidence is None else self.confidence


@dataclass(frozen=True, slots=True)
class Reply:
    """`text` is None where only verified answers count and no quote was found in the text."""

    text: str | None
    quotes: tuple[Quote, ...] = ()


@dataclass(frozen=True, slots=True)
class Fields:
    """JSON values that keep their task's schema, by field."""

    values: Mapping[str, Any]
    quotes: tuple[Quote, ...] = ()


AnswerValue = Summary | Label | Reply | Fields


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that one task of one document took."""

    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.cached_prompt_tokens + other.cached_prompt_tokens,
            self.output_tokens + other.output_tokens,
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What one task gave for one document: a value, or the problem in its place."""

    task: str
    value: AnswerValue | None
    problem: Problem | None = None
    strategy: str | None = None
    chunks: int = 0
    usage: Usage = Usage()
    finish_reason: str | None = None

    @property
    def status(self) -> str:
        return self.problem.reason if self.problem else ANSWERED


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A document (`task` None) or one task of it that could not be answered."""

    doc_id: str | int
    source: str
    row: int
    task: str | None
    problem: Problem
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class DocumentResult:
    """All that became of one document: its answers, or the problem of the whole. `attempts` are
    those at its unit."""

    document: Document
    answers: tuple[Answer, ...] = ()
    problem: Problem | None = None
    attempts: int = 1

    @property
    def answered(self) -> bool:
        return any(answer.problem is None for answer in self.answers)

    def dead_letters(self) -> list[DeadLetter]:
        """One for the whole document, or one for each of its tasks that failed."""
        if self.problem:
            return [self._letter(None, self.problem)]
        return [self._letter(a.task, a.problem) for a in self.answers if a.problem]

    def _letter(self, task: str | None, problem: Problem) -> DeadLetter:
        document = self.document
        return DeadLetter(
            document.doc_id, document.source, document.row, task, problem, self.attempts
        )


def decode_text(raw: bytes | None) -> str | Problem:
    """The text of one row, or why it is none. `raw` is UTF-8 as stored, unchecked."""
    if raw is None:
        return Problem(EMPTY, f"the text is null: {_FILL}")
    if len(raw) > MAX_TEXT_BYTES:
        return Problem(
            TOO_LARGE, f"{len(raw)} bytes are more than {MAX_TEXT_BYTES}: cut the text into several"
        )
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte {error.start}, {raw[error.start]:#04x}, is not UTF-8"
        return Problem(NOT_TEXT, f"{byte}: store the text as UTF-8")
    if not text or text.isspace():
        found = "white space" if text else "empty"
        return Problem(EMPTY, f"the text is {found}: {_FILL}")
    return text


def documents_of(rows: pa.Table) -> list[Document]:
    """The documents of a unit's rows (columns source, row, doc_id, text as binary), in order."""
    columns = (rows[name].to_pylist() for name in (DOC_ID, TEXT, SOURCE, ROW))
    return [_document(*values) for values in zip(*columns, strict=True)]


def _document(doc_id: str | int, raw: bytes | None, source: str, row: int) -> Document:
    text = decode_text(raw)
    if isinstance(text, Problem):
        return Document(doc_id, None, text, source, row)
    return Document(doc_id, text, None, source, row)
