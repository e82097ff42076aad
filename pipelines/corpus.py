"""The corpus: list its files, check their columns, read their rows. Parquet and JSONL.

Rows come out as Arrow tables with the columns source, row, doc_id, text (binary, unchecked) and the
kept ones, whatever the file's own encoding. Knows nothing of tokens, units or runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import pyarrow.parquet as pq

from pipelines.documents import DOC_ID, ROW, SOURCE, TEXT
from pipelines.errors import InputError
from pipelines.spec import InputSpec

_SUFFIXES = (".parquet", ".jsonl")
_READ_ROWS = 256
_READ_AHEAD_BYTES = 8 * 2**20
# the longest line of JSON that can be read
_JSONL_BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the corpus. `version` changes when its content does (ETag or time of change)."""

    path: str
    size_bytes: int
    version: str


@dataclass(frozen=True, slots=True)
class Piece:
    """What is read in one go: a row group of a Parquet file, or a whole JSONL file (None)."""

    path: str
    row_group: int | None
    first_row: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns that every file of the corpus has: the type of its ids and of kept columns."""

    id_type: pa.DataType
    kept: pa.Schema

    @property
    def schema(self) -> pa.Schema:
        """The schema of the tables that `read_rows` yields."""
        own = [
            pa.field(SOURCE, pa.string()),
            pa.field(ROW, pa.int64()),
            pa.field(DOC_ID, self.id_type),
            pa.field(TEXT, pa.large_binary()),
        ]
        return pa.schema([*own, *self.kept])


def list_files(path: str) -> list[SourceFile]:
    """The .parquet and .jsonl files of a path, directory or glob, sorted. Raises InputError.

    Names that begin with `_` or `.` are left out, as every Parquet reader does.
    """
    filesystem, root = fsspec.core.url_to_fs(path)
    try:
        found = _find(filesystem, root)
    except (OSError, ValueError) as error:
        raise InputError(f"input.path: cannot list {path}: {error}") from error
    files = [_source_file(name, info) for name, info in sorted(found.items())]
    wanted = [file for file in files if _is_data(file.path, root)]
    if not wanted:
        raise InputError(f"input.path: no .parquet or .jsonl file at {path}")
    return wanted


def _find(filesystem: Any, root: str) -> dict[str, dict[str, Any]]:
    if any(character in root for character in "*?["):
        found: dict[str, dict[str, Any]] = filesystem.glob(root, detail=True)
        return {name: info for name, info in found.items() if info["type"] == "file"}
    return dict(filesystem.find(root, detail=True))


def _source_file(name: str, info: dict[str, Any]) -> SourceFile:
    version = info.get("ETag") or info.get("mtime") or info.get("LastModified") or ""
    return SourceFile(name, int(info["size"]), str(version))


def _is_data(path: str, root: str) -> bool:
    below = path[len(root) :] if path.startswith(root) and path != root else path.rsplit("/", 1)[-1]
    hidden = any(part.startswith(("_", ".")) for part in below.split("/") if part)
    return path.endswith(_SUFFIXES) and not hidden


@dataclass(frozen=True, slots=True)
class Corpus:
    """The files of one job's input, with the columns the job names, checked and ready to read."""

    spec: InputSpec
    files: tuple[SourceFile, ...]
    pieces: tuple[Piece, ...]
    layout: Layout


def open_corpus(spec: InputSpec, files: Sequence[SourceFile]) -> Corpus:
    """Read every file's footer and check its columns. Raises InputError naming file and column."""
    filesystem = filesystem_of(spec)
    with ThreadPoolExecutor(16) as pool:
        opened = list(pool.map(lambda file: _open_file(filesystem, file, spec), files))
    layout = opened[0][0]
    for file, (other, _) in zip(files, opened, strict=True):
        _check_same(layout, other, file.path, files[0].path, spec.id_column)
    pieces = tuple(piece for _, found in opened for piece in found)
    return Corpus(spec, tuple(files), pieces, layout)


def filesystem_of(spec: InputSpec) -> Any:
    filesystem, _ = fsspec.core.url_to_fs(spec.path)
    return filesystem


