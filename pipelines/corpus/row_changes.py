"""Compares the rows of a new version of the input with those that a run has read.

They are compared by the hashes of their ids and of their contents, which the index has. Pure
functions of arrays and tables.
"""

from __future__ import annotations

from collections.abc import Sequence
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
_NULL = np.uint64(0x9E3779B97F4A7C15)
_STRUCT = np.uint64(0xD1B54A32D192ED03)
_MULTIPLIER = np.uint64(0x100000001B3)
_MIXING = (
    (np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)),
    (np.uint64(27), np.uint64(0x94D049BB133111EB)),
)


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
        chunks = [_hash_values(_plain(chunk)) for chunk in column.chunks]
        values = np.concatenate([np.empty(0, np.uint64), *chunks])
        hashes = (hashes ^ values) * _MULTIPLIER
    return hashes


def _hash_values(values: pa.Array) -> Hashes:
    """Return a hash of each value, _NULL for a null."""
    if values.null_count == len(values):
        return np.full(len(values), _NULL)
    kind = values.type
    if pa.types.is_struct(kind):
        hashes = _hash_structs(len(values), values.flatten())
    elif pa.types.is_list(kind):
        hashes = _hash_lists(values, _hash_values(values.flatten()))
    elif pa.types.is_map(kind):
        hashes = _hash_values(values.cast(pa.list_(pa.struct([kind.key_field, kind.item_field]))))
    else:
        hashes = pd.util.hash_array(_hashable(values), categorize=False)
    return np.where(values.is_null().to_numpy(zero_copy_only=False), _NULL, hashes)


def _hash_structs(count: int, fields: Sequence[pa.Array]) -> Hashes:
    """Return a hash of each of `count` structs, from the values of each field."""
    hashes = np.full(count, _STRUCT)
    for values in fields:
        hashes = (hashes ^ _hash_values(values)) * _MULTIPLIER
    return hashes


def _hash_lists(lists: pa.Array, items: Hashes) -> Hashes:
    """Return a hash of each list, any for a null, from the hashes of all their items."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype(np.int64)
    ends = np.cumsum(lengths)
    places = np.arange(len(items)) - np.repeat(ends - lengths, lengths)
    # sums of hashes that depend on an item and on its place in its list
    mixed = _mix(items ^ _mix(places.astype(np.uint64) + _STRUCT))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed, dtype=np.uint64)])
    return _mix(sums[ends] - sums[ends - lengths] + lengths.astype(np.uint64))


def _mix(hashes: Hashes) -> Hashes:
    """Return numbers of which each bit depends on all bits of those given (as in splitmix64)."""
    for shift, factor in _MIXING:
        hashes = (hashes ^ (hashes >> shift)) * factor
    return hashes ^ (hashes >> np.uint64(_HALF_WORD))


def _hashable(values: pa.Array) -> npt.NDArray[Any]:
    """Return values that are not nested as integers or bytes, equal where the values are; any for
    a null."""
    kind = values.type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        # unsafe: unsigned numbers beyond 2^63 - 1 wrap around, each to another number
        return np.asarray(pc.fill_null(values.cast(pa.int64(), safe=False), 0).to_numpy())
    if pa.types.is_floating(kind):
        return np.asarray(pc.fill_null(values.cast(pa.float64()), 0.0).to_numpy()).view(np.int64)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        filled = pc.fill_null(values, b"")
        return np.asarray(filled.to_numpy(zero_copy_only=False))
    return np.array([str(value).encode() for value in values.to_pylist()], dtype=object)


def _plain(values: pa.Array) -> pa.Array:
    """Return values with dates, times and texts as the integers and bytes that store them: Python
    has no date after the year 9999, and a text may be no UTF-8."""
    kind = _stored_as(values.type)
    return values if kind == values.type else values.view(kind)


def _stored_as(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_temporal(kind):
        return pa.int32() if kind.bit_width == _HALF_WORD else pa.int64()
    if pa.types.is_string(kind):
        return pa.binary()
    return mapped_type(kind, lambda field: field.with_type(_stored_as(field.type)))
