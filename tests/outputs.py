"""Writes OUTPUTs as a run leaves them behind, without a run: parts, dead letters and records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.corpus.id_types import IdKind
from pipelines.corpus.layout import Layout
from pipelines.documents import (
    Answer,
    AnswerValue,
    DeadLetter,
    Document,
    DocumentResult,
    Problem,
    Usage,
)
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.records import Plan
from pipelines.storage import Storage
from pipelines.tasks.columns import AnswerColumn, dead_letters_table, part_table
from pipelines.tasks.schema import from_shorthand

FAILED = Problem("invalid_answer", "no")
"""Why a task has no answer."""


def columns_of(tasks: Sequence[Mapping[str, Any]]) -> list[AnswerColumn]:
    """Return the columns of tasks as in a job file; extractions have `fields`."""
    return [
        AnswerColumn(
            task["name"],
            task["kind"],
            from_shorthand(task["fields"]) if "fields" in task else None,
            bool(task.get("multiple")),
        )
        for task in tasks
    ]


def answer(task: str, value: AnswerValue | None, strategy: str = "single") -> Answer:
    """Return the answer to a task; None stands for a task that failed."""
    problem = FAILED if value is None else None
    return Answer(task, value, problem, strategy, 1, Usage(9, 4, 2), "stop")


def write_output(
    directory: Path,
    tasks: Sequence[Mapping[str, Any]],
    documents: Mapping[Any, Sequence[Answer]],
    *,
    dead: Sequence[Any] = (),
    rows_of_part: int = 3,
    id_kind: IdKind | None = None,
    finished: bool = True,
    id_column: str = "doc",
) -> str:
    """Write an OUTPUT with the answers of each document by id, and dead letters; return its path.

    `length` is a kept column.
    """
    columns = columns_of(tasks)
    ids = [*documents]
    kind = id_kind or (IdKind.TEXT if all(isinstance(i, str) for i in ids) else IdKind.INTEGER)
    for number, start in enumerate(range(0, len(ids), rows_of_part)):
        some = {doc_id: documents[doc_id] for doc_id in ids[start : start + rows_of_part]}
        _write_part(directory, number, columns, some, kind, id_column)
    letters = [DeadLetter(doc_id, "f.parquet", 0, None, FAILED) for doc_id in dead]
    if letters:
        (directory / "dead_letters").mkdir(parents=True, exist_ok=True)
        table = dead_letters_table(letters, kind.type)
        pq.write_table(table, directory / "dead_letters/part-000000.parquet")
    _write_records(directory, tasks, kind)
    if finished:
        (directory / "manifest.json").write_text('{"documents": 0}')
    return str(directory)


def _write_part(
    directory: Path,
    number: int,
    columns: Sequence[AnswerColumn],
    documents: Mapping[Any, Sequence[Answer]],
    kind: IdKind,
    id_column: str,
) -> None:
    ids = [*documents]
    results = [
        DocumentResult(Document(doc_id, "text"), tuple(answers))
        for doc_id, answers in documents.items()
    ]
    rows = pa.table(
        {"doc_id": pa.array(ids, kind.type), "kept.length": pa.array([7] * len(ids), pa.int64())}
    )
    (directory / "answers").mkdir(parents=True, exist_ok=True)
    part = part_table(rows, results, columns, id_column)
    pq.write_table(part, directory / f"answers/part-{number:06d}.parquet")


def _write_records(directory: Path, tasks: Sequence[Mapping[str, Any]], kind: IdKind) -> None:
    ledger = Ledger(Storage(str(directory)))
    job = {"source": {"tasks": list(tasks)}, "digests": {}, "fingerprint": "f"}
    ledger.open_job({**job, "model": "tiny", "revision": "r"})
    layout = Layout(kind, pa.schema([])).to_text()
    ledger.add_plan(0, Plan((), (), (), {}, layout))


def write_gold(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows of right answers as lines of JSON; return the path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)
