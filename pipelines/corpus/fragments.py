"""A part of the corpus that is read at once."""

from __future__ import annotations

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
    columns of the job that its lines have, with their types in this file. `file` is the file as it
    was listed, None if it is not to be compared. `piece` is the piece of a JSONL file, or None for
    the whole file.
    """

    path: str
    row_group: int | None
    first_row: int
    size_bytes: int
    schema: pa.Schema | None = None
    file: SourceFile | None = None
    piece: Piece | None = None

    @property
    def table(self) -> TableFile | None:
        """The rows and columns that a table has of the file; None for any other file."""
        return self.file.table if self.file else None
