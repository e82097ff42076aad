"""Does OUTPUT account for its input: every document once, every file what its record says.

Reads the index's rows, every commit, every part and every dead letter, and reports what is wrong.
Holds 8 bytes a document; knows nothing of models or Ray.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.documents import DOC_ID
from pipelines.ids import hash_ids, read_hashes
from pipelines.ledger import ERRORS, Commit, Ledger, StagedFile, published_files, sha256
from pipelines.storage import Storage

# Files read at a time; each is held whole.
_PARALLEL = 4


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
    planned = {unit.number for unit in units}
    missing = planned - committed
    if missing:
        problems.append(f"{len(missing)} of {len(units)} units are not committed; run again")
    if strange := sorted(committed - planned):
        problems.append(f"{len(strange)} commits belong to no unit, the first is {strange[0]}")
    commits = ledger.commits(sorted(committed))
    problems += _strays(storage, commits)
    checked = _check_files(storage, commits)
    problems += [file.problem for file in checked if file.problem]
    rows_files = [name for plan in plans for name in plan.rows_files]
    expected = _joined([read_hashes(storage, name) for name in rows_files])
    if not missing:
        problems += _id_problems(expected, _joined([file.ids for file in checked]))
    if not missing:
        problems += _manifest_problems(ledger, commits)
    return Verdict(
        documents=len(expected),
        answered=sum(commit.answered for commit in commits),
        dead_letters=sum(commit.dead_letters for commit in commits),
        units=len(units),
        units_committed=len(committed),
        problems=tuple(problems),
    )


def _manifest_problems(ledger: Ledger, commits: Sequence[Commit]) -> Iterator[str]:
    manifest = ledger.manifest()
    if manifest is None:
        yield "there is no _manifest.json; run again to finish"
        return
    documents = sum(commit.rows for commit in commits)
    if manifest["documents"] != documents:
        yield (
            f"_manifest.json tells of {manifest['documents']} documents, {documents} are "
            "committed; run again to finish"
        )


def _strays(storage: Storage, commits: Sequence[Commit]) -> Iterator[str]:
    """What a reader of the data set would take for a part, or a reader of errors for one."""
    known = {name for commit in commits for name, _ in published_files(commit)}
    present = [name for name in storage.entries("") if not name.startswith("_")]
    present += [f"{ERRORS}/{name}" for name in storage.entries(ERRORS)]
    for name in sorted(set(present) - known):
        yield f"{name}: no commit knows this file"


@dataclass(frozen=True, slots=True)
class _Checked:
    """What is wrong with a published file, or the hashes of the documents it accounts for."""

    problem: str | None
    ids: npt.NDArray[np.uint64]


def _check_files(storage: Storage, commits: Sequence[Commit]) -> list[_Checked]:
    places = [place for commit in commits for place in published_files(commit)]
    with ThreadPoolExecutor(_PARALLEL) as pool:
        return list(pool.map(lambda place: _check_file(storage, *place), places))


def _check_file(storage: Storage, name: str, file: StagedFile) -> _Checked:
    none = np.empty(0, np.uint64)
    try:
        data = storage.read(name)
    except FileNotFoundError:
        return _Checked(f"{name}: missing; run again to publish it", none)
    if sha256(data) != file.sha256:
        reason = "its content is not what was committed; run again to publish it"
        return _Checked(f"{name}: {reason}", none)
    return _Checked(None, hash_ids(_ids(pq.ParquetFile(pa.BufferReader(data)), name)))


def _joined(hashes: Sequence[npt.NDArray[np.uint64]]) -> npt.NDArray[np.uint64]:
    return np.sort(np.concatenate([*hashes, np.empty(0, np.uint64)]))


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
