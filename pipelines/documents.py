"""Documents, answers and dead letters as values; the only place where rows become them and back.

Knows the columns of a part and of `_errors/`; knows nothing of engines, files or Ray.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipelines.spec import TaskSpec

EMPTY = "empty"
NOT_TEXT = "not_text"
TOO_LARGE = "too_large"
TOO_LONG = "too_long"
INVALID_ANSWER = "invalid_answer"
REJECTED = "rejected"

ANSWERED = "answered"

MAX_TEXT_BYTES = 128 * 2**20

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
    ids: tuple[int, ...]
    headings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a document, or one task of it, has no answer: a named reason and a sentence."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Quote:
    """Words the model says it read, with their character offsets where they are in the text."""

    text: str
    start: int | None
    end: int | None
    verified: bool


@dataclass(frozen=True, slots=True)
class Summary:
    text: str


@dataclass(frozen=True, slots=True)
class Label:
    label: str
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    text: str
    quotes: tuple[Quote, ...] = ()


Value = Summary | Label | Reply


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that one task of one document took."""

    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What one task gave for one document: a value, or the problem in its place."""

    task: str
    value: Value | None
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
class Outcome:
    """All that became of one document: its answers, or the problem of the whole."""

    document: Document
    answers: tuple[Answer, ...] = ()
    problem: Problem | None = None

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
        return DeadLetter(document.doc_id, document.source, document.row, task, problem)


def read_text(raw: bytes | None) -> str | Problem:
    """The text of one row, or why it is none. `raw` is UTF-8 as stored, unchecked."""
    if raw is None:
        return Problem(EMPTY, "the text is null")
    if len(raw) > MAX_TEXT_BYTES:
        return Problem(TOO_LARGE, f"{len(raw)} bytes; the most is {MAX_TEXT_BYTES}")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return Problem(NOT_TEXT, f"byte {error.start} is not UTF-8")
    if not text or text.isspace():
        return Problem(EMPTY, "the text is white space" if text else "the text is empty")
    return text


def documents_of(rows: pa.Table) -> list[Document]:
    """The documents of a unit's rows (columns source, row, doc_id, text as binary), in order."""
    columns = (rows[name].to_pylist() for name in (DOC_ID, TEXT, SOURCE, ROW))
    return [_document(*values) for values in zip(*columns, strict=True)]


def _document(doc_id: str | int, raw: bytes | None, source: str, row: int) -> Document:
    text = read_text(raw)
    if isinstance(text, Problem):
        return Document(doc_id, None, text, source, row)
    return Document(doc_id, text, None, source, row)


_QUOTE = pa.struct(
    [("text", pa.string()), ("start", pa.int64()), ("end", pa.int64()), ("verified", pa.bool_())]
)

_VALUE_FIELDS: Mapping[str, Sequence[tuple[str, pa.DataType]]] = {
    "summarize": [("text", pa.string())],
    "classify": [("label", pa.string()), ("confidence", pa.float64())],
    "ask": [("text", pa.string()), ("quotes", pa.list_(_QUOTE))],
}

_COMMON_FIELDS: Sequence[tuple[str, pa.DataType]] = [
    ("status", pa.string()),
    ("strategy", pa.string()),
    ("chunks", pa.int32()),
    ("prompt_tokens", pa.int64()),
    ("output_tokens", pa.int64()),
    ("finish_reason", pa.string()),
]


def answer_type(task: TaskSpec) -> pa.DataType:
    """The Arrow struct of one task's column."""
    return pa.struct([*_VALUE_FIELDS[task.kind], *_COMMON_FIELDS])


def part_table(
    rows: pa.Table, outcomes: Sequence[Outcome], tasks: Sequence[TaskSpec], id_column: str
) -> pa.Table:
    """Answers as a part: id, kept columns, one struct a task; only documents that were answered.

    `rows` are the unit's rows in the order of `outcomes`.
    """
    answered = [index for index, outcome in enumerate(outcomes) if outcome.answered]
    kept = [name for name in rows.column_names if name.startswith(KEPT)]
    table = rows.select([DOC_ID, *kept]).take(pa.array(answered, pa.int64()))
    table = table.rename_columns([id_column, *(name.removeprefix(KEPT) for name in kept)])
    for position, task in enumerate(tasks):
        cells = [_cell(outcomes[index].answers[position]) for index in answered]
        table = table.append_column(task.name, pa.array(cells, answer_type(task)))
    return table


def _cell(answer: Answer) -> dict[str, object]:
    return {
        **_value_cell(answer.value),
        "status": answer.status,
        "strategy": answer.strategy,
        "chunks": answer.chunks,
        "prompt_tokens": answer.usage.prompt_tokens,
        "output_tokens": answer.usage.output_tokens,
        "finish_reason": answer.finish_reason,
    }


def _value_cell(value: Value | None) -> dict[str, object]:
    match value:
        case Summary(text):
            return {"text": text}
        case Label(label, confidence):
            return {"label": label, "confidence": confidence}
        case Reply(text, quotes):
            return {"text": text, "quotes": [_quote_cell(quote) for quote in quotes]}
        case None:
            return {}


def _quote_cell(quote: Quote) -> dict[str, object]:
    return {
        "text": quote.text,
        "start": quote.start,
        "end": quote.end,
        "verified": quote.verified,
    }


def errors_table(letters: Sequence[DeadLetter], id_type: pa.DataType) -> pa.Table:
    """Dead letters as the rows of `_errors/`."""
    columns = {
        DOC_ID: pa.array([letter.doc_id for letter in letters], id_type),
        SOURCE: pa.array([letter.source for letter in letters], pa.string()),
        ROW: pa.array([letter.row for letter in letters], pa.int64()),
        "task": pa.array([letter.task for letter in letters], pa.string()),
        "reason": pa.array([letter.problem.reason for letter in letters], pa.string()),
        "message": pa.array([letter.problem.message for letter in letters], pa.string()),
        "attempts": pa.array([letter.attempts for letter in letters], pa.int32()),
    }
    return pa.table(columns)
