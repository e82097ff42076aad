"""Row groups of Parquet files, as batches of a few MB.

Knows nothing of ids, texts or units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.corpus.fragments import Fragment

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


def row_group_batches(handle: Any, columns: Sequence[str], number: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the row group `number` in order, with those of `columns` that the file has.

    Raises ArrowInvalid if the row group has fewer rows than its metadata states.
    """
    parquet = pq.ParquetFile(
        handle, buffer_size=_READ_AHEAD_BYTES, pre_buffer=False, page_checksum_verification=True
    )
    group = parquet.metadata.row_group(number)
    rows = _BATCH_BYTES * group.num_rows // max(1, group.total_byte_size)
    present = [name for name in columns if name in parquet.schema_arrow.names]
    count = 0
    batches = parquet.iter_batches(
        max(1, min(rows, _BATCH_ROWS)),
        [number],
        columns=present,
        use_threads=group.total_byte_size > _THREADED_BYTES,
    )
    for batch in batches:
        yield batch
        count += batch.num_rows
    if count != group.num_rows:
        raise pa.ArrowInvalid(f"row group {number} has {count} of its {group.num_rows} rows")
