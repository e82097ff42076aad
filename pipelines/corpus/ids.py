"""Document ids: invalid ones, duplicates, and hashes.

Knows the index's `rows-*`; knows nothing of texts or units.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.documents import DOC_ID, ROW, SOURCE
from pipelines.storage import Storage

ID_HASH = "id_hash"
"""The column of `rows-*` with the hash of each id."""
MAX_REPORTED = 10
"""The maximum number of ids, or rows, that an error message names."""
# Bytes of an invalid id that a message shows.
_SHOWN_BYTES = 40
# Rows of a duplicate id that a message names.
_SHOWN_ROWS = 3


def invalid_ids(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a boolean array with a value for each id: true if it is null, empty or not UTF-8.

    `ids` is a column of strings or integers. An integer is invalid only if it is null.
    """
    if not pa.types.is_string(ids.type):
        return pc.is_null(ids)
    raw = pc.cast(ids, pa.binary())
    invalid = pc.fill_null(pc.equal(raw, b""), True)
    try:
        pc.cast(raw, pa.string())
    except pa.ArrowInvalid:
        not_utf8 = [not _is_utf8(value) for value in raw.to_pylist()]
        invalid = pc.or_(invalid, pa.chunked_array([not_utf8]))
    return invalid


def describe_ids(ids: pa.ChunkedArray) -> list[str]:
    """Return a text for each of these invalid ids, for an error message: "null", "empty", or the
    first 40 bytes of an id that is not UTF-8. Other integers are given in digits."""
    if not pa.types.is_string(ids.type):
        return [f"{value}" if value is not None else "null" for value in ids.to_pylist()]
    return [_describe(raw) for raw in pc.cast(ids, pa.binary()).to_pylist()]


def _describe(raw: bytes | None) -> str:
    if raw is None:
        return "null"
    return repr(raw[:_SHOWN_BYTES]) if raw else "empty"


def _is_utf8(raw: bytes | None) -> bool:
    try:
        (raw or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def hash_ids(ids: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """Return a 64-bit hash of each id, in their order. The hash is the same in every process, and
    the same for an integer and the string of its digits. A null is hashed as an empty string."""
    values = pc.fill_null(ids.cast(pa.string()).cast(pa.binary()), b"").to_numpy()
    return np.asarray(pd.util.hash_array(values, categorize=False), dtype=np.uint64)


def digest_ids(hashes: npt.NDArray[np.uint64]) -> str:
    """Return a digest, 32 hex digits, of a set of documents, given the hashes of their ids in any
    order."""
    ordered = np.sort(hashes).astype("<u8")
    return hashlib.blake2b(ordered.tobytes(), digest_size=16).hexdigest()


def accounted_hashes(
    part: pa.Table | None, dead_letters: pa.Table | None
) -> npt.NDArray[np.uint64]:
    """Return the sorted hashes of the ids that a unit's part and its dead letters account for.

    These are the documents of `part`, whose first column holds the ids; the documents with a dead
    letter of the whole document (its `task` is null); and documents that have dead letters of
    single tasks, but are not in the part because no task has an answer. An id that occurs in two
    rows of the first two kinds is returned twice. None stands for a file that does not exist.
    """
    whole = [hash_ids(part.column(0))] if part is not None else []
    failed_tasks = np.empty(0, np.uint64)
    if dead_letters is not None:
        of_document = pc.is_null(dead_letters.column("task"))
        whole.append(hash_ids(dead_letters.filter(of_document).column(DOC_ID)))
        failed_tasks = hash_ids(dead_letters.filter(pc.invert(of_document)).column(DOC_ID))
    accounted = join_hashes(whole)
    # a document with an answer can have dead letters of other tasks
    return join_hashes([accounted, np.setdiff1d(failed_tasks, accounted)])


def join_hashes(hashes: Sequence[npt.NDArray[np.uint64]]) -> npt.NDArray[np.uint64]:
    """Return all hashes of ids of several arrays in one sorted array, duplicates included.

    `verify` compares two such arrays: the ids that were indexed, and those that files account for.
    """
    return np.sort(np.concatenate([*hashes, np.empty(0, np.uint64)]))


RowsFile = str | tuple[str, frozenset[str]]
"""The name of a `rows-*` below OUTPUT, and the paths of files in it whose rows do not count: the
input does not have them any more."""


def find_duplicates(
    storage: Storage, files: Sequence[RowsFile], share: int, shares: int
) -> list[str]:
    """Return a text for each id that occurs more than once in `files` of `storage`: at most
    `MAX_REPORTED` texts, each with the id and up to three of its rows.

    Looks only at ids whose hash modulo `shares` is `share`. Thus it needs 8 bytes of memory for
    each id of the share, besides one file's hashes. Raises StorageError.
    """
    hashes = [_hash_share(storage, file, share, shares) for file in files]
    values, counts = np.unique(
        np.concatenate([*hashes, np.empty(0, np.uint64)]), return_counts=True
    )
    repeated = values[counts > 1]
    return _describe_duplicates(storage, files, repeated) if len(repeated) else []


def read_hashes(storage: Storage, file: RowsFile) -> npt.NDArray[np.uint64]:
    """Return the hashes of all ids in a file, in the order of its rows. Raises StorageError."""
    column = read_index(storage, file, [ID_HASH]).column(0)
    return np.asarray(column.to_numpy(), dtype=np.uint64)


def read_index(storage: Storage, file: RowsFile, columns: Sequence[str]) -> pa.Table:
    """Return columns of a `rows-*`, without the rows that do not count. Raises StorageError."""
    name, gone = file if isinstance(file, tuple) else (file, frozenset())
    with storage.open(name) as handle:
        if not gone:
            return pq.read_table(handle, columns=list(columns))
        table = pq.read_table(handle, columns=list({*columns, SOURCE}))
    sources = pa.array(sorted(gone), pa.string())
    counting = pc.invert(pc.is_in(table.column(SOURCE).cast(pa.string()), sources))
    return table.filter(counting).select(list(columns))


def _hash_share(
    storage: Storage, file: RowsFile, share: int, shares: int
) -> npt.NDArray[np.uint64]:
    hashes = read_hashes(storage, file)
    return np.asarray(hashes[hashes % np.uint64(shares) == share], dtype=np.uint64)


def _describe_duplicates(
    storage: Storage, files: Sequence[RowsFile], repeated: npt.NDArray[np.uint64]
) -> list[str]:
    hashes = pa.array(repeated[:1000])
    tables = []
    for file in files:
        rows = read_index(storage, file, [SOURCE, ROW, DOC_ID, ID_HASH])
        chosen = rows.filter(pc.is_in(rows.column(ID_HASH), hashes)).to_pandas()
        # bounds the memory if a few ids are those of nearly all rows
        tables.append(chosen.groupby(ID_HASH, sort=False).head(_SHOWN_ROWS))
    places: dict[object, list[str]] = {}
    repeats = pd.concat(tables)
    for doc_id, source, row in zip(repeats[DOC_ID], repeats[SOURCE], repeats[ROW], strict=True):
        places.setdefault(doc_id, []).append(f"{source} row {row}")
    # two different ids may have the same hash
    duplicates = [(doc_id, where) for doc_id, where in places.items() if len(where) > 1]
    return [
        f"{doc_id!r}: {', '.join(where[:_SHOWN_ROWS])}"
        for doc_id, where in duplicates[:MAX_REPORTED]
    ]
