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

from pipelines.documents import DOC_ID, KEPT, TEXT

CONTENT_HASH = "content_hash"
"""The column of `rows-*` with the hash of each row's id, text and kept columns."""
PLANNED = "planned"
"""The column of `rows-*` that is false for rows that an earlier plan has: the run read them before,
in files that the input does not have any more."""
Hashes = npt.NDArray[np.uint64]


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
    """Return a 64-bit hash of each row's id, text and kept columns, the same in every process.
    `rows` has the columns of `Layout.schema`."""
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
    ids = rows.column(DOC_ID)
    if not pa.types.is_integer(ids.type):
        # an invalid id is reported elsewhere, and must not end the reading here
        ids = ids.cast(pa.binary())
    columns = [ids, *(rows.column(name) for name in kept)]
    for chunk in pa.Table.from_arrays(columns, names=[DOC_ID, *kept]).to_batches():
        for values in zip(*(column.to_pylist() for column in chunk.columns), strict=True):
            yield json.dumps(values, default=str).encode()
