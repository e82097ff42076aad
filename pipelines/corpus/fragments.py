"""A part of the corpus that is read at once."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.corpus.tables.columns import TableFile


@dataclass(frozen=True, slots=True)
class Fragment:
    """A part of the corpus that is read at once: a row group of a Parquet file, or a whole JSONL
    file.

    `row_group` is None for a JSONL file. `first_row` is the number of the fragment's first row
    within its file, and `size_bytes` its uncompressed size. `columns_in_file` are, for a JSONL
    file, the kept columns that are keys of its lines rather than parts of its path.
    `table` states, for a data file of a table, which rows and columns it has; else it is None.
    """

    path: str
    row_group: int | None
    first_row: int
    size_bytes: int
    columns_in_file: frozenset[str] = frozenset()
    table: TableFile | None = None
