"""A part of the corpus that is read at once."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.corpus.files import SourceFile


@dataclass(frozen=True, slots=True)
class Fragment:
    """A part of the corpus that is read at once: a row group of a Parquet file, or a whole JSONL
    file.

    `row_group` is None for a JSONL file. `first_row` is the number of the fragment's first row
    within its file, and `size_bytes` its uncompressed size. `columns_in_file` are, for a JSONL
    file, the kept columns that are keys of its lines rather than parts of its path. `file` is the
    file as it was listed, or None if it cannot change.
    """

    path: str
    row_group: int | None
    first_row: int
    size_bytes: int
    columns_in_file: frozenset[str] = frozenset()
    file: SourceFile | None = None
