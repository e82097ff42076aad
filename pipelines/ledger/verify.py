"""Verifies that OUTPUT accounts for every document of the input exactly once, and that every file
matches its commit record.

Reads the rows of the index, every commit, every part and every dead letter, and reports what is
wrong; changes nothing. Needs 8 bytes of memory per document. Knows nothing of models or Ray.
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
from pipelines.ledger import delta
from pipelines.ledger.ledger import RESTORE, Ledger, published_files
from pipelines.ledger.names import (
    ANSWERS,
    COMMITS,
    DEAD_LETTERS,
    DELTA_LOG,
    MANIFEST,
    check_layout,
    unit_of_commit,
)
from pipelines.ledger.records import (
    Commit,
    Plan,
    StagedFile,
    current_rows,
    differing_units,
    sha256,
)
from pipelines.ledger.withdrawals import outstanding
from pipelines.storage import Storage

# Files read at the same time; each is held in memory whole.
_PARALLEL = 4
_RESUME = "run the job again (phifleet run)"
_START_OVER = "set output.path to a new directory and run the job again"
Hashes = npt.NDArray[np.uint64]
"""The 64-bit hashes of document ids."""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The result of verifying one OUTPUT.

    `documents` is the number of documents in the index, and `units` that of planned units.
    `answered` and `dead_letters` are the numbers of documents that the commits state. `problems`
    are messages, one per fault, each with a remedy. `skipped_files` has a message for each damaged
    input file that the run skipped, with the reason; it is empty until the run has finished.
    """

    documents: int
    answered: int
    dead_letters: int
    units: int
    units_committed: int
    problems: tuple[str, ...]
    skipped_files: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """True if every document is accounted for exactly once, those of skipped files aside."""
        return not self.problems


def verify(storage: Storage) -> VerifyReport:
    """Compare the OUTPUT in `storage` with its index and ledger, and return the report.

    A fault becomes a problem in the report. Raises StorageError, and OutputError if a record of the
    ledger is damaged, without which nothing can be compared, or if OUTPUT has an older layout;
    SpecError if the package is missing that reads the Delta table.
    """
    check_layout(storage)
    ledger = Ledger(storage)
    plans = ledger.plans()
    units = [unit for plan in plans for unit in plan.units]
    committed = ledger.committed()
    problems: list[str] = []
    if not plans:
        problems.append(f"{storage.url} contains no plan: nothing was indexed yet; {_RESUME}")
    planned = {unit.number for unit in units}
    missing = planned - committed
    if missing:
        problems.append(f"{len(missing)} of {len(units)} units are not committed; {_RESUME}")
    if unplanned := sorted(committed - planned):
        problems.append(
            f"{len(unplanned)} commits belong to no planned unit, first {COMMITS}/"
            f"{unplanned[0]:06d}.json; {_START_OVER}"
        )
    commits = ledger.commits(sorted(committed))
    problems += _unknown_files(storage, commits)
    problems += [f"{line}; {_START_OVER}" for line in differing_units(plans, commits)]
    checked = _check_units(storage, commits)
    problems += [problem for unit in checked for problem in unit.problems]
    problems += _waiting_withdrawals(ledger, plans)
    expected = join_hashes([read_hashes(storage, file) for file in current_rows(plans)])
    manifest = ledger.manifest()
    if not missing:
        problems += _id_problems(expected, join_hashes([unit.ids for unit in checked]))
        problems += _manifest_problems(manifest, commits)
        if manifest and manifest.get("table") and not delta.is_current(storage, plans):
            problems.append(f"{DELTA_LOG}: the Delta table lacks parts; {_RESUME} to add them")
    return VerifyReport(
        documents=len(expected),
        answered=sum(commit.answered for commit in commits),
        dead_letters=sum(commit.dead_letters for commit in commits),
        units=len(units),
        units_committed=len(committed),
        problems=tuple(problems),
        skipped_files=tuple((manifest or {}).get("skipped_files", ())),
    )


