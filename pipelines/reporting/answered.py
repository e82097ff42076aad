"""The answers in an OUTPUT, and its dead letters, read part by part.

Knows the layout of OUTPUT and the columns of parts; knows no gold and no scores.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.corpus.id_types import IdKind
from pipelines.corpus.layout import Layout
from pipelines.documents import ANSWERED, DOC_ID
from pipelines.errors import OutputError
from pipelines.ledger.names import ANSWERS, DEAD_LETTERS, MANIFEST
from pipelines.ledger.opening import open_run
from pipelines.reporting.fields import EvaluatedTask, tasks_of
from pipelines.reporting.gold_ids import id_texts
from pipelines.reporting.gold_values import json_value
from pipelines.storage import Storage
from pipelines.tasks.columns import ANSWER, EVIDENCE

_PART = re.compile(r"part-\d{6,}\.parquet")
_TOGETHER = 8
_ROWS_AT_ONCE = 256
T = TypeVar("T")
_Part = tuple[npt.NDArray[np.int64], pa.Table]
"""The numbers of the right answers about some documents, and the documents' rows."""
Find = Callable[[pa.ChunkedArray], npt.NDArray[np.int64]]
"""Returns the number of the right answers about each document, -1 for one without any."""


@dataclass(frozen=True, slots=True)
class TaskAnswer:
    """The answer to one task about one document.

    Attributes:
        value: the fields of the value as JSON values; None if the task failed.
        strategy: how the document was read: `single`, `map_reduce` or `truncate`; None if unknown.
        evidence: the statuses of the evidence of each value, by the value's path.
    """

    value: Mapping[str, Any] | None
    strategy: str | None
    evidence: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class AnsweredDocument:
    """The answers about one document by task; `number` is that of its right answers."""

    number: int
    answers: Mapping[str, TaskAnswer]


@dataclass(frozen=True, slots=True)
class AnsweredOutput:
    """An OUTPUT that can be compared with right answers.

    Attributes:
        storage: the OUTPUT's storage.
        id_column: the name of its id column.
        id_kind: the kind of its ids.
        tasks: its tasks.
        others: the names of its kept columns.
        finished: whether the run has finished; else some documents may have no answer yet.
    """

    storage: Storage
    id_column: str
    id_kind: IdKind
    tasks: tuple[EvaluatedTask, ...]
    others: frozenset[str]
    finished: bool

    def documents(self, tasks: Sequence[str], find: Find) -> Iterator[AnsweredDocument]:
        """Yield the answers to these tasks about the documents that have right answers.

        Of each part, the ids are read, and then the columns of the tasks if they are needed. Raises
        StorageError.
        """
        parts = _in_parallel(
            lambda name: self._of_part(name, tasks, find), _files(self.storage, ANSWERS)
        )
        for numbers, table in parts:
            for start in range(0, len(numbers), _ROWS_AT_ONCE):
                end = start + _ROWS_AT_ONCE
                yield from _documents(numbers[start:end], table.slice(start, _ROWS_AT_ONCE))

    def _of_part(self, name: str, tasks: Sequence[str], find: Find) -> list[_Part]:
        """Return the documents of a part that have right answers, if there are any."""
        with _opened(self.storage, name) as file:
            id_name = file.schema_arrow.names[0]
            numbers = find(id_texts(file.read(columns=[id_name]).column(0)))
            rows = np.flatnonzero(numbers >= 0)
            if not len(rows):
                return []
            table = file.read(columns=_needed(file, tasks)).take(pa.array(rows))
        return [(numbers[rows], table)]

    def dead(self, find: Find) -> Iterator[int]:
        """Yield the numbers of the documents with right answers that have dead letters, of the
        whole document or of single tasks; some more than once. Raises StorageError."""
        yield from _in_parallel(
            lambda name: self._dead_of(name, find), _files(self.storage, DEAD_LETTERS)
        )

    def _dead_of(self, name: str, find: Find) -> list[int]:
        with _opened(self.storage, name) as file:
            ids = file.read(columns=[DOC_ID]).column(0)
        numbers = find(id_texts(ids))
        return [int(number) for number in numbers[numbers >= 0]]


