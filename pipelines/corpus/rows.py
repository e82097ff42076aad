"""The rows of a corpus: check the columns of its files, and read their rows. Parquet and JSONL.

Rows come as Arrow tables with the columns source, row, doc_id, text (bytes, not yet checked to be
UTF-8) and `kept.NAME` for every kept column, whatever encoding the file uses. Knows nothing of
tokens, units or runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.corpus.changes import check_opened, check_span, check_unchanged
from pipelines.corpus.files import SourceFile
from pipelines.corpus.fragments import Fragment
from pipelines.corpus.inference import find_schema
from pipelines.corpus.jsonl import Lines, LinesReader
from pipelines.corpus.layout import (
    Layout,
    columns_of,
    common_layout,
    later_layout,
    layout_of,
    partition_values,
)
from pipelines.corpus.parquet import row_group_batches, row_groups
from pipelines.documents import BROKEN, ROW
from pipelines.errors import FileChanged, InputError, PhifleetError, StorageError, UnreadableFile
from pipelines.job.spec import InputSpec
from pipelines.stores.protocols import filesystem_errors, open_store

_OPENED_TOGETHER = 1024


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
    layouts: list[Layout | None] = []
    fragments: list[Fragment] = []
    same: dict[str, Layout] = {}
    with ThreadPoolExecutor(16) as pool:
        # a future of the pool takes more memory than all that is known of a file
        for start in range(0, len(files), _OPENED_TOGETHER):
            batch = files[start : start + _OPENED_TOGETHER]
            for layout, of_file in pool.map(lambda file: _open_file(filesystem, file, spec), batch):
                # so does a layout, of which there are few different ones
                layouts.append(layout and same.setdefault(layout.to_text(), layout))
                fragments += of_file
    layout = common_layout(layouts, [file.path for file in files], spec)
    if earlier is not None and fragments:
        layout = later_layout(earlier, layout, files[0].path, spec)
    return Corpus(spec, tuple(files), tuple(fragments), layout)


def filesystem_of(spec: InputSpec) -> Any:
    """Return the fsspec filesystem of `input.path`. Raises InputError, StorageError."""
    return open_store(spec.path, InputError)[0]


def _open(filesystem: Any, path: str, *, lines: bool) -> Any:
    """Open a file for reading: JSONL with read-ahead, as it is read from start to end; Parquet
    without, as S3 would send more than a column chunk holds with every request."""
    return filesystem.open(path, "rb", cache_type="readahead" if lines else "none")


def _open_file(
    filesystem: Any, file: SourceFile, spec: InputSpec
) -> tuple[Layout | None, list[Fragment]]:
    """Return a file's layout and fragments; the layout is None for a JSONL file without a line."""
    lines = file.kind is not None and file.kind.is_lines
    try:
        with _open(filesystem, file.path, lines=lines) as handle:
            if lines:
                schema = find_schema(handle, spec)
                fragments = [_jsonl_fragment(file, schema, spec)] if schema else []
            else:
                parquet = pq.ParquetFile(handle)
                schema = parquet.schema_arrow
                fragments = row_groups(parquet.metadata, file.path)
    except UnreadableFile as error:
        check_unchanged(spec, file)
        raise UnreadableFile(f"{file.path}: cannot be read: {error.message}") from error
    except filesystem_errors(pa.ArrowException) as error:
        # a file that is being written to is not a damaged one
        check_unchanged(spec, file)
        raise _read_error(f"{file.path}: cannot be read", error) from error
    if not fragments:
        # any other file is compared when its rows have been read
        check_unchanged(spec, file)
    layout = None if schema is None else layout_of(schema, file.path, spec)
    return layout, [replace(fragment, file=file) for fragment in fragments]


def _jsonl_fragment(file: SourceFile, schema: pa.Schema, spec: InputSpec) -> Fragment:
    columns_in_file = frozenset(spec.keep_columns).intersection(schema.names)
    return Fragment(file.path, None, 0, file.size_bytes, columns_in_file)


def read_rows(spec: InputSpec, layout: Layout, fragment: Fragment) -> Iterator[pa.Table]:
    """Yield the rows of a fragment in order, as tables of a few MB with the schema `layout.schema`.

    Call `changes.check_span` when the rows have been read. Raises InputError naming the file and
    the value if a number would be rounded, UnreadableFile naming the file and the row from which
    it is damaged, FileChanged, and StorageError.
    """
    filesystem = filesystem_of(spec)
    row = fragment.first_row
    try:
        with _open(filesystem, fragment.path, lines=fragment.row_group is None) as handle:
            if fragment.file:
                check_opened(spec, handle, fragment.file)
            if fragment.row_group is None:
                reader = LinesReader(fragment.path, _jsonl_schema(spec, layout, fragment), spec)
                for lines in reader.read(handle):
                    rows = _normal_rows(lines.table, row, spec, layout, fragment.path)
                    yield _with_lines(rows, lines)
                    row += len(rows)
                return
            for batch in row_group_batches(handle, columns_of(spec), fragment.row_group):
                yield _normal_rows(batch, row, spec, layout, fragment.path)
                row += batch.num_rows
    except FileChanged:
        raise
    except InputError as error:
        if fragment.file and isinstance(error, UnreadableFile):
            # a file that is being written to is not a damaged one
            check_unchanged(spec, fragment.file)
        raise type(error)(f"{fragment.path}: {error.message}") from error
    except filesystem_errors(pa.ArrowException) as error:
        if fragment.file:
            check_unchanged(spec, fragment.file)
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
        check_span(spec, corpus.fragments)
    except UnreadableFile as error:
        return error.message
    return None


def _with_lines(rows: pa.Table, lines: Lines) -> pa.Table:
    """Return rows with the numbers of their lines, and what is wrong with the broken ones."""
    for name, column in ((ROW, lines.numbers), (BROKEN, lines.broken)):
        rows = rows.set_column(rows.schema.get_field_index(name), name, column)
    return rows


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
        pa.nulls(count, pa.string()),
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
