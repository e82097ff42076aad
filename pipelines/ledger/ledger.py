"""The ledger of a run: plans, commits, publishing, the manifest. Exactly once rests here.

A unit is done when its commit record exists; the record is created exclusively, so whoever comes
second throws its staged part away. Publishing copies staged parts to their places and can be
repeated by anyone at any time. Names below `_run/` and their meaning are all decided here.

Knows storage and units; nothing of Ray, engines or documents.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pipelines.errors import Incomplete, OutputError
from pipelines.ledger.attempts import ATTEMPTS as ATTEMPTS
from pipelines.ledger.records import Commit, Plan, StagedFile, readable, sha256
from pipelines.storage import Storage

JOB = "_run/job.json"
COMMITS = "_run/commits"
STAGING = "_run/staging"
INDEX = "_run/index"
MANIFEST = "_manifest.json"
DEAD_LETTERS = "_errors"
RESTORE = "its copy is gone: put the file back, or run into a new OUTPUT"
"""What helps where a published file is lost, and what was staged of it too."""
_PARALLEL = 32
_UNIT_NAME = re.compile(r"(?:part-|errors-)?(\d{6,})-")
_INDEX_NAME = re.compile(r"(\d{4,})-[0-9a-f]{8}")


def part_name(unit: int) -> str:
    return f"part-{unit:06d}.parquet"


def dead_letters_name(unit: int) -> str:
    return f"{DEAD_LETTERS}/{part_name(unit)}"


@dataclass(frozen=True)
class Ledger:
    """The ledger of one OUTPUT."""

    storage: Storage

    def open_job(self, job: Mapping[str, Any]) -> Mapping[str, Any]:
        """Record the job of a new run, or return the record of the run that is here."""
        if self.storage.create(JOB, json.dumps(job, indent=2, sort_keys=True).encode()):
            return job
        recorded = self.job()
        assert recorded is not None
        return recorded

    def check_output_is_ours(self) -> None:
        """Raises OutputError where OUTPUT holds something, and no run of phifleet."""
        strange = [name for name in self.storage.entries("") if name != "_run"]
        if strange and self.job() is None:
            raise OutputError(
                f"output.path: {self.storage.url} holds {strange[0]} and is no run of phifleet; "
                "choose an empty or new directory"
            )

    def job(self) -> Mapping[str, Any] | None:
        """The record of this run's job, None where there is no run."""
        return self._json(JOB)

    def plans(self) -> list[Plan]:
        """Every plan of this run: the first, and one for each time files were added."""
        plans: list[Plan] = []
        while (plan := self._read_plan(len(plans))) is not None:
            plans.append(plan)
        return plans

    def add_plan(self, number: int, plan: Plan) -> bool:
        """Create plan `number`; where somebody else did so first, theirs stands, and this returns
        False."""
        return self._record(_plan_name(number), plan.to_bytes())

    def _read_plan(self, number: int) -> Plan | None:
        data = self.storage.read_if_exists(_plan_name(number))
        if data is None:
            return None
        with readable(self.storage.path(_plan_name(number))):
            return Plan.from_bytes(data)

    def committed(self) -> set[int]:
        """Numbers of the units that are done: one listing, no reading."""
        return {int(name.removesuffix(".json")) for name in self.storage.names(COMMITS)}

    def commit(self, record: Commit) -> bool:
        """Make a unit done, or return False where another worker already did."""
        return self._record(_commit_name(record.unit), record.to_json())

    def _record(self, name: str, data: bytes) -> bool:
        """Create a record, or return False where there is another. A store that lost its answer is
        asked again by its client, and then finds our own."""
        return self.storage.create(name, data) or self.storage.read_if_exists(name) == data

    def commits(self, units: Iterable[int]) -> Sequence[Commit]:
        """The records of these units, which must be committed."""
        with ThreadPoolExecutor(_PARALLEL) as pool:
            return list(pool.map(self._read_commit, units))

    def _read_commit(self, unit: int) -> Commit:
        name = _commit_name(unit)
        data = self.storage.read(name)
        with readable(self.storage.path(name)):
            return Commit.from_json(data)

    def publish(self, record: Commit) -> None:
        """Copy a committed unit's staged files to their places. Can be repeated.

        Raises Incomplete where a file is neither staged any more nor in its place.
        """
        for target, staged in published_files(record):
            try:
                self.storage.copy(staged.staged, target)
            except FileNotFoundError:
                # swept by whoever finished the run, and published before
                if not self._sound(target, staged):
                    raise _lost(record, target) from None

    def discard(self, record: Commit) -> None:
        """Throw away the staged files of a unit that somebody else committed."""
        for _, staged in published_files(record):
            self.storage.remove(staged.staged)

    def repair(self, records: Sequence[Commit]) -> int:
        """Publish whatever has no part in its place, or another than its record says.

        Returns how many files it published. Raises Incomplete where one cannot be had any more.
        """
        with ThreadPoolExecutor(_PARALLEL) as pool:
            return sum(pool.map(self._repair_one, records))

    def _repair_one(self, record: Commit) -> int:
        published = 0
        for target, staged in published_files(record):
            if self._sound(target, staged):
                continue
            if not self._sound(staged.staged, staged):
                raise _lost(record, target)
            self.storage.copy(staged.staged, target)
            published += 1
        return published

    def _sound(self, name: str, staged: StagedFile) -> bool:
        """Whether a file is there and is what was committed."""
        data = self.storage.read_if_exists(name)
        return data is not None and sha256(data) == staged.sha256

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        self.storage.write(MANIFEST, json.dumps(manifest, indent=2).encode())

    def manifest(self) -> Mapping[str, Any] | None:
        return self._json(MANIFEST)

    def _json(self, name: str) -> Mapping[str, Any] | None:
        data = self.storage.read_if_exists(name)
        if data is None:
            return None
        with readable(self.storage.path(name)):
            return dict(json.loads(data))

    def sweep(self, plans: Sequence[Plan]) -> None:
        """Remove what a finished run needs no more: what its units staged and attempted, the copy
        of the corpus's text, and indexes that somebody else's plan has made useless.

        A newer run may be at work with files that these plans do not know: what is its stays.
        """
        units = {unit.number for plan in plans for unit in plan.units}
        for directory in (STAGING, ATTEMPTS):
            self.storage.remove_matching(directory, lambda name: _unit_of(name) in units)
        for file in sorted({unit.file for plan in plans for unit in plan.units}):
            self.storage.remove(file)
        used = {name.rpartition("/")[0] for plan in plans for name in plan.rows_files}
        for name in self.storage.entries(INDEX):
            found = _INDEX_NAME.fullmatch(name)
            if found and int(found[1]) < len(plans) and f"{INDEX}/{name}" not in used:
                self.storage.remove(f"{INDEX}/{name}")


