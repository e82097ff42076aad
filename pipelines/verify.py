"""Does OUTPUT account for its input: every document once, every file what its record says.

Reads the index's rows, every commit, every part and every dead letter, and reports what is wrong.
Holds 8 bytes a document; knows nothing of models or Ray.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.documents import DOC_ID
from pipelines.index import ID_HASH, hash_ids
from pipelines.ledger import ERRORS, Commit, Ledger, errors_name, part_name, sha256
from pipelines.storage import Storage


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verifying found. Complete means that every document is accounted for once."""

    documents: int
    answered: int
    dead_letters: int
    units: int
    units_committed: int
    problems: tuple[str, ...]

    @property
    def complete(self) -> bool:
        return not self.problems


def verify(storage: Storage) -> Verdict:
    """Reconcile OUTPUT with its index and ledger. Raises StorageError."""
    ledger = Ledger(storage)
    plans = ledger.plans()
    units = [unit for plan in plans for unit in plan.units]
    committed = ledger.committed()
    problems: list[str] = []
    if not plans:
        problems.append(f"{storage.url} holds no plan: nothing was indexed here")
    missing = sorted({unit.number for unit in units} - committed)
    if missing:
        problems.append(f"{len(missing)} of {len(units)} units are not committed; run again")
    commits = ledger.commits(sorted(committed))
    problems += _file_problems(storage, commits)
    seen = _ids_seen(storage, commits)
    expected = _ids_expected(storage, [name for plan in plans for name in plan.rows_files])
    if not missing:
        problems += _id_problems(expected, seen)
    if not missing and ledger.manifest() is None:
        problems.append("there is no _manifest.json; run again to finish")
    return Verdict(
        documents=len(expected),
        answered=sum(commit.answered for commit in commits),
        dead_letters=sum(commit.dead_letters for commit in commits),
        units=len(units),
        units_committed=len(committed),
        problems=tuple(problems),
    )


def _places(commits: Sequence[Commit]) -> Iterator[tuple[str, int, str]]:
    for commit in commits:
        files = ((part_name(commit.unit), commit.part), (errors_name(commit.unit), commit.errors))
        for name, file in files:
            if file is not None:
                yield name, file.rows, file.sha256


def _file_problems(storage: Storage, commits: Sequence[Commit]) -> Iterator[str]:
    expected = {name: digest for name, _, digest in _places(commits)}
    present = [name for name in storage.names("") if name.startswith("part-")]
    present += [f"{ERRORS}/{name}" for name in storage.names(ERRORS)]
    for name in sorted(set(present) - set(expected)):
        yield f"{name}: no commit knows this file"
    for name, digest in expected.items():
        if name not in present:
            yield f"{name}: missing; run again to publish it"
        elif sha256(storage.read(name)) != digest:
            yield f"{name}: its content is not what was committed; run again to publish it"


def _ids_expected(storage: Storage, rows_files: Sequence[str]) -> npt.NDArray[np.uint64]:
    hashes = [np.empty(0, np.uint64)]
    for name in rows_files:
        with storage.open(name) as handle:
            hashes.append(pq.read_table(handle, columns=[ID_HASH]).column(0).to_numpy())
    return np.sort(np.concatenate(hashes))


def _ids_seen(storage: Storage, commits: Sequence[Commit]) -> npt.NDArray[np.uint64]:
    """Hashes of the ids in all parts, and of documents that are dead letters whole."""
    hashes = [np.empty(0, np.uint64)]
    for name, _, _ in _places(commits):
        if storage.size(name) is not None:
            with storage.open(name) as handle:
                hashes.append(hash_ids(_ids(pq.ParquetFile(handle), name)))
    return np.sort(np.concatenate(hashes))


def _ids(file: pq.ParquetFile, name: str) -> pa.ChunkedArray:
    if not name.startswith(ERRORS):
        return file.read(columns=[file.schema_arrow.names[0]]).column(0)
    letters = file.read(columns=[DOC_ID, "task"])
    return letters.filter(pc.is_null(letters.column("task"))).column(DOC_ID)


def _id_problems(expected: npt.NDArray[np.uint64], seen: npt.NDArray[np.uint64]) -> Iterator[str]:
    lost = len(np.setdiff1d(expected, seen))
    if lost:
        yield f"{lost} documents of the input are in no part and no dead letter"
    strange = len(np.setdiff1d(seen, expected))
    if strange:
        yield f"{strange} documents of the output are not in the input"
    doubled = len(seen) - len(np.unique(seen))
    if doubled:
        yield f"{doubled} documents stand more than once"
