"""Value types for documents, answers and dead letters.

`pipelines/corpus/texts.py` reads the documents of rows, and `pipelines/tasks/columns.py` converts
answers to columns. This module does not know engines, files or Ray.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

# Reasons of a `Problem`: why a document or a task has no answer. They are written to dead letters.
EMPTY = "empty"
"""The document has no text, or only white space."""
NOT_TEXT = "not_text"
"""The text is not valid UTF-8."""
NOT_JSON = "not_json"
"""The document's line in a file of JSON lines is broken."""
TOO_LARGE = "too_large"
"""The text has more than MAX_TEXT_BYTES."""
TOO_LONG = "too_long"
"""The text has more tokens than the job's `long_documents` reads."""
INVALID_ANSWER = "invalid_answer"
"""The model's answer to a task cannot be used."""
REJECTED = "rejected"
"""The engine rejected a prompt."""
ENGINE_CRASH = "engine_crash"
"""An engine crashed while it read only this document, or earlier attempts at it died."""
TIMEOUT = "timeout"
"""An engine made no progress while it read only this document."""

ANSWERED = "answered"
"""The status of an answer without a problem; otherwise the status is the problem's reason."""

MAX_TEXT_BYTES = 128 * 2**20
"""Maximum size of one document's text in UTF-8; a longer text gets the reason `too_large`."""

SOURCE, ROW, DOC_ID, TEXT = "source", "row", "doc_id", "text"
"""Columns of the table of a unit's rows: input file, row number in it, document id, UTF-8 text.

A unit is the group of documents that a worker processes and commits together."""
BROKEN = "broken"
"""Column of that table: why the document's line is not JSON; null for a line that can be read."""
KEPT = "kept."
"""Prefix, in that table, of the columns that the job copies to its output (`keep_columns`).

So they cannot clash with the columns above."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document: a row of the corpus, or the text of a request to the endpoint.

    `doc_id` is its id: that in the column `input.id_column`, or the request's. `text` is None if
    and only if `problem` gives the reason why the row cannot be read. `source` is the path of the
    input file, "" if there is none, and `row` the number of the row in it, from 0.
    """

    doc_id: str | int
    text: str | None = field(repr=False)
    problem: Problem | None = None
    source: str = ""
    row: int = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a document: text[start:end], in characters, with the token ids of this part.

    `headings` are the titles of the sections that contain the chunk's start, outermost first.
    """

    start: int
    end: int
    token_ids: tuple[int, ...] = field(repr=False)
    headings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """The reason why a document, or one task of it, has no answer.

    `reason` is one of this module's constants from EMPTY to TIMEOUT, `message` a sentence with the
    details and, if there is one, a remedy.
    """

    reason: str
    message: str


class EvidenceStatus(StrEnum):
    """The degree to which the document supports one value of an answer, the highest first.

    - SHOWN: a verified quote contains the value.
    - FOUND: the value occurs in the text, and is of a kind that rarely does so by chance: a full
      date, a name, a number of 4 or more significant digits, a text of two or more words.
    - NEAR: a passage is similar to the quote, or the value occurs in the text, but is so common
      that it may be there by chance.
    - ABSENT: neither the quote nor the value was found.
    - NOT_APPLICABLE: the text need not contain the value: a label, a boolean without a quote, a
      computed value.
    """

    SHOWN = "shown"
    FOUND = "found"
    NEAR = "near"
    ABSENT = "absent"
    NOT_APPLICABLE = "not_applicable"


@dataclass(frozen=True, slots=True)
class Evidence:
    """A passage of the document that supports one value of an answer, or the lack of one.

    Attributes:
        path: the value's path in an extraction, such as `parties[2].name`; "" for a reply.
        status: how the document supports the value.
        text: the document's own words in the passage; None if there is no passage.
        start: the passage's first character in the document's text; None if there is no passage.
        end: the character after its last one, likewise.
        quote: the model's quote, if its words differ from `text`; else None.
        page: the number of the passage's page, from 1; None without a passage, or if the document
            has no form feeds between pages.
    """

    path: str
    status: EvidenceStatus
    text: str | None = None
    start: int | None = None
    end: int | None = None
    quote: str | None = None
    page: int | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """The answer to a `summarize` task."""

    text: str


@dataclass(frozen=True, slots=True)
class Label:
    """The answer to a `classify` task.

    `confidence` is the label's probability among all labels, or its share of the chunks' votes,
    from 0 to 1. It is None if the probability is not known.
    """

    label: str
    confidence: float | None = None

    @property
    def weight(self) -> float:
        """Return the weight of the label in the vote of a document's chunks.

        It is its confidence, from 0 to 1, or 1.0 if that is None.
        """
        return 1.0 if self.confidence is None else self.confidence


@dataclass(frozen=True, slots=True)
class LabelSet:
    """The answer to a `classify` task with `multiple`: all labels that fit, in the task's order.

    It is empty if none fits. The confidence of a label is the probability with which the model
    wrote it next, or that any chunk has it.
    """

    labels: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to an `ask` task, with its evidence.

    `text` is None if the task has `only_verified` and the document does not support the reply.
    `evidence` has the passages that support it, or the lack of one.
    """

    text: str | None
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Fields:
    """The answer to an `extract` task.

    `values` has the JSON value of each field by its name; it is None, or an empty list, if the
    document does not state the field. `evidence` has one or more entries for each value.
    """

    values: Mapping[str, Any]
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """The answer to a `write` task: the model's text, or the joined texts about all parts."""

    text: str


