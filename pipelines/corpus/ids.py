"""Document ids: which are none, which stand more than once, and their hashes.

Knows the index's `rows-*.parquet`; nothing of texts or units.
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
# How many ids, or rows, a message names.
MAX_REPORTED = 10
_SHOWN = 40
# Rows that a message names of each id.
_SHOWN_ROWS = 3


def bad_ids(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Which ids are null, empty or not UTF-8."""
    if not pa.types.is_string(ids.type):
        return pc.is_null(ids)
    raw = pc.cast(ids, pa.binary())
    bad = pc.fill_null(pc.equal(raw, b""), True)
    try:
        pc.cast(raw, pa.string())
    except pa.ArrowInvalid:
        bad = pc.or_(bad, pa.chunked_array([[not _is_utf8(each) for each in raw.to_pylist()]]))
    return bad


def describe_ids(ids: pa.ChunkedArray) -> list[str]:
    """Ids that are none, as a message shows them."""
    if not pa.types.is_string(ids.type):
        return [f"{each}" if each is not None else "null" for each in ids.to_pylist()]
    raw = pc.cast(ids, pa.binary()).to_pylist()
    return ["null" if each is None else repr(each[:_SHOWN]) if each else "empty" for each in raw]


def _is_utf8(raw: bytes | None) -> bool:
    try:
        (raw or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def hash_ids(ids: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """A 64-bit hash of each id, the same in every process."""
    values = pc.fill_null(ids.cast(pa.string()).cast(pa.binary()), b"").to_numpy()
    return np.asarray(pd.util.hash_array(values, categorize=False), dtype=np.uint64)


def digest_ids(hashes: npt.NDArray[np.uint64]) -> str:
    """Return a digest of documents by the hashes of their ids, the same in any order."""
    ordered = np.sort(hashes).astype("<u8")
    return hashlib.blake2b(ordered.tobytes(), digest_size=16).hexdigest()


def accounted_hashes(part: pa.Table | None, letters: pa.Table | None) -> npt.NDArray[np.uint64]:
    """Return the hashes of the documents that a part, its ids first, and dead letters account for,
    sorted: those answered, those with a letter for the whole, and those whose every task failed."""
    stand = [hash_ids(part.column(0))] if part is not None else []
    failed = np.empty(0, np.uint64)
    if letters is not None:
        whole = pc.is_null(letters.column("task"))
        stand.append(hash_ids(letters.filter(whole).column(DOC_ID)))
        failed = hash_ids(letters.filter(pc.invert(whole)).column(DOC_ID))
    standing = join_hashes(stand)
    return join_hashes([standing, np.setdiff1d(failed, standing)])


def join_hashes(hashes: Sequence[npt.NDArray[np.uint64]]) -> npt.NDArray[np.uint64]:
    return np.sort(np.concatenate([*hashes, np.empty(0, np.uint64)]))


def find_duplicates(storage: Storage, files: Sequence[str], share: int, shares: int) -> list[str]:
    """Ids that stand more than once in these `rows-*.parquet`, the first ten, each with its rows.

    Looks only at ids whose hash falls into `share` of `shares`, which bounds the memory: 8 bytes
    for each id of the share.
    """
    hashes = [_hash_share(storage, name, share, shares) for name in files]
    values, counts = np.unique(
        np.concatenate([*hashes, np.empty(0, np.uint64)]), return_counts=True
    )
    repeated = values[counts > 1]
    return _name_duplicates(storage, files, repeated) if len(repeated) else []


def read_hashes(storage: Storage, name: str) -> npt.NDArray[np.uint64]:
    """The hashes of all ids of one `rows-*.parquet`."""
    with storage.open(name) as handle:
        column = pq.read_table(handle, columns=[ID_HASH]).column(0)
    return np.asarray(column.to_numpy(), dtype=np.uint64)


def _hash_share(storage: Storage, name: str, share: int, shares: int) -> npt.NDArray[np.uint64]:
    hashes = read_hashes(storage, name)
    return np.asarray(hashes[hashes % np.uint64(shares) == share], dtype=np.uint64)


def _name_duplicates(
    storage: Storage, files: Sequence[str], repeated: npt.NDArray[np.uint64]
) -> list[str]:
    wanted = pa.array(repeated[:1000])
    found = []
    for name in files:
        with storage.open(name) as handle:
            rows = pq.read_table(handle, columns=[SOURCE, ROW, DOC_ID, ID_HASH])
        chosen = rows.filter(pc.is_in(rows.column(ID_HASH), wanted)).to_pandas()
        # where all rows have the same few ids, few of them are kept
        found.append(chosen.groupby(ID_HASH, sort=False).head(_SHOWN_ROWS))
    places: dict[object, list[str]] = {}
    kept = pd.concat(found)
    for doc_id, source, row in zip(kept[DOC_ID], kept[SOURCE], kept[ROW], strict=True):
        places.setdefault(doc_id, []).append(f"{source} row {row}")
    doubled = [(doc_id, where) for doc_id, where in places.items() if len(where) > 1]
    return [
        f"{doc_id!r}: {', '.join(where[:_SHOWN_ROWS])}" for doc_id, where in doubled[:MAX_REPORTED]
    ]
