"""A part of the corpus that is read at once."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.corpus.line_pieces import Piece


@dataclass(frozen=True, slots=True)
class Fragment:
    """A part of the corpus that is read at once: a row group of a Parquet file, or a file of
    JSON lines or a piece of one.

    `row_group` is None for a JSONL file. `first_row` is the number of the fragment's first row
    within its file, and `size_bytes` its uncompressed size. `columns_in_file` are, for a JSONL
    file, the kept columns that are keys of its lines rather than parts of its path. `piece` is the
    piece of a JSONL file, or None for the whole file.
    """

    path: str
    row_group: int | None
    first_row: int
    size_bytes: int
    columns_in_file: frozenset[str] = frozenset()
    piece: Piece | None = None
