"""A part of the corpus that is read at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from pipelines.corpus.files import SourceFile
from pipelines.corpus.line_pieces import Piece
from pipelines.corpus.tables.columns import TableFile


@dataclass(frozen=True, slots=True)
class Fragment:
    """A part of the corpus that is read at once: a row group of a Parquet file, or a file of
    JSON lines or a piece of one.

    `row_group` is None for a JSONL file. `first_row` is the number of the fragment's first row
    within its file, and `size_bytes` its uncompressed size. `schema` has, for a JSONL file, the
    columns of the job that its lines have, with their types in this file. `partitions` are the
    file's partitions where a table has them with their types; if None, they are those of its path.
    `file` is the file as it was listed, or None if it cannot change.
    `piece` is the piece of a JSONL file, or None for the whole file.
    `table` states, for a data file of a table, which rows and columns it has; else it is None.
    """

    path: str
    row_group: int | None
    first_row: int
    size_bytes: int
    schema: pa.Schema | None = None
    partitions: Mapping[str, pa.Scalar] | None = None
    file: SourceFile | None = None
    piece: Piece | None = None
    table: TableFile | None = None
