"""Row groups of Parquet files, as batches of a few MB.

Knows nothing of ids, texts or units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.corpus.fragments import Fragment
from pipelines.corpus.places import find_place, paths_to_read
from pipelines.corpus.tables.columns import TableFile
from pipelines.corpus.timestamps import (
    check_calendar,
    check_nanoseconds,
    has_old_calendar,
    needs_nanoseconds,
)

# A batch of rows of a row group has about 4 MiB, by the row group's mean, and at most 1024 rows.
_BATCH_ROWS = 1024
_BATCH_BYTES = 4 * 2**20
_READ_AHEAD_BYTES = 8 * 2**20
# To start threads for the columns of a smaller row group takes longer than to read it.
_THREADED_BYTES = 2**20


def row_groups(metadata: Any, path: str) -> list[Fragment]:
    """Return a fragment for each row group of a Parquet file that has rows."""
    fragments = []
    first_row = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        if group.num_rows:
            fragments.append(Fragment(path, number, first_row, group.total_byte_size))
        first_row += group.num_rows
    return fragments


def row_group_batches(
    handle: Any, columns: Sequence[str], number: int, table: TableFile | None = None
) -> Iterator[pa.RecordBatch | pa.Table]:
    """Yield the rows of the row group `number` in order, with those of `columns` that the file has.

    `table` states how the file is read if it is a table's; the rows, deleted ones included, then
    have the table's columns. Raises ArrowInvalid if the row group has fewer rows than its metadata
    states, and InputError if a date or timestamp cannot be read exactly, or a value does not fit
    the table's type.
    """
    parquet = _reader(handle)
    group = parquet.metadata.row_group(number)
    rows = _BATCH_BYTES * group.num_rows // max(1, group.total_byte_size)
    size = max(1, min(rows, _BATCH_ROWS))
    paths = _paths(parquet.schema_arrow, columns, table)
    count = 0
    for batch in _checked_batches(handle, parquet, number, size, paths):
        yield batch if table is None else table.logical_rows(batch)
        count += batch.num_rows
    if count != group.num_rows:
        raise pa.ArrowInvalid(f"row group {number} has {count} of its {group.num_rows} rows")


def _paths(schema: pa.Schema, columns: Sequence[str], table: TableFile | None) -> Sequence[str]:
    """Return the columns of a file to read."""
    if table is not None:
        return table.physical_columns(schema)
    return paths_to_read(schema, [place for name in columns if (place := find_place(schema, name))])


def _reader(handle: Any, int96_unit: str = "us") -> Any:
    return pq.ParquetFile(
        handle,
        buffer_size=_READ_AHEAD_BYTES,
        pre_buffer=False,
        page_checksum_verification=True,
        # as nanoseconds, years before 1677 and after 2262 would become others
        coerce_int96_timestamp_unit=int96_unit,
    )


def _checked_batches(
    handle: Any, parquet: Any, number: int, size: int, paths: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Yield batches of at most `size` rows; raises InputError if a date or timestamp is inexact."""
    threads = parquet.metadata.row_group(number).total_byte_size > _THREADED_BYTES
    batches = parquet.iter_batches(size, [number], columns=paths, use_threads=threads)
    old_calendar = has_old_calendar(parquet)
    again = None
    if needs_nanoseconds(parquet, paths):
        again = _reader(handle, "ns").iter_batches(size, [number], columns=paths)
    for batch in batches:
        if again is not None:
            check_nanoseconds(batch, next(again))
        if old_calendar:
            check_calendar(batch)
        yield batch