def _waiting_withdrawals(ledger: Ledger, plans: Sequence[Plan]) -> Iterator[str]:
    if waiting := outstanding(ledger, plans):
        documents = sum(len(ids) for _, _, ids in waiting)
        yield (
            f"{documents} documents that the input does not have any more are still in OUTPUT; "
            f"{_RESUME} to remove them"
        )


def _manifest_problems(
    manifest: Mapping[str, Any] | None, commits: Sequence[Commit]
) -> Iterator[str]:
    if manifest is None:
        yield f"{MANIFEST} does not exist; {_RESUME} to finish it"
        return
    documents = sum(commit.rows for commit in commits)
    if manifest["documents"] != documents:
        yield (
            f"{MANIFEST} states {manifest['documents']} documents, but {documents} are "
            f"committed; {_RESUME} to finish it"
        )


def _unknown_files(storage: Storage, commits: Sequence[Commit]) -> Iterator[str]:
    """Yield a problem for each file that no commit names although it lies where readers expect
    answers or dead letters, and for each file in COMMITS whose name is not that of a commit."""
    known = {name for commit in commits for name, _ in published_files(commit)}
    present = [
        f"{directory}/{name}"
        for directory in (ANSWERS, DEAD_LETTERS)
        for name in storage.entries(directory)
        if f"{directory}/{name}" != DELTA_LOG
    ]
    names = storage.entries(COMMITS)
    present += [f"{COMMITS}/{name}" for name in names if unit_of_commit(name) is None]
    for name in sorted(set(present) - known):
        yield f"{name}: no commit names this file; move it out of OUTPUT"


@dataclass(frozen=True, slots=True)
class _CheckedUnit:
    """The result of checking one unit: the problems of its published files, and the id hashes of
    the documents that its intact files account for."""

    problems: tuple[str, ...]
    ids: Hashes


def _check_units(storage: Storage, commits: Sequence[Commit]) -> list[_CheckedUnit]:
    with ThreadPoolExecutor(_PARALLEL) as pool:
        return list(pool.map(lambda commit: _check_unit(storage, commit), commits))


def _check_unit(storage: Storage, commit: Commit) -> _CheckedUnit:
    problems: list[str] = []
    tables: dict[bool, pa.Table] = {}
    for name, staged in published_files(commit):
        data = storage.read_if_exists(name)
        if data is None or sha256(data) != staged.sha256:
            fault = "missing" if data is None else "its content is not what was committed"
            problems.append(f"{name}: {fault}; {_remedy(storage, staged)}")
            continue
        file = pq.ParquetFile(pa.BufferReader(data))
        is_errors = name.startswith(DEAD_LETTERS)
        columns = [DOC_ID, "task"] if is_errors else [file.schema_arrow.names[0]]
        tables[is_errors] = file.read(columns=columns)
    ids = accounted_hashes(tables.get(False), tables.get(True))
    if not problems and digest_ids(ids) != commit.ids:
        problems.append(
            f"unit {commit.unit}: its files contain other documents than its commit states; "
            f"{_START_OVER}"
        )
    return _CheckedUnit(tuple(problems), ids)


def _remedy(storage: Storage, staged: StagedFile) -> str:
    if storage.exists(staged.staged):
        return f"{_RESUME} to publish it"
    return RESTORE


def _id_problems(expected: Hashes, actual: Hashes) -> Iterator[str]:
    """Compare the id hashes of the input with those of the output. Once all units are committed, a
    run does not repeat any, so that only a new OUTPUT helps."""
    lost = len(np.setdiff1d(expected, actual))
    if lost:
        yield (
            f"{lost} documents of the input are in no part and in no dead letter; if no file above "
            f"is missing or damaged, {_START_OVER}"
        )
    unknown = len(np.setdiff1d(actual, expected))
    if unknown:
        yield f"{unknown} documents of the output are not in the input; {_START_OVER}"
    duplicates = len(actual) - len(np.unique(actual))
    if duplicates:
        yield f"{duplicates} documents occur more than once in the output; {_START_OVER}"
