"""Tables of a corpus, combined to tables of a useful size.

Knows rows and bytes; knows nothing of columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

# Tables are combined up to so many rows or bytes.
_COMBINED_ROWS = 512
_COMBINED_BYTES = 2**20


def combined(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows of tables of one schema, small tables together: measuring a table of a few
    rows takes as long as one of a few hundred."""
    waiting: list[pa.Table] = []
    rows = size_bytes = 0
    for table in tables:
        rows += table.num_rows
        size_bytes += table.nbytes
        waiting.append(table)
        if rows >= _COMBINED_ROWS or size_bytes >= _COMBINED_BYTES:
            yield from _joined(waiting)
            waiting, rows, size_bytes = [], 0, 0
    yield from _joined(waiting)


def _joined(tables: Sequence[pa.Table]) -> Iterator[pa.Table]:
    """Yield the tables as one, without copying the last one if it is large."""
    large = [table for table in tables[-1:] if table.nbytes >= _COMBINED_BYTES]
    if small := tables[: len(tables) - len(large)]:
        yield pa.concat_tables(small).combine_chunks()
    yield from large
