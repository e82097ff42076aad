"""The rows of a corpus: check the columns of its files, and read their rows. Parquet and JSONL.

Rows come as Arrow tables with the columns source, row, doc_id, text (bytes, not yet checked to be
UTF-8) and `kept.NAME` for every kept column, whatever encoding the file uses. Knows nothing of
tokens, units or runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.corpus import jsonl
from pipelines.corpus.files import SourceFile
from pipelines.corpus.fragments import Fragment
from pipelines.corpus.layout import (
    JSONL,
    Layout,
    columns_of,
    common_layout,
    later_layout,
    layout_of,
    partition_values,
)
from pipelines.corpus.parquet import row_group_batches, row_groups
from pipelines.corpus.tables.columns import present_rows, unpack_deleted
from pipelines.errors import InputError, PhifleetError, StorageError, UnreadableFile
from pipelines.job.spec import InputSpec
from pipelines.stores.protocols import filesystem_errors, open_store


@dataclass(frozen=True, slots=True)
class Corpus:
    """The files of one job's input, their fragments in order, and the layout common to all files.

    `spec` is the job's section `input`.
    """

    spec: InputSpec
    files: tuple[SourceFile, ...]
    fragments: tuple[Fragment, ...]
    layout: Layout


def open_corpus(
    spec: InputSpec, files: Sequence[SourceFile], earlier: Layout | None = None
) -> Corpus:
    """Read the schema of every file and check its columns against the job and the other files.

    `earlier` is the layout of the files that the run has already indexed, if there are any; the new
    files must agree with it. Raises InputError naming file and column, UnreadableFile if a file is
    damaged, and StorageError.
    """
    filesystem = filesystem_of(spec)
    with ThreadPoolExecutor(16) as pool:
        opened = list(pool.map(lambda file: _open_file(filesystem, file, spec), files))
    layout = common_layout([layout for layout, _ in opened], [file.path for file in files], spec)
    fragments = tuple(fragment for _, of_file in opened for fragment in of_file)
    if earlier is not None and fragments:
        layout = later_layout(earlier, layout, files[0].path, spec)
    return Corpus(spec, tuple(files), fragments, layout)


def filesystem_of(spec: InputSpec) -> Any:
    """Return the fsspec filesystem of `input.path`. Raises InputError, StorageError."""
    return open_store(spec.path, InputError)[0]


def _open(filesystem: Any, path: str) -> Any:
    """Open a file for reading: JSONL with read-ahead, as it is read from start to end; Parquet
    without, as S3 would send more than a column chunk holds with every request."""
    return filesystem.open(path, "rb", cache_type="readahead" if path.endswith(JSONL) else "none")


def _open_file(
    filesystem: Any, file: SourceFile, spec: InputSpec
) -> tuple[Layout | None, list[Fragment]]:
    """Return a file's layout and fragments; the layout is None for a JSONL file without a line."""
    try:
        with _open(filesystem, file.path) as handle:
            if file.path.endswith(JSONL):
                schema = jsonl.find_schema(handle, columns_of(spec), whole=bool(spec.keep_columns))
                fragments = [_jsonl_fragment(file, schema, spec)] if schema else []
            else:
                parquet = pq.ParquetFile(handle)
                schema = file.table.schema if file.table else parquet.schema_arrow
                fragments = row_groups(parquet.metadata, file.path, file.table)
    except filesystem_errors(pa.ArrowException) as error:
        if file.table is not None and isinstance(error, FileNotFoundError):
            raise InputError(
                f"{file.path}: the table's version that is to be read has this file, and it does "
                "not exist: a clean-up of the table (VACUUM, expire_snapshots) has deleted it. "
                "Remove input.version, or set it to a version that is kept"
            ) from error
        raise _read_error(f"{file.path}: cannot be read", error) from error
    return None if schema is None else layout_of(schema, file.path, spec), fragments


def _jsonl_fragment(file: SourceFile, schema: pa.Schema, spec: InputSpec) -> Fragment:
    columns_in_file = frozenset(spec.keep_columns).intersection(schema.names)
    return Fragment(file.path, None, 0, file.size_bytes, columns_in_file)


