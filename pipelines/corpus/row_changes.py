"""What a new version of the input changes: its rows compared with those that a run has read.

Rows are compared by the hashes of their ids and of their contents, which the index has. Pure
functions of arrays and tables.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.corpus.ids import hash_ids
from pipelines.documents import BROKEN, DOC_ID, KEPT, TEXT

CONTENT_HASH = "content_hash"
"""The column of `rows-*` with the hash of each row's id, text and kept columns, as the layout has
them."""
PLANNED = "planned"
"""The column of `rows-*` that is false for rows that an earlier plan has: the run read them before,
in files that the input does not have any more."""
Hashes = npt.NDArray[np.uint64]
_HALF_WORD = 32


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


def hash_contents(rows: pa.Table) -> Hashes:
    """Return a 64-bit hash of each row's id, text and kept columns, the same in every process, and
    for a line that is no JSON also of what is wrong. `rows` has the columns of `Layout.schema`, so
    that the types with which a file stores its values make no difference."""
    hashes = np.empty(rows.num_rows, dtype=np.uint64)
    texts = rows.column(TEXT)
    for at, (others, text) in enumerate(zip(_others(rows), texts, strict=True)):
        digest = hashlib.blake2b(others, digest_size=8)
        if text.is_valid:
            digest.update(b"\0")
            digest.update(text.as_buffer())
        hashes[at] = int.from_bytes(digest.digest(), "little")
    return hashes


def _others(rows: pa.Table) -> Iterator[bytes]:
    """Yield the values of each row's columns other than its text and place, as bytes."""
    kept = [name for name in rows.column_names if name.startswith(KEPT)]
    # an invalid id is reported elsewhere, and has a hash too
    columns = [pa.chunked_array([pa.array(hash_ids(rows.column(DOC_ID)))])]
    columns += [_plain(rows.column(name)) for name in (BROKEN, *kept)]
    for chunk in pa.Table.from_arrays(columns, names=[DOC_ID, BROKEN, *kept]).to_batches():
        for values in zip(*(column.to_pylist() for column in chunk.columns), strict=True):
            yield json.dumps(values, default=str).encode()


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
    if pa.types.is_list(kind):
        return pa.list_(_stored_field(kind.value_field))
    if pa.types.is_map(kind):
        return pa.map_(_stored_field(kind.key_field), _stored_field(kind.item_field))
    if pa.types.is_struct(kind):
        return pa.struct([_stored_field(kind.field(at)) for at in range(kind.num_fields)])
    return kind


def _stored_field(field: pa.Field) -> pa.Field:
    return field.with_type(_stored_as(field.type))
