"""The rows of the index: what it lists of each row of the corpus, and reading that back.

Knows the columns of `rows-*`; knows nothing of spans or units.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.corpus.ids import ID_HASH, RowsFile, read_index
from pipelines.corpus.row_changes import CONTENT_HASH, PLANNED, HashedRows, Hashes
from pipelines.documents import DOC_ID, ROW, SOURCE
from pipelines.storage import Storage

_INDEX_COLUMNS = (
    pa.field(ID_HASH, pa.uint64()),
    pa.field("tokens", pa.int64()),
    pa.field("problem", pa.string()),
    pa.field(CONTENT_HASH, pa.uint64()),
    pa.field(PLANNED, pa.bool_()),
)


def rows_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema of `rows-N`, given the layout's schema."""
    return pa.schema([*(schema.field(name) for name in (SOURCE, ROW, DOC_ID)), *_INDEX_COLUMNS])


def rows_table(
    table: pa.Table,
    ids: Hashes,
    tokens: npt.NDArray[np.int64],
    problems: Sequence[str | None],
    contents: Hashes,
    *,
    planned: bool = True,
) -> pa.Table:
    """Return the rows of `rows-N` for these rows of the corpus; `ids` and `contents` are their
    hashes."""
    rows = table.select([SOURCE, ROW, DOC_ID])
    values = (ids, tokens, problems, contents, np.full(len(ids), planned))
    for column, data in zip(_INDEX_COLUMNS, values, strict=True):
        rows = rows.append_column(column, pa.array(data, column.type))
    return rows


def known_rows(table: pa.Table, ids: Hashes, contents: Hashes) -> pa.Table:
    """Return the rows of `rows-N` for rows that an earlier plan has."""
    tokens = np.zeros(table.num_rows, dtype=np.int64)
    return rows_table(table, ids, tokens, [None] * table.num_rows, contents, planned=False)


def write_known(storage: Storage, name: str, rows: HashedRows) -> None:
    """Write the rows that the run has read before, for `IndexConfig.known`."""
    with storage.new_file(name) as path:
        table = pa.table({ID_HASH: rows.ids, CONTENT_HASH: rows.contents})
        pq.write_table(table, path, use_dictionary=False)


def read_known(storage: Storage, name: str) -> HashedRows:
    """Return the rows that `write_known` wrote."""
    with storage.open(name) as handle:
        table = pq.read_table(handle)
    return HashedRows(*(column.to_numpy().astype(np.uint64) for column in table.columns))


def read_rows_of(storage: Storage, files: Sequence[RowsFile]) -> HashedRows:
    """Return the rows that files of the index list. Raises StorageError."""
    tables = [read_index(storage, file, [ID_HASH, CONTENT_HASH]) for file in files]
    columns = [
        np.concatenate([np.empty(0, np.uint64), *(t.column(name).to_numpy() for t in tables)])
        for name in (ID_HASH, CONTENT_HASH)
    ]
    return HashedRows.of(columns[0].astype(np.uint64), columns[1].astype(np.uint64))


def owners_spans(storage: Storage, files: Sequence[str], ids: Hashes) -> list[str]:
    """Return those of `files`, of the index, that list a planned row with one of these ids. Raises
    StorageError."""
    found = []
    for name in files:
        rows = read_index(storage, name, [ID_HASH, PLANNED])
        planned = rows.filter(rows.column(PLANNED)).column(ID_HASH).to_numpy()
        if np.isin(planned, ids).any():
            found.append(name)
    return found
