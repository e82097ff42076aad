"""Does OUTPUT account for its input: every document once, every file what its record says.

Reads the index's rows, every commit, every part and every dead letter, and reports what is wrong.
Holds 8 bytes a document; knows nothing of models or Ray.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.corpus.ids import accounted_hashes, digest_ids, join_hashes, read_hashes
from pipelines.documents import DOC_ID
from pipelines.ledger.ledger import DEAD_LETTERS, RESTORE, Ledger, published_files
from pipelines.ledger.records import Commit, StagedFile, differing_units, sha256
from pipelines.storage import Storage

# Files read at a time; each is held whole.
_PARALLEL = 4
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What verifying found. Complete means that every document of the files that were read is
    accounted for once; damaged ones may have been left out."""

    documents: int
    answered: int
    dead_letters: int
    units: int
    units_committed: int
    problems: tuple[str, ...]
    skipped_files: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        return not self.problems


def verify(storage: Storage) -> VerifyReport:
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
    problems += differing_units(plans, commits)
    checked = _check_units(storage, commits)
    problems += [problem for unit in checked for problem in unit.problems]
    rows_files = [name for plan in plans for name in plan.rows_files]
    expected = join_hashes([read_hashes(storage, name) for name in rows_files])
    manifest = ledger.manifest()
    if not missing:
        problems += _id_problems(expected, join_hashes([unit.ids for unit in checked]))
        problems += _manifest_problems(manifest, commits)
    return VerifyReport(
        documents=len(expected),
        answered=sum(commit.answered for commit in commits),
        dead_letters=sum(commit.dead_letters for commit in commits),
        units=len(units),
        units_committed=len(committed),
        problems=tuple(problems),
        skipped_files=tuple((manifest or {}).get("skipped_files", ())),
    )


def _manifest_problems(
    manifest: Mapping[str, Any] | None, commits: Sequence[Commit]
) -> Iterator[str]:
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
    present += [f"{DEAD_LETTERS}/{name}" for name in storage.entries(DEAD_LETTERS)]
    for name in sorted(set(present) - known):
        yield f"{name}: no commit knows this file"


@dataclass(frozen=True, slots=True)
class _Checked:
    """What is wrong with the published files of a unit, and the hashes of the documents that the
    others account for."""

    problems: tuple[str, ...]
    ids: Hashes


def _check_units(storage: Storage, commits: Sequence[Commit]) -> list[_Checked]:
    with ThreadPoolExecutor(_PARALLEL) as pool:
        return list(pool.map(lambda commit: _check_unit(storage, commit), commits))


def _check_unit(storage: Storage, commit: Commit) -> _Checked:
    problems: list[str] = []
    tables: dict[bool, pa.Table] = {}
    for name, staged in published_files(commit):
        data = storage.read_if_exists(name)
        if data is None or sha256(data) != staged.sha256:
            found = "missing" if data is None else "its content is not what was committed"
            problems.append(f"{name}: {found}; {_remedy(storage, staged)}")
            continue
        file = pq.ParquetFile(pa.BufferReader(data))
        of_errors = name.startswith(DEAD_LETTERS)
        wanted = [DOC_ID, "task"] if of_errors else [file.schema_arrow.names[0]]
        tables[of_errors] = file.read(columns=wanted)
    ids = accounted_hashes(tables.get(False), tables.get(True))
    if not problems and digest_ids(ids) != commit.ids:
        problems.append(f"unit {commit.unit}: its files hold other documents than its commit says")
    return _Checked(tuple(problems), ids)


def _remedy(storage: Storage, staged: StagedFile) -> str:
    if storage.exists(staged.staged):
        return "run again to publish it"
    return RESTORE


def _id_problems(expected: Hashes, seen: Hashes) -> Iterator[str]:
    lost = len(np.setdiff1d(expected, seen))
    if lost:
        yield f"{lost} documents of the input are in no part and no dead letter"
    strange = len(np.setdiff1d(seen, expected))
    if strange:
        yield f"{strange} documents of the output are not in the input"
    doubled = len(seen) - len(np.unique(seen))
    if doubled:
        yield f"{doubled} documents stand more than once"