AnswerValue = Summary | Label | LabelSet | Reply | Fields | Written


@dataclass(frozen=True, slots=True)
class Usage:
    """Numbers of tokens of one request to an engine, or of several added up.

    `prompt_tokens` includes `cached_prompt_tokens`, which came from the engine's prefix cache. The
    engine generated the `output_tokens` in `steps`, fewer than tokens if it guessed some of them
    rightly; it verified `draft_tokens` guesses.
    """

    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    output_tokens: int = 0
    steps: int = 0
    draft_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.cached_prompt_tokens + other.cached_prompt_tokens,
            self.output_tokens + other.output_tokens,
            self.steps + other.steps,
            self.draft_tokens + other.draft_tokens,
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one task for one document: a value, or the problem that prevented it.

    `task` is the task's name. `strategy` is how the document was read (`single`, `map_reduce` or
    `truncate`) and `chunks` the number of passages that were read, with or without success. `usage`
    counts the tokens of all requests for the task. `finish_reason` is `partial` if some chunks have
    no answer, otherwise that of the last request; if chunks were combined without a request, it is
    `length` if the answer about any of them was cut off, else `stop`. It is None if no request
    succeeded.
    """

    task: str
    value: AnswerValue | None
    problem: Problem | None = None
    strategy: str | None = None
    chunks: int = 0
    usage: Usage = Usage()
    finish_reason: str | None = None

    @property
    def status(self) -> str:
        """Return ANSWERED, or the problem's reason if there is one."""
        return self.problem.reason if self.problem else ANSWERED


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The record of a document (`task` is None), or of one task of it, that was not answered.

    `source` and `row` are the document's. `attempts` is the number of attempts at the unit of work
    that the document is in, which is more than 1 if workers or engines died.
    """

    doc_id: str | int
    source: str
    row: int
    task: str | None
    problem: Problem
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class DocumentResult:
    """The result of one document: an answer per task, or the problem of the whole document.

    `answers` are in the job's order of tasks, and empty if there is a `problem`. `attempts` is the
    number of attempts at the unit of work that the document is in.
    """

    document: Document
    answers: tuple[Answer, ...] = ()
    problem: Problem | None = None
    attempts: int = 1

    @property
    def answered(self) -> bool:
        """Return whether at least one task of the document has an answer."""
        return any(answer.problem is None for answer in self.answers)

    def dead_letters(self) -> list[DeadLetter]:
        """Return the dead letters of the document: the records of what has no answer.

        One with `task` None if the whole document failed, else one for each failed task. Empty if
        all tasks have an answer.
        """
        if self.problem:
            return [self._dead_letter(None, self.problem)]
        return [
            self._dead_letter(answer.task, answer.problem)
            for answer in self.answers
            if answer.problem
        ]

    def _dead_letter(self, task: str | None, problem: Problem) -> DeadLetter:
        document = self.document
        return DeadLetter(
            document.doc_id, document.source, document.row, task, problem, self.attempts
        )