def _documents(numbers: npt.NDArray[np.int64], table: pa.Table) -> Iterator[AnsweredDocument]:
    cells = {
        name: table.column(name).to_pylist(maps_as_pydicts="strict") for name in table.schema.names
    }
    for at, number in enumerate(numbers.tolist()):
        answers = {task: _answer(column[at]) for task, column in cells.items()}
        yield AnsweredDocument(number, answers)


def open_answers(url: str) -> AnsweredOutput:
    """Return the OUTPUT at `url`, a directory or URL.

    Raises OutputError if there is no run, if it has no answers, or if its records are damaged; and
    StorageError.
    """
    ledger, job = open_run(url)
    storage = ledger.storage
    parts = _files(storage, ANSWERS)
    if not parts:
        raise OutputError(f"{url} has no answers yet: {ANSWERS}/ has no part; run the job first")
    schemas = [_schema(storage, name) for name in dict.fromkeys((parts[0], parts[-1]))]
    tasks = {task.name: task for each in schemas for task in tasks_of(each, job["source"])}
    id_column, *others = schemas[0].names
    layouts = [plan.layout for plan in ledger.plans() if plan.layout]
    integers = pa.types.is_integer(schemas[0].field(0).type)
    kind = IdKind.INTEGER if integers else IdKind.TEXT
    return AnsweredOutput(
        storage,
        id_column,
        Layout.from_text(layouts[0]).id_kind if layouts else kind,
        tuple(tasks.values()),
        frozenset(others) - tasks.keys(),
        storage.exists(MANIFEST),
    )


def _files(storage: Storage, directory: str) -> list[str]:
    names = storage.names(directory)
    return [f"{directory}/{name}" for name in names if _PART.fullmatch(name)]


def _schema(storage: Storage, name: str) -> pa.Schema:
    with _opened(storage, name) as file:
        return file.schema_arrow


@contextmanager
def _opened(storage: Storage, name: str) -> Iterator[pq.ParquetFile]:
    """Yield a part opened for reading. Raises OutputError if it is damaged."""
    with storage.open(name) as handle:
        try:
            yield pq.ParquetFile(handle)
        except pa.ArrowException as error:
            raise OutputError(
                f"{storage.path(name)}: the file is damaged: {error}; see phifleet verify"
            ) from error


def _in_parallel(read: Callable[[str], list[T]], names: Sequence[str]) -> Iterator[T]:
    """Yield what `read` returns for each name, in their order; a few are read at a time."""
    with ThreadPoolExecutor(_TOGETHER) as pool:
        # `map` of all names would read them all ahead of a slow consumer
        for start in range(0, len(names), _TOGETHER):
            for found in pool.map(read, names[start : start + _TOGETHER]):
                yield from found


def _needed(file: pq.ParquetFile, tasks: Sequence[str]) -> list[str]:
    """Return the columns of a part that hold values, statuses and strategies of tasks."""
    paths = [file.schema.column(at).path for at in range(len(file.schema))]
    return [path for task in tasks for path in paths if _is_needed(path, task)]


def _is_needed(path: str, task: str) -> bool:
    if not path.startswith(f"{task}."):
        return False
    rest = path.removeprefix(f"{task}.")
    if rest.startswith(f"{EVIDENCE}."):
        return rest.endswith((".path", ".status"))
    return rest in (f"{ANSWER}.status", f"{ANSWER}.strategy") or not rest.startswith(f"{ANSWER}.")


def _answer(cell: Mapping[str, Any] | None) -> TaskAnswer:
    if cell is None:
        return TaskAnswer(None, None, {})
    about = cell.get(ANSWER) or {}
    evidence: dict[str, list[str]] = {}
    for row in cell.get(EVIDENCE) or ():
        evidence.setdefault(row["path"], []).append(row["status"])
    if about.get("status") != ANSWERED:
        return TaskAnswer(None, about.get("strategy"), {})
    value = {
        name: json_value(item) for name, item in cell.items() if name not in (ANSWER, EVIDENCE)
    }
    return TaskAnswer(value, about.get("strategy"), evidence)
