"""Reads the rows of files of right answers: Parquet, or lines of JSON, compressed or not.

Knows formats, ids and tasks; knows no scores.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.corpus.blocks import blocks_of
from pipelines.corpus.compression import read_chunks
from pipelines.corpus.files import SourceFile, list_files
from pipelines.corpus.id_types import IdKind
from pipelines.corpus.jsonl import numbered_lines
from pipelines.errors import InputError, PhifleetError, StorageError
from pipelines.job.jobfile import format_value
from pipelines.reporting.fields import EvaluatedTask
from pipelines.reporting.gold import GoldRow
from pipelines.reporting.gold_ids import gold_id, gold_id_values
from pipelines.reporting.gold_values import WrongGold, gold_answers, known_keys
from pipelines.stores.protocols import filesystem_errors, open_store

ID = "id"
"""The key of a document's id, besides the name of OUTPUT's id column."""
FEEDBACK_KEYS = frozenset({"answer", "verdict", "correction"})
"""Keys that rows of an endpoint's feedback have, and right answers do not."""
_UNREAD_FEEDBACK = frozenset({"text", "comment"})
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row of a file: its values by column, and the file and row, for messages."""

    values: dict[str, Any]
    place: str


@dataclass(frozen=True, slots=True)
class GoldForm:
    """Describes the columns that rows of gold may have, from the OUTPUT that they are about.

    Attributes:
        id_column: the name of OUTPUT's id column; `id` is accepted, too.
        id_kind: the kind of its ids.
        tasks: its tasks by name.
        others: its other columns, which gold may have and which are not read.
    """

    id_column: str
    id_kind: IdKind
    tasks: Mapping[str, EvaluatedTask]
    others: frozenset[str] = frozenset()

    def is_feedback(self, names: Collection[str]) -> bool:
        """Return whether rows with these keys are feedback of an endpoint."""
        return set(names) >= FEEDBACK_KEYS and not FEEDBACK_KEYS & self.tasks.keys()

    def columns_to_read(self, names: Sequence[str]) -> list[str]:
        """Return the columns of a file to read, of all its `names`."""
        if self.is_feedback(names):
            return [name for name in names if name not in _UNREAD_FEEDBACK]
        return [name for name in names if self.is_read(name) or name == self.id_key(names)]

    def id_key(self, names: Sequence[str]) -> str | None:
        """Return the column of `names` that has the ids, None if there is none."""
        return next((name for name in (self.id_column, ID) if name in names), None)

    def is_read(self, name: str) -> bool:
        """Return whether a column is read: it is neither OUTPUT's own nor begins with `_`."""
        return not name.startswith("_") and name not in self.others

    def row(self, raw: RawRow) -> GoldRow:
        """Return the right answers that a row states. Raises InputError naming its place."""
        key = self.id_key(list(raw.values))
        if key is None:
            raise InputError(
                f"--gold: {raw.place}: no id; add the document's id under the key {self.id_column}"
            )
        values = {
            name: value for name, value in raw.values.items() if self.is_read(name) and name != key
        }
        doc_id = self.doc_id(raw.values[key], f"{raw.place}: {key}")
        try:
            return GoldRow(doc_id, raw.place, gold_answers(values, self.tasks))
        except WrongGold as error:
            known = known_keys(self.tasks.values(), [key])
            raise InputError(f"--gold: {raw.place}: {error}. Known keys: {known}") from error

    def doc_id(self, value: Any, place: str) -> str:
        """Return a document's id as text. Raises InputError naming `place` for a wrong one."""
        try:
            return gold_id(value, self.id_kind)
        except ValueError as error:
            raise InputError(
                f"--gold: {place}: got {format_value(value)}, {error}; correct the id"
            ) from error


def list_gold(path: str) -> list[SourceFile]:
    """Return the files at `path`: a file, a directory or a glob, on a disk or in a bucket."""
    try:
        return list_files(path)
    except PhifleetError as error:
        raise type(error)(error.message.replace("input.path", "--gold")) from error


def read_rows(path: str, files: Sequence[SourceFile], form: GoldForm) -> Iterator[RawRow]:
    """Yield the rows of files of right answers in order. Numbers of rows begin with 1.

    Of Parquet files, only columns that `form` reads are read. Raises InputError if a file or a line
    cannot be read, and StorageError.
    """
    filesystem = open_store(path, InputError, "--gold")[0]
    for file in files:
        lines = file.kind is not None and file.kind.is_lines
        try:
            with filesystem.open(file.path, "rb") as handle:
                if lines:
                    yield from _lines(handle, file.path)
                else:
                    yield from _parquet(handle, file.path, form)
        except PhifleetError as error:
            prefix = "" if error.message.startswith("--gold") else f"--gold: {file.path}: "
            raise type(error)(f"{prefix}{error.message}") from error
        except filesystem_errors(pa.ArrowException) as error:
            damaged = isinstance(error, pa.ArrowException)
            kind = InputError if damaged else StorageError
            raise kind(
                f"--gold: {file.path}: cannot be read: {error}; check the file and the connection"
            ) from error


def _lines(handle: Any, path: str) -> Iterator[RawRow]:
    for block in blocks_of(read_chunks(handle)):
        for number, line in numbered_lines(block):
            place = f"{path} line {number + 1}"
            try:
                values = json.loads(line, object_pairs_hook=_unique)
            except ValueError as error:
                raise InputError(
                    f"--gold: {place}: cannot be read as JSON: {error}; write one object on each "
                    "line"
                ) from error
            if not isinstance(values, dict):
                raise InputError(
                    f"--gold: {place}: got {format_value(values)}, must be an object with the id "
                    "and the right answers of one document"
                )
            yield RawRow(values, place)


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(members)
    if len(values) < len(members):
        names = [name for name, _ in members]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {repeated!r} occurs more than once")
    return values


def _parquet(handle: Any, path: str, form: GoldForm) -> Iterator[RawRow]:
    """Yield the rows of a Parquet file. A column of ids has strings and integers."""
    number = 0
    file = pq.ParquetFile(handle)
    id_key = form.id_key(file.schema_arrow.names)
    names = form.columns_to_read(file.schema_arrow.names)
    for batch in file.iter_batches(_ROWS_AT_ONCE, columns=names):
        columns = {
            name: _ids(column, f"{path}: column {name}") if name == id_key else _values(column)
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        }
        for at in range(batch.num_rows):
            number += 1
            values = {name: column[at] for name, column in columns.items()}
            yield RawRow(values, f"{path} row {number}")


def _ids(column: pa.Array, where: str) -> list[Any]:
    try:
        return list(gold_id_values(column))
    except ValueError as error:
        raise InputError(f"--gold: {where}: {error}; convert the column to strings") from error


def _values(column: pa.Array) -> list[Any]:
    if isinstance(column.type, pa.UuidType):
        return [value and str(value) for value in column.to_pylist()]
    return list(column.to_pylist(maps_as_pydicts="strict"))