def _open_file(filesystem: Any, file: SourceFile, spec: InputSpec) -> tuple[Layout, list[Piece]]:
    try:
        with filesystem.open(file.path, "rb") as handle:
            if file.path.endswith(".jsonl"):
                schema = _jsonl_schema(handle, spec) if file.size_bytes else pa.schema([])
                pieces = [Piece(file.path, None, 0, file.size_bytes)] if file.size_bytes else []
            else:
                parquet = pq.ParquetFile(handle)
                schema, pieces = parquet.schema_arrow, _row_groups(parquet.metadata, file.path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{file.path}: cannot be read: {error}") from error
    return _layout(schema, file.path, spec), pieces


def _jsonl_schema(handle: Any, spec: InputSpec) -> pa.Schema:
    with pj.open_json(handle, read_options=pj.ReadOptions(block_size=_JSONL_BLOCK_BYTES)) as reader:
        schema: pa.Schema = reader.schema
        return schema


def _row_groups(metadata: Any, path: str) -> list[Piece]:
    pieces = []
    first_row = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        if group.num_rows:
            pieces.append(Piece(path, number, first_row, group.total_byte_size))
        first_row += group.num_rows
    return pieces


def _layout(schema: pa.Schema, path: str, spec: InputSpec) -> Layout:
    partitions = _partition_values(path)
    wanted = (spec.id_column, spec.text_column, *spec.keep_columns)
    for column in wanted:
        if column not in schema.names and column not in partitions:
            raise InputError(
                f"{path}: no column {column!r}; it has {', '.join(schema.names) or 'none'}"
            )
    _check_text(schema, path, spec.text_column)
    id_type = _id_type(schema, path, spec.id_column)
    kept = [
        pa.field(name, _plain(schema.field(name).type) if name in schema.names else pa.string())
        for name in spec.keep_columns
    ]
    return Layout(id_type, pa.schema(kept))


def _check_text(schema: pa.Schema, path: str, column: str) -> None:
    found = _plain(schema.field(column).type)
    if not (pa.types.is_string(found) or pa.types.is_null(found)):
        raise InputError(f"{path}: column {column!r} is {found}; text must be a string column")


def _id_type(schema: pa.Schema, path: str, column: str) -> pa.DataType:
    found = _plain(schema.field(column).type)
    if pa.types.is_string(found):
        return found
    if pa.types.is_integer(found) and found != pa.uint64():
        return pa.int64()
    raise InputError(f"{path}: column {column!r} is {found}; ids must be strings or integers")


def _plain(found: pa.DataType) -> pa.DataType:
    """The type a column is read as: dictionaries as their values, one kind of string."""
    if pa.types.is_dictionary(found):
        return _plain(found.value_type)
    if pa.types.is_large_string(found) or pa.types.is_string_view(found):
        return pa.string()
    return found


def _check_same(first: Layout, other: Layout, path: str, first_path: str, id_column: str) -> None:
    if other.id_type != first.id_type:
        raise InputError(
            f"{path}: column {id_column!r} is {other.id_type}, but {first.id_type} in {first_path}"
        )
    for ours, theirs in zip(first.kept, other.kept, strict=True):
        if ours.type != theirs.type:
            raise InputError(
                f"{path}: column {ours.name!r} is {theirs.type}, but {ours.type} in {first_path}"
            )


def _partition_values(path: str) -> dict[str, str]:
    """Hive partition columns: `year=2024` in a directory's name."""
    parts = [part.split("=", 1) for part in path.split("/")[:-1] if "=" in part]
    return dict(part for part in parts if len(part) == 2)


def read_rows(corpus_spec: InputSpec, layout: Layout, piece: Piece) -> Iterator[pa.Table]:
    """The rows of one piece in order, a few hundred at a time; bounded memory."""
    filesystem = filesystem_of(corpus_spec)
    try:
        with filesystem.open(piece.path, "rb") as handle:
            row = piece.first_row
            for batch in _batches(handle, corpus_spec, layout, piece):
                yield _normal_rows(batch, row, corpus_spec, layout, piece.path)
                row += batch.num_rows
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{piece.path}: cannot be read to its end: {error}") from error


def _batches(handle: Any, spec: InputSpec, layout: Layout, piece: Piece) -> Iterator[pa.Table]:
    wanted = [spec.id_column, spec.text_column, *spec.keep_columns]
    if piece.row_group is None:
        yield from _jsonl_batches(handle, spec, layout)
        return
    parquet = pq.ParquetFile(handle, buffer_size=_READ_AHEAD_BYTES, pre_buffer=False)
    present = [name for name in wanted if name in parquet.schema_arrow.names]
    for batch in parquet.iter_batches(_READ_ROWS, [piece.row_group], columns=present):
        yield pa.Table.from_batches([batch])


def _jsonl_batches(handle: Any, spec: InputSpec, layout: Layout) -> Iterator[pa.Table]:
    own = [pa.field(spec.id_column, layout.id_type), pa.field(spec.text_column, pa.string())]
    schema = pa.schema([*own, *layout.kept])
    options = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    blocks = pj.ReadOptions(block_size=_JSONL_BLOCK_BYTES)
    with pj.open_json(handle, read_options=blocks, parse_options=options) as reader:
        for batch in reader:
            yield pa.Table.from_batches([batch])


def _normal_rows(
    rows: pa.Table, first_row: int, spec: InputSpec, layout: Layout, path: str
) -> pa.Table:
    count = rows.num_rows
    columns = {
        SOURCE: pa.array([path] * count, pa.string()),
        ROW: pa.array(range(first_row, first_row + count), pa.int64()),
        DOC_ID: _cast(rows.column(spec.id_column), layout.id_type),
        TEXT: _as_bytes(rows.column(spec.text_column)),
    }
    partitions = _partition_values(path)
    for field in layout.kept:
        if field.name in rows.column_names:
            columns[field.name] = _cast(rows.column(field.name), field.type)
        else:
            columns[field.name] = pa.array([partitions[field.name]] * count, field.type)
    return pa.table(columns, schema=layout.schema)


def _cast(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    return column if column.type == wanted else pc.cast(column, wanted)


def _as_bytes(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text as bytes: whether they are UTF-8 is found out per document, not per file."""
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    return pc.cast(column, pa.large_binary())
