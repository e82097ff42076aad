"""Writes the files of a unit to STAGING, from where they are published.

Knows storage and tables; knows nothing of commits.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.ledger.names import new_staged
from pipelines.ledger.records import StagedFile, sha256
from pipelines.storage import Storage


def stage(storage: Storage, kind: str, unit: int, table: pa.Table | None) -> StagedFile | None:
    """Write a table of the unit number `unit` as a new staged file; `kind` is `part` or `errors`.

    Returns None, and writes nothing, for None or a table without rows. Raises StorageError.
    """
    if table is None or table.num_rows == 0:
        return None
    name = new_staged(kind, unit)
    with storage.new_file(name) as path:
        pq.write_table(table, path, compression="zstd")
        data = path.read_bytes()
        return StagedFile(name, table.num_rows, len(data), sha256(data))