def read_rows(spec: InputSpec, layout: Layout, fragment: Fragment) -> Iterator[pa.Table]:
    """Yield the rows of a fragment in order, as tables of a few MB with the schema `layout.schema`.

    Raises InputError naming the file and the value if a number would be rounded, UnreadableFile
    naming the file and the row from which it is damaged, and StorageError.
    """
    filesystem = filesystem_of(spec)
    row = fragment.first_row
    deleted = unpack_deleted(fragment.table.deleted if fragment.table else b"")
    try:
        with _open(filesystem, fragment.path) as handle:
            for batch in _batches(handle, spec, layout, fragment):
                rows = _normal_rows(batch, row, spec, layout, fragment.path)
                yield rows.filter(present_rows(deleted, row, len(rows))) if len(deleted) else rows
                row += batch.num_rows
    except InputError as error:
        raise InputError(f"{fragment.path}: {error.message}") from error
    except filesystem_errors(pa.ArrowException) as error:
        message = f"{fragment.path}: cannot be read to its end, from row {row} on"
        raise _read_error(message, error) from error


def _read_error(message: str, error: Exception) -> PhifleetError:
    """Return UnreadableFile if the file is damaged, else StorageError.

    Arrow reports damage by its own exceptions or by an OSError without an errno. Any other error is
    the filesystem's: the file may be intact, and a later attempt may succeed.
    """
    without_errno = type(error) is OSError and error.errno is None
    if without_errno or isinstance(error, pa.ArrowException):
        # callers name the remedy, or list the file as skipped
        return UnreadableFile(f"{message}: {error}")
    return StorageError(f"{message}: {error}; check the connection and the permissions")


def unreadable_reason(spec: InputSpec, file: SourceFile) -> str | None:
    """Return a message why a file is damaged, or None if it can be read to its end. Reads every row
    and column that a run would read.

    Raises InputError if the file's columns are not as the job requires, and StorageError.
    """
    try:
        corpus = open_corpus(spec, [file])
        for fragment in corpus.fragments:
            for _ in read_rows(spec, corpus.layout, fragment):
                pass
    except UnreadableFile as error:
        return error.message
    return None


def _batches(
    handle: Any, spec: InputSpec, layout: Layout, fragment: Fragment
) -> Iterator[pa.Table | pa.RecordBatch]:
    if fragment.row_group is None:
        return jsonl.read_tables(handle, _jsonl_schema(spec, layout, fragment))
    return row_group_batches(handle, columns_of(spec), fragment.row_group, fragment.table)


def _jsonl_schema(spec: InputSpec, layout: Layout, fragment: Fragment) -> pa.Schema:
    """Return the schema that a JSONL file's lines are parsed with: without the kept columns that
    only its path gives."""
    in_path = partition_values(fragment.path).keys() - fragment.columns_in_file
    types = {field.name: field.type for field in layout.kept if field.name not in in_path}
    return pa.schema({**types, spec.id_column: layout.id_type, spec.text_column: pa.string()})


def _normal_rows(
    rows: pa.Table | pa.RecordBatch, first_row: int, spec: InputSpec, layout: Layout, path: str
) -> pa.Table:
    """Return a file's rows with the columns and types of `layout.schema`."""
    count = rows.num_rows
    columns = [
        pa.repeat(path, count),
        pa.array(range(first_row, first_row + count), pa.int64()),
        _cast(rows.column(spec.id_column), layout.id_type),
        _as_bytes(rows.column(spec.text_column)),
    ]
    partitions = partition_values(path)
    for field in layout.kept:
        if field.name in rows.schema.names:
            columns.append(_cast(rows.column(field.name), field.type))
        else:
            columns.append(pa.array([partitions[field.name]] * count, field.type))
    return pa.table(columns, schema=layout.schema)


def _cast(column: pa.Array | pa.ChunkedArray, to: pa.DataType) -> pa.Array | pa.ChunkedArray:
    return column if column.type == to else pc.cast(column, to)


def _as_bytes(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return text as bytes: UTF-8 is checked for each document, so that one bad text does not fail
    its whole file."""
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    return pc.cast(column, pa.large_binary())