def new_index(plan: int) -> str:
    """The name of a directory for an index that is to become plan number `plan`."""
    return f"{INDEX}/{plan:04d}-{uuid.uuid4().hex[:8]}"


def new_staged(kind: str, unit: int) -> str:
    """A name in staging that nobody else has. `kind` is `part` or `errors`."""
    return f"{STAGING}/{kind}-{unit:06d}-{uuid.uuid4().hex}.parquet"


def _unit_of(name: str) -> int | None:
    """The unit of a staged file or an attempt's record, None where a name is neither's."""
    found = _UNIT_NAME.match(name)
    return int(found[1]) if found else None


def _plan_name(number: int) -> str:
    return "_run/units.parquet" if number == 0 else f"_run/units-{number:04d}.parquet"


def _commit_name(unit: int) -> str:
    return f"{COMMITS}/{unit:06d}.json"


def _lost(record: Commit, target: str) -> Incomplete:
    return Incomplete(f"unit {record.unit}: {target} is lost or damaged; {RESTORE}")


def published_files(record: Commit) -> list[tuple[str, StagedFile]]:
    """The names that a commit's files have in OUTPUT, and what each must be."""
    places = [
        (part_name(record.unit), record.part),
        (dead_letters_name(record.unit), record.errors),
    ]
    return [(target, staged) for target, staged in places if staged is not None]
