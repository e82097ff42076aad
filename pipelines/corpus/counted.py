"""Lengths in tokens that an earlier index of the same files has counted.

Counting is most of the time of indexing. An index whose units do not fit any more, because the job
reads documents in another way now, still has the right lengths. A row is recognized by the hashes
of its id and its content.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from pipelines.corpus.ids import ID_HASH
from pipelines.corpus.index_rows import TOKENS
from pipelines.corpus.row_changes import CONTENT_HASH, HashedRows, Hashes
from pipelines.storage import Storage

UNKNOWN = -1
"""Stands for a length that has not been counted."""
_COLUMNS = [ID_HASH, CONTENT_HASH, TOKENS]


@dataclass(frozen=True)
class CountedRows:
    """The lengths of rows: `tokens` has that of each of `rows`, in their order."""

    rows: HashedRows
    tokens: npt.NDArray[np.int64]

    def find(self, ids: Hashes, contents: Hashes) -> npt.NDArray[np.int64]:
        """Return the length of each row with these hashes, UNKNOWN where there is none."""
        found = np.full(len(ids), UNKNOWN, dtype=np.int64)
        if len(self.tokens):
            known = self.rows.has_rows(ids, contents)
            found[known] = self.tokens[np.searchsorted(self.rows.ids, ids[known])]
        return found


NOTHING_COUNTED = CountedRows(
    HashedRows(np.empty(0, np.uint64), np.empty(0, np.uint64)), np.empty(0, np.int64)
)
"""The lengths of no rows."""


def read_counted(storage: Storage, name: str) -> CountedRows:
    """Return the lengths that a file `rows-N` of an index lists; none if there is no such file.
    Raises StorageError."""
    if not storage.exists(name):
        return NOTHING_COUNTED
    with storage.open(name) as handle:
        table = pq.read_table(handle, columns=_COLUMNS)
    ids, contents, tokens = (table.column(column).to_numpy() for column in _COLUMNS)
    order = np.argsort(ids, kind="stable")
    rows = HashedRows(ids[order].astype(np.uint64), contents[order].astype(np.uint64))
    return CountedRows(rows, tokens[order].astype(np.int64))
