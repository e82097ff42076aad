"""Joins new results about documents of a unit into its part and its dead letters.

A task of a document that was asked again has its new result: a value in the part, or a dead letter.
Everything else stays as it was. Depends on values and Arrow only; knows no engine, no files and no
Ray.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.documents import DOC_ID, KEPT, Answer, DeadLetter, DocumentResult
from pipelines.tasks.columns import ANSWER, AnswerColumn, dead_letters_table, part_table

DocId = str | int
Cells = dict[tuple[DocId, str], dict[str, object]]
"""Cells of a part by document and task."""


@dataclass(frozen=True)
class UnitTables:
    """The part and the dead letters of a unit; None for one that has no rows."""

    part: pa.Table | None
    letters: pa.Table | None


def join_results(
    unit: UnitTables,
    rows: pa.Table,
    results: Sequence[DocumentResult],
    columns: Sequence[AnswerColumn],
    id_column: str,
) -> UnitTables:
    """Return a unit's tables with new results joined in.

    A document that had no row in the part gets one, at its end, if a task is answered now; tasks
    that have still failed are null there, with their status. A document that failed as a whole
    before, and does again, has one dead letter; any other has one for each task that was asked.
    Joining the same results again changes no row.

    Args:
        unit: the unit's tables.
        rows: the input rows of the documents that were asked again.
        results: the result of each of them; `document.tasks` names the tasks that were asked.
        columns: the columns of all tasks of the job, in its order. One that the part does not have
            is added, and is null for documents that were not asked.
        id_column: the name of the id column in the part.
    """
    whole = _failed_wholly(unit.letters)
    letters = _join_letters(unit.letters, whole, results, rows.schema.field(DOC_ID).type)
    part = unit.part
    if part is None:
        part = part_table(rows.slice(0, 0), (), columns, id_column)
    known = set(part.column(0).to_pylist())
    added = [
        at
        for at, result in enumerate(results)
        if result.answered and result.document.doc_id not in known
    ]
    new = [results[at].document.doc_id for at in added]
    counting = [r for r in results if not r.problem or r.document.doc_id not in whole]
    cells = _failed_cells(new, columns, letters) | _cells(counting, columns)
    joined = _with_rows(part, rows.take(pa.array(added, pa.int64())), columns)
    joined = _with_columns(joined, part, columns, cells)
    return UnitTables(joined if joined.num_rows else None, letters)


def _failed_wholly(letters: pa.Table | None) -> set[DocId]:
    if letters is None:
        return set()
    return set(letters.filter(pc.is_null(letters["task"]))[DOC_ID].to_pylist())


def _answers(result: DocumentResult) -> Sequence[Answer]:
    """Return the answers of a result; for one with a problem, failed ones of the asked tasks."""
    if result.problem is None:
        return result.answers
    return [Answer(task, None, result.problem) for task in result.document.tasks or ()]


def _join_letters(
    old: pa.Table | None,
    whole: set[DocId],
    results: Sequence[DocumentResult],
    id_type: pa.DataType,
) -> pa.Table | None:
    """Return the dead letters without those of what was asked again, and with the new ones."""
    asked = {result.document.doc_id: result.document.tasks or () for result in results}
    new = [letter for result in results for letter in _dead_letters(result, whole)]
    tables = [dead_letters_table(new, id_type)]
    if old is not None:
        pairs = zip(old[DOC_ID].to_pylist(), old["task"].to_pylist(), strict=True)
        kept = [
            doc_id not in asked or (task is not None and task not in asked[doc_id])
            for doc_id, task in pairs
        ]
        remaining = old.filter(pa.array(kept, pa.bool_()))
        tables.insert(0, remaining.cast(tables[0].schema).replace_schema_metadata(None))
    letters = pa.concat_tables(tables)
    return letters if letters.num_rows else None


def _dead_letters(result: DocumentResult, whole: set[DocId]) -> list[DeadLetter]:
    document = result.document
    if result.problem and document.doc_id in whole:
        return result.dead_letters()
    return [
        DeadLetter(
            document.doc_id, document.source, document.row, answer.task, answer.problem,
            result.attempts,
        )
        for answer in _answers(result)
        if answer.problem
    ]  # fmt: skip


def _failed_cells(
    documents: Sequence[DocId], columns: Sequence[AnswerColumn], letters: pa.Table | None
) -> Cells:
    """Return cells with the statuses of the tasks that have dead letters of these documents."""
    if letters is None:
        return {}
    names = (DOC_ID, "task", "reason")
    rows = list(zip(*(letters[name].to_pylist() for name in names), strict=True))
    statuses = {(doc_id, task): reason for doc_id, task, reason in rows}
    return {
        (doc_id, column.name): {ANSWER: {"status": statuses[doc_id, column.name]}}
        for doc_id in documents
        for column in columns
        if (doc_id, column.name) in statuses
    }


def _cells(results: Sequence[DocumentResult], columns: Sequence[AnswerColumn]) -> Cells:
    by_name = {column.name: column for column in columns}
    return {
        (result.document.doc_id, answer.task): by_name[answer.task].cell(answer)
        for result in results
        for answer in _answers(result)
    }


def _with_rows(part: pa.Table, added: pa.Table, columns: Sequence[AnswerColumn]) -> pa.Table:
    """Return the part's columns without those of tasks, with the values of input rows appended."""
    tasks = {column.name for column in columns}
    own = part.select([name for name in part.column_names if name not in tasks])
    values = added.select([DOC_ID, *(f"{KEPT}{name}" for name in own.column_names[1:])])
    appended = values.rename_columns(own.column_names).cast(own.schema)
    return pa.concat_tables([own, appended.replace_schema_metadata(own.schema.metadata)])


def _with_columns(
    rows: pa.Table, part: pa.Table, columns: Sequence[AnswerColumn], cells: Cells
) -> pa.Table:
    """Return the rows, those of the part first, with the columns of all tasks: the part's values,
    and these cells in place of those that they are for."""
    ids = rows.column(0).to_pylist()
    for column in columns:
        old = part[column.name] if column.name in part.column_names else None
        of_task = {doc_id: cell for (doc_id, task), cell in cells.items() if task == column.name}
        rows = rows.append_column(column.name, _column(old, column.type, ids, of_task))
    return rows.replace_schema_metadata(part.schema.metadata)


def _column(
    old: pa.ChunkedArray | None,
    kind: pa.DataType,
    ids: Sequence[DocId],
    cells: Mapping[DocId, dict[str, object]],
) -> pa.Array:
    """Return the column of a task for the documents `ids`, of which the first have the values of
    `old`: with these cells in place of those that it has."""
    before = pa.nulls(0, kind) if old is None else old.cast(kind).combine_chunks()
    before = pa.concat_arrays([before, pa.nulls(len(ids) - len(before), kind)])
    new = [doc_id for doc_id in ids if doc_id in cells]
    place = {doc_id: len(before) + at for at, doc_id in enumerate(new)}
    values = pa.concat_arrays([before, pa.array([cells[doc_id] for doc_id in new], kind)])
    places = [place.get(doc_id, at) for at, doc_id in enumerate(ids)]
    return values.take(pa.array(places, pa.int64()))
