"""Output columns: the Arrow types and rows of answers in a part, and of dead letters.

Depends on values and Arrow only; knows no engine, no files and no Ray.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipelines.documents import (
    DOC_ID,
    KEPT,
    ROW,
    SOURCE,
    Answer,
    AnswerValue,
    DeadLetter,
    DocumentResult,
    Evidence,
    Fields,
    Label,
    LabelSet,
    Reply,
    Summary,
    Written,
)
from pipelines.tasks.arrow import arrow_type, to_arrow_value
from pipelines.tasks.schema import JsonSchema

_EVIDENCE = pa.list_(
    pa.struct(
        [
            ("path", pa.string()),
            ("status", pa.string()),
            ("text", pa.string()),
            ("start", pa.int64()),
            ("end", pa.int64()),
            ("page", pa.int32()),
            ("quote", pa.string()),
        ]
    )
)
_VALUE_FIELDS: Mapping[str, Sequence[tuple[str, pa.DataType]]] = {
    "summarize": [("text", pa.string())],
    "classify": [("label", pa.string()), ("confidence", pa.float64())],
    "ask": [("text", pa.string())],
    "write": [("text", pa.string())],
}
_LABEL_SET_FIELDS = [("labels", pa.list_(pa.string())), ("confidence", pa.list_(pa.float64()))]

_ANSWER = pa.struct(
    [
        ("status", pa.string()),
        ("strategy", pa.string()),
        ("chunks", pa.int32()),
        ("prompt_tokens", pa.int64()),
        ("output_tokens", pa.int64()),
        ("finish_reason", pa.string()),
    ]
)
EVIDENCE, ANSWER = "_evidence", "_answer"
"""The fields of a task's column for the value's evidence, and for status and token counts."""
RESERVED_FIELDS = (EVIDENCE, ANSWER)
"""Names that an extracted field cannot have: an extraction's column already has them."""


@dataclass(frozen=True, slots=True)
class AnswerColumn:
    """The struct column of one task in a part file.

    Attributes:
        name: the task's name, which is the column's name.
        kind: the task's kind: `summarize`, `classify`, `ask`, `extract` or `write`.
        schema: the normalized JSON Schema of an `extract` task; None for the other kinds.
        multiple: whether it is a `classify` task that may give several labels.
    """

    name: str
    kind: str
    schema: JsonSchema | None = None
    multiple: bool = False

    @property
    def type(self) -> pa.DataType:
        """Return the column's Arrow type: the value's fields, `_evidence` and `_answer`.

        `_evidence` is a list of rows with path, status, text, start, end, page and quote.
        `_answer` has the status, the strategy, chunks, the token counts and finish_reason.
        """
        return pa.struct([*self._value_fields(), (EVIDENCE, _EVIDENCE), (ANSWER, _ANSWER)])

    def _value_fields(self) -> Sequence[tuple[str, pa.DataType]]:
        if self.multiple:
            return _LABEL_SET_FIELDS
        if self.schema is None:
            return _VALUE_FIELDS[self.kind]
        return [(field.name, field.type) for field in arrow_type(self.schema)]

    def cell(self, answer: Answer, *, typed: bool = False) -> dict[str, object]:
        """Return a document's answer to the task as a mapping that Arrow converts to `type`.

        With `typed` it is for JSON instead: a value of an alternative of several types has the type
        of its own, where the column has its text.

        If the answer has no value, because the task failed, it has only `_answer`, and the other
        fields are null in the table.
        """
        return {
            **self.value_cell(answer.value, typed=typed),
            ANSWER: {
                "status": answer.status,
                "strategy": answer.strategy,
                "chunks": answer.chunks,
                "prompt_tokens": answer.usage.prompt_tokens,
                "output_tokens": answer.usage.output_tokens,
                "finish_reason": answer.finish_reason,
            },
        }

    def value_cell(self, value: AnswerValue | None, *, typed: bool = False) -> dict[str, object]:
        """Return the fields of a value, and its evidence as a list of mappings under `_evidence`.

        The fields are Python values that Arrow accepts, not JSON: a date is a `date`, for example.
        A value without evidence has an empty list. The result is {} if `value` is None. For `typed`
        see `cell`.
        """
        match value:
            case Summary(text) | Written(text):
                return {"text": text, EVIDENCE: []}
            case Label(label, confidence):
                return {"label": label, "confidence": confidence, EVIDENCE: []}
            case LabelSet(labels):
                confidences = [label.confidence for label in labels]
                names = [label.label for label in labels]
                return {"labels": names, "confidence": confidences, EVIDENCE: []}
            case Reply(text, evidence):
                return {"text": text, EVIDENCE: [_evidence_cell(row) for row in evidence]}
            case Fields(values, evidence):
                assert self.schema is not None
                rows = [_evidence_cell(row) for row in evidence]
                return {**to_arrow_value(values, self.schema, typed=typed), EVIDENCE: rows}
            case None:
                return {}


def part_table(
    rows: pa.Table,
    results: Sequence[DocumentResult],
    columns: Sequence[AnswerColumn],
    id_column: str,
) -> pa.Table:
    """Build the table of a part file: the id, the kept columns, and one struct column per task.

    Only documents with at least one answered task get a row. The metadata of the table are those of
    `rows`, which describe kept columns.

    Args:
        rows: the input rows of the unit's documents, with the id and the kept columns.
        results: the result of each document, in the order of `rows`.
        columns: the column of each task, in the order of each result's answers.
        id_column: the name of the id column in the part.
    """
    answered = [index for index, result in enumerate(results) if result.answered]
    kept = [name for name in rows.column_names if name.startswith(KEPT)]
    table = rows.select([DOC_ID, *kept]).take(pa.array(answered, pa.int64()))
    table = table.rename_columns([id_column, *(name.removeprefix(KEPT) for name in kept)])
    for position, column in enumerate(columns):
        cells = [column.cell(results[index].answers[position]) for index in answered]
        table = table.append_column(column.name, pa.array(cells, column.type))
    return table.replace_schema_metadata(rows.schema.metadata)


def part_schema(rows: pa.Schema, columns: Sequence[AnswerColumn], id_column: str) -> pa.Schema:
    """Return the schema of the tables that `part_table` returns for rows with the schema `rows`."""
    return part_table(rows.empty_table(), (), columns, id_column).schema


def _evidence_cell(row: Evidence) -> dict[str, object]:
    return {
        "path": row.path,
        "status": row.status.value,
        "text": row.text,
        "start": row.start,
        "end": row.end,
        "page": row.page,
        "quote": row.quote,
    }


def dead_letters_table(dead_letters: Sequence[DeadLetter], id_type: pa.DataType) -> pa.Table:
    """Build the table of a file of dead letters, one row per dead letter.

    A dead letter records a document, or one task of it, that failed. `id_type` is the Arrow type of
    the id column of the input.
    """
    columns = {
        DOC_ID: pa.array([letter.doc_id for letter in dead_letters], id_type),
        SOURCE: pa.array([letter.source for letter in dead_letters], pa.string()),
        ROW: pa.array([letter.row for letter in dead_letters], pa.int64()),
        "task": pa.array([letter.task for letter in dead_letters], pa.string()),
        "reason": pa.array([letter.problem.reason for letter in dead_letters], pa.string()),
        "message": pa.array([letter.problem.message for letter in dead_letters], pa.string()),
        "attempts": pa.array([letter.attempts for letter in dead_letters], pa.int32()),
    }
    return pa.table(columns)
