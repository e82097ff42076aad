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

from pipelines.corpus.agreement import common_layout
from pipelines.corpus.changes import check_opened, check_span, check_unchanged
from pipelines.corpus.files import SourceFile
from pipelines.corpus.fragments import Fragment
from pipelines.corpus.inference import find_schema
from pipelines.corpus.jsonl import LinesReader
from pipelines.corpus.layout import Layout, columns_of, layout_of
from pipelines.corpus.line_pieces import Piece, divide
from pipelines.corpus.normal_rows import json_schema, normal_rows
from pipelines.corpus.parquet import row_group_batches, row_groups
from pipelines.corpus.parquet_types import open_schema
from pipelines.corpus.partitions import partition_values
from pipelines.corpus.places import find_place, schema_within
from pipelines.corpus.tables.columns import present_rows, unpack_deleted
from pipelines.documents import BROKEN
from pipelines.errors import FileChanged, InputError, PhifleetError, StorageError, UnreadableFile
from pipelines.job.spec import InputSpec
from pipelines.stores.protocols import filesystem_errors, open_store

_OPENED_TOGETHER = 1024
# With more files than these, all CPUs have enough to do although no file is divided.
_FEW_FILES = 64


@dataclass(frozen=True, slots=True)
class Corpus:
    """The files of one job's input, their fragments in order, and the layout common to all files.

    `spec` is the job's section `input`.
    """

    spec: InputSpec
    files: tuple[SourceFile, ...]
    fragments: tuple[Fragment, ...]
    layout: Layout

    @property
    def without_rows(self) -> tuple[str, ...]:
        """The paths of the files that have no rows."""
        with_rows = {fragment.path for fragment in self.fragments}
        return tuple(file.path for file in self.files if file.path not in with_rows)


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
    same: dict[object, Layout] = {}
    with ThreadPoolExecutor(16) as pool:
        few = len(files) <= _FEW_FILES
        # a future of the pool takes more memory than all that is known of a file
        for start in range(0, len(files), _OPENED_TOGETHER):
            batch = files[start : start + _OPENED_TOGETHER]
            opened = pool.map(lambda file: _open_file(filesystem, file, spec, few=few), batch)
            for layout, of_file in opened:
                layouts.append(layout and same.setdefault(_key(layout), layout))
                fragments += of_file
    layout = common_layout(layouts, [file.path for file in files], spec, earlier)
    return Corpus(spec, tuple(files), tuple(fragments), layout)


def _key(layout: Layout) -> object:
    """Return a value that equal layouts share: files have few different ones, and a layout takes
    more memory than all else that is known of a file."""
    in_path = tuple(layout.in_path.items())
    return layout.to_text(), layout.id_source, in_path, layout.lines


def filesystem_of(spec: InputSpec) -> Any:
    """Return the fsspec filesystem of `input.path`. Raises InputError, StorageError."""
    return open_store(spec.path, InputError)[0]


def _open(filesystem: Any, path: str, *, lines: bool) -> Any:
    """Open a file for reading: JSONL with read-ahead, as it is read from start to end; Parquet
    without, as S3 would send more than a column chunk holds with every request."""
    return filesystem.open(path, "rb", cache_type="readahead" if lines else "none")


def _open_file(
    filesystem: Any, file: SourceFile, spec: InputSpec, *, few: bool
) -> tuple[Layout | None, list[Fragment]]:
    """Return a file's layout and fragments; the layout is None for a JSONL file without a line. A
    large JSONL file is divided only if there are `few` files: that reads it once more."""
    lines = file.kind is not None and file.kind.is_lines
    try:
        with _open(filesystem, file.path, lines=lines) as handle:
            if lines:
                schema = find_schema(handle, spec)
                pieces = divide(handle, file.size_bytes) if schema and few else []
                fragments = _jsonl_fragments(file, schema, spec, pieces) if schema else []
            else:
                schema, metadata = open_schema(handle)
                schema = file.table.schema if file.table else schema
                fragments = row_groups(metadata, file.path)
    except UnreadableFile as error:
        check_unchanged(spec, file)
        raise UnreadableFile(f"{file.path}: cannot be read: {error.message}") from error
    except filesystem_errors(pa.ArrowException) as error:
        raise _failure(spec, file, f"{file.path}: cannot be read", error) from error
    if not fragments:
        # any other file is compared when its rows have been read
        check_unchanged(spec, file)
    # a table's partitions are columns of its schema, not of its paths
    in_path = {} if file.table else partition_values(file.path)
    layout = (
        layout_of(schema, file.path, spec, in_path, lines=lines) if schema is not None else None
    )
    return layout, [replace(each, file=file) for each in fragments]


