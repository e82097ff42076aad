"""The corpus: list its files, check their columns, read their rows. Parquet and JSONL.

Rows come out as Arrow tables with the columns source, row, doc_id, text (binary, unchecked) and
kept ones as `kept.NAME`, whatever the file's own encoding. Knows nothing of tokens, units or runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from os.path import dirname
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.corpus import jsonl
from pipelines.corpus.layout import (
    JSONL,
    Layout,
    common_layout,
    later_layout,
    layout_of,
    partition_values,
    wanted_columns,
)
from pipelines.errors import InputError, PhifleetError, StorageError, UnreadableFile
from pipelines.job.spec import InputSpec
from pipelines.stores.protocols import filesystem_errors, is_local, open_store, version_of

_SUFFIXES = (".parquet", ".jsonl")
# What is read in one go: as many rows as make some MB, by the row group's average.
_READ_ROWS = 1024
_READ_BYTES = 4 * 2**20
_READ_AHEAD_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the corpus. `version` changes when its content does: an ETag, or another value
    that the store gives."""

    path: str
    size_bytes: int
    version: str


@dataclass(frozen=True, slots=True)
class Fragment:
    """What is read in one go: a row group of a Parquet file, or a whole JSONL file (None), with the
    kept columns that stand in its lines."""

    path: str
    row_group: int | None
    first_row: int
    size_bytes: int
    columns_in_file: frozenset[str] = frozenset()


def list_files(path: str, exclude: str = "") -> list[SourceFile]:
    """The .parquet and .jsonl files of a path, directory or glob, sorted. Raises InputError.

    Names that begin with `_` or `.` are left out, as every Parquet reader does, and so is a
    directory inside, `but`, where answers are written. Raises StorageError where the filesystem
    fails.
    """
    local = is_local(path)
    try:
        filesystem, root = open_store(path, InputError)
        filesystem.invalidate_cache()
        found, above = _find(filesystem, root, local=local)
    except filesystem_errors(ValueError) as error:
        wrong = isinstance(error, ValueError | FileNotFoundError | NotADirectoryError)
        kind = InputError if wrong else StorageError
        raise kind(f"input.path: cannot list {path}: {error}") from error
    files = [_source_file(name, info) for name, info in sorted(found.items())]
    wanted = [file for file in files if _is_data(file.path, above)]
    # however each is spelled, and whatever links lead there
    real = lru_cache(4096)(os.path.realpath) if local else str
    if exclude and real(exclude) != real(above) and _is_within(real(exclude), real(above or "/")):
        wanted = [
            file for file in wanted if not _is_within(real(dirname(file.path)), real(exclude))
        ]
    if not wanted:
        raise InputError(f"input.path: no .parquet or .jsonl file at {path}")
    return wanted


def _find(filesystem: Any, root: str, *, local: bool) -> tuple[dict[str, dict[str, Any]], str]:
    """The files of a path, and the directory that the user named himself."""
    start = next((at for at, character in enumerate(root) if character in "*?["), None)
    if start is None or filesystem.exists(root):
        return _find_linked(root) if local else dict(filesystem.find(root, detail=True)), root
    found: dict[str, dict[str, Any]] = filesystem.glob(root, detail=True)
    if local:
        files = {name: _linked(name) for name in found if os.path.isfile(name)}
    else:
        files = {name: info for name, info in found.items() if info["type"] == "file"}
    return files, root[:start].rpartition("/")[0]


def _find_linked(root: str) -> dict[str, dict[str, Any]]:
    """As the filesystem finds them, and what links lead to; a link to what it stands in is left."""
    if os.path.isfile(root):
        return {root: _linked(root)}
    found: dict[str, dict[str, Any]] = {}
    for directory, below, names in os.walk(root, followlinks=True, onerror=_refused):
        here = Path(directory).resolve()
        below[:] = [
            each
            for each in below
            if not _is_hidden(each) and not here.is_relative_to(Path(directory, each).resolve())
        ]
        paths = (os.path.join(directory, name) for name in names)
        found |= {path: _linked(path) for path in paths if os.path.isfile(path)}
    return found


def _refused(error: OSError) -> None:
    """A directory that cannot be listed would be no part of the corpus, and nobody would know."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _linked(path: str) -> dict[str, Any]:
    """Size and time of change of a file, or of what a link leads to."""
    status = os.stat(path)
    return {"size": status.st_size, "mtime": status.st_mtime}


def _is_within(path: str, directory: str) -> bool:
    return f"{path}/".startswith(f"{directory.rstrip('/')}/")


def _source_file(name: str, info: dict[str, Any]) -> SourceFile:
    return SourceFile(name, int(info["size"]), version_of(info))


def _is_data(path: str, above: str) -> bool:
    below = path.removeprefix(above).split("/")
    return path.endswith(_SUFFIXES) and not any(map(_is_hidden, below))


def _is_hidden(name: str) -> bool:
    return name.startswith(("_", "."))


@dataclass(frozen=True, slots=True)
class Corpus:
    """The files of one job's input, with the columns the job names, checked and ready to read."""

    spec: InputSpec
    files: tuple[SourceFile, ...]
    fragments: tuple[Fragment, ...]
    layout: Layout


def open_corpus(
    spec: InputSpec, files: Sequence[SourceFile], earlier: Layout | None = None
) -> Corpus:
    """Read every file's footer and check its columns, also against those of files that were read
    earlier. Raises InputError naming file and column, StorageError."""
    filesystem = filesystem_of(spec)
    with ThreadPoolExecutor(16) as pool:
        opened = list(pool.map(lambda file: _open_file(filesystem, file, spec), files))
    layout = common_layout([layout for layout, _ in opened], [file.path for file in files], spec)
    pieces = tuple(piece for _, found in opened for piece in found)
    if earlier is not None and pieces:
        layout = later_layout(earlier, layout, files[0].path, spec)
    return Corpus(spec, tuple(files), pieces, layout)


