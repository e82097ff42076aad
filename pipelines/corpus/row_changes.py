"""Compares the rows of a new version of the input with those that a run has read.

They are compared by the hashes of their ids and of their contents, which the index has. Pure
functions of arrays and tables.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.corpus.conversion import mapped_type
from pipelines.documents import BROKEN, KEPT, TEXT

CONTENT_HASH = "content_hash"
"""The column of `rows-*` with the hash of each row's id, text and kept columns, as the layout has
them."""
PLANNED = "planned"
"""The column of `rows-*` that is false for rows that an earlier plan has: the run read them before,
in files that the input does not have any more."""
Hashes = npt.NDArray[np.uint64]
_HALF_WORD = 32
_ENCODER = json.JSONEncoder(default=str)
_NULL = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIER = np.uint64(0x100000001B3)


@dataclass(frozen=True, slots=True)
class HashedRows:
    """The hashes of rows' ids and contents, as parallel arrays sorted by id. No id occurs twice."""

    ids: Hashes
    contents: Hashes

    @classmethod
    def of(cls, ids: Hashes, contents: Hashes) -> HashedRows:
        """Return the rows with these hashes, which may have any order."""
        order = np.argsort(ids, kind="stable")
        return cls(ids[order], contents[order])

    def has_ids(self, ids: Hashes) -> npt.NDArray[np.bool_]:
        """Return whether each of `ids` is the id of a row."""
        return self._at(ids)[1]

    def has_rows(self, ids: Hashes, contents: Hashes) -> npt.NDArray[np.bool_]:
        """Return whether each of some rows, by the hashes of its id and content, is among these."""
        at, found = self._at(ids)
        return found & (self.contents[at] == contents) if len(self.ids) else found

    def _at(self, ids: Hashes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        at = np.searchsorted(self.ids, ids)
        at = np.minimum(at, max(0, len(self.ids) - 1))
        found = self.ids[at] == ids if len(self.ids) else np.zeros(len(ids), dtype=bool)
        return at, found


@dataclass(frozen=True, slots=True)
class RowChanges:
    """The difference between the rows of files that are gone and those of new files.

    `withdrawn` are the hashes of the ids of changed and removed rows, sorted: their answers are no
    longer those of the input.
    """

    added: int
    changed: int
    removed: int
    unchanged: int
    withdrawn: Hashes


def compare_rows(gone: HashedRows, new: HashedRows) -> RowChanges:
    """Return what became of the rows of files that are gone: each is in `new`, the rows of the new
    files, with the same content, with another, or not at all."""
    unchanged = new.has_rows(gone.ids, gone.contents)
    changed = new.has_ids(gone.ids) & ~unchanged
    added = len(new.ids) - int(gone.has_ids(new.ids).sum())
    return RowChanges(
        added=added,
        changed=int(changed.sum()),
        removed=int((~unchanged & ~changed).sum()),
        unchanged=int(unchanged.sum()),
        withdrawn=gone.ids[~unchanged],
    )


def hash_contents(rows: pa.Table, ids: Hashes) -> Hashes:
    """Return a 64-bit hash of each row's id, text and kept columns, the same in every process, and
    for a line that is no JSON also of what is wrong. `rows` has the columns of `Layout.schema`, so
    that the types with which a file stores its values make no difference. `ids` are the hashes of
    the rows' ids, also of invalid ones, which are reported elsewhere."""
    kept = [rows.column(name) for name in rows.column_names if name.startswith(KEPT)]
    hashes = ids
    for column in (rows.column(TEXT), rows.column(BROKEN), *kept):
        hashes = (hashes ^ _hash_values(_plain(column))) * _MULTIPLIER
    return hashes


def _hash_values(column: pa.ChunkedArray) -> Hashes:
    """Return a hash of each value of a column, _NULL for a null."""
    if column.null_count == len(column):
        return np.full(len(column), _NULL)
    hashes: Hashes = pd.util.hash_array(_hashable(column), categorize=False)
    return np.where(pc.is_null(column).to_numpy(), _NULL, hashes)


def _hashable(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return the values as integers or bytes, equal where the values are; any for a null."""
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return np.asarray(pc.fill_null(column.cast(pa.int64()), 0).to_numpy())
    if pa.types.is_floating(kind):
        return np.asarray(pc.fill_null(column.cast(pa.float64()), 0.0).to_numpy()).view(np.int64)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return np.asarray(pc.fill_null(column, b"").to_numpy())
    values = [_ENCODER.encode(value).encode() for value in column.to_pylist()]
    return np.array(values, dtype=object)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column with its dates, times and texts as the integers and bytes that store them:
    Python has no date after the year 9999, and a text may be no UTF-8."""
    kind = _stored_as(column.type)
    if kind == column.type:
        return column
    return pa.chunked_array([chunk.view(kind) for chunk in column.chunks], kind)


def _stored_as(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_temporal(kind):
        return pa.int32() if kind.bit_width == _HALF_WORD else pa.int64()
    if pa.types.is_string(kind):
        return pa.binary()
    return mapped_type(kind, lambda field: field.with_type(_stored_as(field.type)))