def _jsonl_fragments(
    file: SourceFile, schema: pa.Schema, spec: InputSpec, pieces: Sequence[Piece]
) -> list[Fragment]:
    places = [place for name in columns_of(spec) if (place := find_place(schema, name))]
    whole = Fragment(file.path, None, 0, file.size_bytes, schema_within(schema, places))
    return [
        replace(whole, first_row=piece.first_line, size_bytes=piece.end - piece.start, piece=piece)
        for piece in pieces
    ] or [whole]


def read_rows(spec: InputSpec, layout: Layout, fragment: Fragment) -> Iterator[pa.Table]:
    """Yield the rows of a fragment in order, as tables of a few MB with the schema `layout.schema`.

    Call `changes.check_span` when the rows have been read. Raises InputError naming the file and
    the value if a number would be rounded, UnreadableFile naming the file and the row from which
    it is damaged, FileChanged, and StorageError.
    """
    filesystem = filesystem_of(spec)
    row = fragment.first_row
    deleted = unpack_deleted(fragment.table.deleted if fragment.table else b"")
    try:
        with _open(filesystem, fragment.path, lines=fragment.row_group is None) as handle:
            if fragment.file:
                check_opened(spec, handle, fragment.file)
            if fragment.row_group is None:
                assert fragment.schema is not None
                schema = json_schema(fragment.schema, spec, layout)
                reader = LinesReader(fragment.path, schema, spec)
                for lines in reader.read(handle, fragment.piece):
                    row = lines.numbers[0].as_py() if len(lines.numbers) else row
                    rows = normal_rows(lines.table, lines.numbers, spec, layout, fragment)
                    yield _with_broken(rows, lines.broken)
                return
            columns = columns_of(spec)
            for batch in row_group_batches(handle, columns, fragment.row_group, fragment.table):
                numbers = pa.array(range(row, row + batch.num_rows), pa.int64())
                present = batch
                if len(deleted):
                    mask = present_rows(deleted, row, batch.num_rows)
                    present, numbers = batch.filter(mask), numbers.filter(mask)
                if len(numbers):
                    yield normal_rows(present, numbers, spec, layout, fragment)
                row += batch.num_rows
    except FileChanged:
        raise
    except InputError as error:
        if fragment.file and isinstance(error, UnreadableFile):
            # a file that is being written to is not a damaged one
            check_unchanged(spec, fragment.file)
        raise type(error)(f"{fragment.path}: {error.message}") from error
    except filesystem_errors(pa.ArrowException) as error:
        message = f"{fragment.path}: cannot be read to its end, from row {row} on"
        raise _failure(spec, fragment.file, message, error) from error


def _failure(
    spec: InputSpec, file: SourceFile | None, message: str, error: Exception
) -> PhifleetError:
    """Return the error about a file that cannot be read. Raises FileChanged if it has changed since
    it was listed: a file that is being written to is not a damaged one."""
    if file and file.table and isinstance(error, FileNotFoundError):
        return _cleaned_up(file.path)
    if file:
        check_unchanged(spec, file)
    return _read_error(message, error)


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


def _cleaned_up(path: str) -> InputError:
    """Return the error about a data file of a table that does not exist any more."""
    return InputError(
        f"{path}: the table's version that is to be read has this file, and it does not "
        "exist: a clean-up of the table (VACUUM, expire_snapshots) has deleted it. Remove "
        "input.version, or set it to a version that is kept"
    )


def _with_broken(rows: pa.Table, broken: pa.Array) -> pa.Table:
    """Return rows of lines with what is wrong with the broken ones."""
    return rows.set_column(rows.schema.get_field_index(BROKEN), BROKEN, broken)
