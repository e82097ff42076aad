"""The ledger of a run: the files in OUTPUT that make every document count exactly once.

A plan lists the units of the corpus. It is created exclusively (a name is created only if it does
not exist), so that two drivers that plan at the same time use the same plan.

A unit is answered, committed and published by a worker:

1. stage: write the unit's answers and dead letters to new names in `_run/staging`.
2. commit: create `_run/commits/UNIT.json`, exclusively. It names the staged files and their sha256.
   At this moment the unit is done. If the record exists already, another worker committed the unit
   first: the worker discards (deletes) its staged files.
3. publish: copy the staged files that the record names to their final names,
   `answers/part-*.parquet` and `dead_letters/part-*.parquet`. A crash before or during this step
   loses nothing: the copy can be repeated by any process at any time, and has the same result.

When all units are committed, the driver finishes the run:

4. repair: compare every published file with its record, and publish again those that are missing or
   differ.
5. write the manifest.
6. sweep: delete what a finished run does not need. Only files of the run's own plans are deleted: a
   newer driver may be working on units that these plans do not have.

`lease.py` keeps an older driver from committing; even if both commit, step 2 has one winner.
`names.py` has the names of all files.

Knows storage and units; knows nothing of Ray, engines or documents.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pipelines.errors import Incomplete, OutputError
from pipelines.ledger.attempts import ATTEMPTS
from pipelines.ledger.names import (
    COMMITS,
    INDEX,
    INDEX_NAME,
    JOB,
    MANIFEST,
    STAGING,
    WITHDRAWALS,
    check_layout,
    commit_name,
    dead_letters_name,
    part_name,
    plan_name,
    revision_name,
    revision_of,
    unit_of,
    unit_of_commit,
)
from pipelines.ledger.records import (
    Commit,
    Plan,
    StagedFile,
    check_job,
    check_manifest,
    readable,
    sha256,
)
from pipelines.storage import Storage

RESTORE = (
    "its staged copy is gone too: restore the file from a backup, or set output.path to a new "
    "directory and run again"
)
"""The remedy if both a published file and its staged copy are lost."""
_PARALLEL = 32


@dataclass(frozen=True)
class Ledger:
    """The ledger of one OUTPUT. Its methods raise StorageError, and OutputError for a record that
    is damaged or has another version's format."""

    storage: Storage

    def open_job(self, job: Mapping[str, Any]) -> Mapping[str, Any]:
        """Record `job`, JSON values by key, as the job of a new run and return it; if OUTPUT has a
        recorded job already, return that one and write nothing."""
        if self.storage.create(JOB, json.dumps(job, indent=2, sort_keys=True).encode()):
            return job
        recorded = self.job()
        assert recorded is not None
        return recorded

    def check_output_is_ours(self) -> None:
        """Raise OutputError if OUTPUT contains files or directories, but no recorded job, or if an
        older version of phifleet wrote it. Hidden files and `_run` do not count."""
        # the first request: a listing's error says more of what is wrong than that of `exists`
        others = [name for name in self.storage.entries("") if name != "_run"]
        check_layout(self.storage)
        if others and self.job() is None:
            raise OutputError(
                f"output.path: {self.storage.url} contains {others[0]}, but no phifleet run; "
                "set output.path to an empty or new directory"
            )

    def job(self) -> Mapping[str, Any] | None:
        """Return the recorded job as JSON values by key, or None if OUTPUT has no run."""
        return self._json(JOB, check_job)

    def plans(self) -> list[Plan]:
        """Return all plans in order: the first, and one for each time that files were added."""
        plans: list[Plan] = []
        while (plan := self._read_plan(len(plans))) is not None:
            plans.append(plan)
        return plans

    def add_plan(self, number: int, plan: Plan) -> bool:
        """Record a plan under its number, counted from 0, and return True; or return False if
        another driver has recorded a plan with that number, which is then the valid one."""
        return self._record(plan_name(number), plan.to_bytes())

    def _read_plan(self, number: int) -> Plan | None:
        data = self.storage.read_if_exists(plan_name(number))
        if data is None:
            return None
        with readable(self.storage.path(plan_name(number))):
            return Plan.from_bytes(data)

    def committed(self) -> set[int]:
        """Return the numbers of all committed units, by one listing."""
        units = map(unit_of_commit, self.storage.names(COMMITS))
        return {unit for unit in units if unit is not None}

    def commit(self, record: Commit) -> bool:
        """Commit the record's unit and return True, or return False if another worker has committed
        it. Does not publish its files."""
        return self._record(commit_name(record.unit), record.to_json())

    def _record(self, name: str, data: bytes) -> bool:
        """Create a record and return True, or return False if another one exists. If the store's
        answer is lost, its client repeats the request and finds our own record: that is True."""
        return self.storage.create(name, data) or self.storage.read_if_exists(name) == data

    def commits(self, units: Iterable[int]) -> Sequence[Commit]:
        """Return the records of the units with these numbers, in the order of `units`: each unit's
        newest revision, or its commit if it has none. Raises FileNotFoundError if a unit is not
        committed."""
        revisions = self.revisions()
        with ThreadPoolExecutor(_PARALLEL) as pool:
            return list(pool.map(lambda unit: self._read_commit(unit, revisions), units))

    def revisions(self) -> Mapping[int, Sequence[int]]:
        """Return the numbers of the plans that have revised a unit, by the unit's number, for all
        units that were revised. One listing."""
        revisions: defaultdict[int, list[int]] = defaultdict(list)
        for name in self.storage.names(WITHDRAWALS):
            if numbers := revision_of(name):
                revisions[numbers[1]].append(numbers[0])
        return dict(revisions)

    def revise(self, record: Commit) -> bool:
        """Record the revision of a unit by the plan `record.revision`, and return True, or return
        False if that plan has revised it already. Does not publish its files."""
        return self._record(revision_name(record.revision, record.unit), record.to_json())

    def _read_commit(self, unit: int, revisions: Mapping[int, Sequence[int]]) -> Commit:
        revised = unit in revisions
        name = revision_name(max(revisions[unit]), unit) if revised else commit_name(unit)
        data = self.storage.read(name)
        with readable(self.storage.path(name)):
            return Commit.from_json(data)

    def publish(self, record: Commit) -> None:
        """Copy a committed unit's staged files to their final names. May be repeated.

        If the unit is revised meanwhile, its revision is published. Raises Incomplete if a file is
        neither staged nor published intact.
        """
        self._publish(record)
        # a process that was held up must not bring back what was withdrawn since
        while (newest := max(self.revisions().get(record.unit, ()), default=0)) > record.revision:
            (record,) = self.commits([record.unit])
            assert record.revision >= newest
            self._publish(record)

    def _publish(self, record: Commit) -> None:
        for target in withdrawn_files(record):
            self.storage.remove(target)
        for target, staged in published_files(record):
            try:
                self.storage.copy(staged.staged, target)
            except FileNotFoundError:
                # another driver may have published the unit, finished the run and swept
                if not self._is_intact(target, staged):
                    raise _lost(record, target) from None

    def discard(self, record: Commit) -> None:
        """Delete the staged files of a unit that another worker has committed."""
        for _, staged in published_files(record):
            self.storage.remove(staged.staged)

    def repair(self, records: Sequence[Commit]) -> int:
        """Publish again every file that is missing or differs from its commit record.

        Returns the number of files published. Raises Incomplete if the staged copy of such a file
        is missing or damaged too.
        """
        with ThreadPoolExecutor(_PARALLEL) as pool:
            return sum(pool.map(self._repair_one, records))

    def _repair_one(self, record: Commit) -> int:
        published = 0
        for target in withdrawn_files(record):
            if self.storage.exists(target):
                self.storage.remove(target)
        for target, staged in published_files(record):
            if self._is_intact(target, staged):
                continue
            if not self._is_intact(staged.staged, staged):
                raise _lost(record, target)
            self.storage.copy(staged.staged, target)
            published += 1
        return published

    def _is_intact(self, name: str, staged: StagedFile) -> bool:
        """Return whether a file exists and matches the checksum of its commit record."""
        data = self.storage.read_if_exists(name)
        return data is not None and sha256(data) == staged.sha256

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write or replace MANIFEST."""
        self.storage.write(MANIFEST, json.dumps(manifest, indent=2).encode())

    def manifest(self) -> Mapping[str, Any] | None:
        """Return the content of MANIFEST, or None if it does not exist."""
        return self._json(MANIFEST, check_manifest)

    def _json(
        self, name: str, check: Callable[[Mapping[str, Any]], None]
    ) -> Mapping[str, Any] | None:
        data = self.storage.read_if_exists(name)
        if data is None:
            return None
        with readable(self.storage.path(name)):
            record = dict(json.loads(data))
            check(record)
            return record

    def sweep(self, plans: Sequence[Plan]) -> None:
        """Delete what a finished run with these plans does not need any more: staged files and
        attempts of its units, the index's copy of the texts, and indexes that became no plan
        because another driver recorded that plan first.

        Files of other units, which a newer driver may be working on, are kept.
        """
        units = {unit.number for plan in plans for unit in plan.units}
        for directory in (STAGING, ATTEMPTS):
            self.storage.remove_matching(directory, lambda name: unit_of(name) in units)
        for file in sorted({unit.file for plan in plans for unit in plan.units}):
            self.storage.remove(file)
        names = [(*plan.rows_files, plan.withdrawn or "") for plan in plans]
        used = {name.rpartition("/")[0] for of_plan in names for name in of_plan}
        for name in self.storage.entries(INDEX):
            match = INDEX_NAME.fullmatch(name)
            if match and int(match[1]) < len(plans) and f"{INDEX}/{name}" not in used:
                self.storage.remove(f"{INDEX}/{name}")


def _lost(record: Commit, target: str) -> Incomplete:
    return Incomplete(f"unit {record.unit}: {target} is lost or damaged; {RESTORE}")


def published_files(record: Commit) -> list[tuple[str, StagedFile]]:
    """Return a pair for each file of a commit, at most its part and its dead letters: the file's
    final name below OUTPUT, and the staged file of which it is a copy."""
    return [(target, staged) for target, staged in _files(record) if staged is not None]


def withdrawn_files(record: Commit) -> list[str]:
    """Return the final names of files that a revised unit may have had before and has no more."""
    return [target for target, staged in _files(record) if staged is None and record.revision]


def _files(record: Commit) -> list[tuple[str, StagedFile | None]]:
    return [
        (part_name(record.unit), record.part),
        (dead_letters_name(record.unit), record.errors),
    ]