def filesystem_of(spec: InputSpec) -> Any:
    return open_store(spec.path, InputError)[0]


def _opened(filesystem: Any, path: str) -> Any:
    """A file to read from: JSON lines from end to end, of Parquet what is asked for. On S3 more
    would be read ahead of every piece than it is large."""
    return filesystem.open(path, "rb", cache_type="readahead" if path.endswith(JSONL) else "none")


def _open_file(
    filesystem: Any, file: SourceFile, spec: InputSpec
) -> tuple[Layout | None, list[Fragment]]:
    """The file's layout and pieces; no layout where it is a .jsonl file without a line."""
    try:
        with _opened(filesystem, file.path) as handle:
            if file.path.endswith(JSONL):
                schema = jsonl.find_schema(
                    handle, wanted_columns(spec), whole=bool(spec.keep_columns)
                )
                pieces = [_whole_file(file, schema, spec)] if schema else []
            else:
                parquet = pq.ParquetFile(handle)
                schema, pieces = parquet.schema_arrow, _row_groups(parquet.metadata, file.path)
    except filesystem_errors(pa.ArrowException) as error:
        raise _unread(f"{file.path}: cannot be read", error) from error
    return None if schema is None else layout_of(schema, file.path, spec), pieces


def _whole_file(file: SourceFile, schema: pa.Schema, spec: InputSpec) -> Fragment:
    columns_in_file = frozenset(spec.keep_columns).intersection(schema.names)
    return Fragment(file.path, None, 0, file.size_bytes, columns_in_file)


def _row_groups(metadata: Any, path: str) -> list[Fragment]:
    pieces = []
    first_row = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        if group.num_rows:
            pieces.append(Fragment(path, number, first_row, group.total_byte_size))
        first_row += group.num_rows
    return pieces


def read_rows(corpus_spec: InputSpec, layout: Layout, piece: Fragment) -> Iterator[pa.Table]:
    """The rows of one piece in order, some MB at a time; bounded memory. Raises InputError,
    StorageError."""
    filesystem = filesystem_of(corpus_spec)
    row = piece.first_row
    try:
        with _opened(filesystem, piece.path) as handle:
            for batch in _batches(handle, corpus_spec, layout, piece):
                yield _normal_rows(batch, row, corpus_spec, layout, piece.path)
                row += batch.num_rows
    except InputError as error:
        raise InputError(f"{piece.path}: {error.message}") from error
    except filesystem_errors(pa.ArrowException) as error:
        raise _unread(
            f"{piece.path}: cannot be read to its end, from row {row} on", error
        ) from error


def _unread(what: str, error: Exception) -> PhifleetError:
    """A file that is damaged, as Arrow finds: by errors of its own, or by a bare OSError. What a
    filesystem refuses says more, and may be read another day."""
    bare = type(error) is OSError and error.errno is None
    damaged = bare or isinstance(error, pa.ArrowException)
    return (UnreadableFile if damaged else StorageError)(f"{what}: {error}")


def unreadable_reason(spec: InputSpec, file: SourceFile) -> str | None:
    """Why a file cannot be read to its end, None where it can. Reads all that a run would read.

    Raises InputError where its columns are not as the job says, StorageError.
    """
    try:
        corpus = open_corpus(spec, [file])
        for piece in corpus.fragments:
            for _ in read_rows(spec, corpus.layout, piece):
                pass
    except UnreadableFile as error:
        return error.message
    return None


def _batches(
    handle: Any, spec: InputSpec, layout: Layout, piece: Fragment
) -> Iterator[pa.Table | pa.RecordBatch]:
    if piece.row_group is None:
        return jsonl.read_tables(handle, _jsonl_schema(spec, layout, piece))
    return _row_group_batches(handle, spec, piece.row_group)


def _row_group_batches(handle: Any, spec: InputSpec, number: int) -> Iterator[pa.RecordBatch]:
    parquet = pq.ParquetFile(
        handle, buffer_size=_READ_AHEAD_BYTES, pre_buffer=False, page_checksum_verification=True
    )
    group = parquet.metadata.row_group(number)
    rows = _READ_BYTES * group.num_rows // max(1, group.total_byte_size)
    present = [name for name in wanted_columns(spec) if name in parquet.schema_arrow.names]
    count = 0
    for batch in parquet.iter_batches(max(1, min(rows, _READ_ROWS)), [number], columns=present):
        yield batch
        count += batch.num_rows
    if count != group.num_rows:
        raise pa.ArrowInvalid(f"row group {number} has {count} of its {group.num_rows} rows")


def _jsonl_schema(spec: InputSpec, layout: Layout, piece: Fragment) -> pa.Schema:
    """What a line is parsed as; what only the path says is no key of it."""
    in_path = partition_values(piece.path).keys() - piece.columns_in_file
    types = {field.name: field.type for field in layout.kept if field.name not in in_path}
    return pa.schema({**types, spec.id_column: layout.id_type, spec.text_column: pa.string()})


def _normal_rows(
    rows: pa.Table | pa.RecordBatch, first_row: int, spec: InputSpec, layout: Layout, path: str
) -> pa.Table:
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


def _cast(column: pa.Array | pa.ChunkedArray, wanted: pa.DataType) -> pa.Array | pa.ChunkedArray:
    return column if column.type == wanted else pc.cast(column, wanted)


def _as_bytes(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Text as bytes: whether they are UTF-8 is found out per document, not per file."""
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    return pc.cast(column, pa.large_binary())
