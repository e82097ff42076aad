"""The status of a run, from its ledger alone: whether it is alive, how far it is, what it has used.

While a run is alive its driver's heartbeat has the sums over commits, so that no commit is read and
none is listed. Otherwise the commits after the last heartbeat are read. Starts nothing, and changes
nothing but for one small file that is written and deleted to learn the store's time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from pipelines.job.resources import Limits
from pipelines.ledger.accounts import Account, bill
from pipelines.ledger.heartbeat import (
    RUNNING,
    Heartbeat,
    KnownCommits,
    beats_again,
    is_recent,
    read_heartbeat,
    read_known,
    read_sessions,
    silent_seconds,
)
from pipelines.ledger.lease import generations
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.opening import open_run
from pipelines.ledger.redo import unfinished_redos
from pipelines.ledger.settling import settle
from pipelines.ledger.worker_records import (
    WorkerRecord,
    newest_processes,
    read_worker_records,
)
from pipelines.run.spending import Spending
from pipelines.storage import Storage

DEAD, UNFINISHED = "dead", "unfinished"
"""A driver that gives no sign of life and has not said why; and one of which nothing is known."""


@dataclass(frozen=True, slots=True)
class Life:
    """Whether a run is alive.

    `status` is RUNNING, DEAD, UNFINISHED, or how the run or its last driver ended. `reason` says
    why, for people. `heartbeat` is the driver's last one, None if there is none, and
    `silent_seconds` the time since, None if unknown.
    """

    status: str
    reason: str = ""
    heartbeat: Heartbeat | None = None
    silent_seconds: float | None = None

    @property
    def alive(self) -> bool:
        """True if the driver works."""
        return self.status == RUNNING


@dataclass(frozen=True, slots=True)
class Totals:
    """Documents and units that are planned so far, and how many of each are committed."""

    documents: int
    documents_done: int
    units: int
    units_done: int


@dataclass(frozen=True, slots=True)
class RunStatus:
    """The status of a run.

    Attributes:
        job: the recorded job.
        life: whether the run is alive.
        sessions: how many drivers have worked on it.
        totals: documents and units.
        account: what was used, in all sessions.
        workers: the records of the processes that are alive.
        wall_seconds: the seconds of all drivers, as far as their heartbeats say.
        limits: the limits that the newest driver keeps or kept.
    """

    job: Mapping[str, Any]
    life: Life
    sessions: int
    totals: Totals
    account: Account
    workers: Sequence[WorkerRecord]
    wall_seconds: float
    limits: Limits

    @property
    def spending(self) -> Spending:
        """What was used of the limits. Dead letters count once they are committed."""
        account = self.account
        return Spending(self.limits, account, self.totals.documents, account.dead_letters)

    @property
    def kv_tokens(self) -> tuple[int, int]:
        """KV cache tokens that are reserved on all engines, and their capacity."""
        return (
            sum(record.kv_tokens_in_flight for record in self.workers),
            sum(record.kv_cache_tokens for record in self.workers),
        )

    @property
    def tokens_per_second_overall(self) -> float:
        """Tokens of committed answers and their prompts, by the seconds of all drivers."""
        tokens = self.account.tokens
        seconds = self.wall_seconds
        return (tokens.prompt_tokens + tokens.output_tokens) / seconds if seconds else 0.0


def read_status(output: str, sleep: Callable[[float], None] = time.sleep) -> RunStatus:
    """Return the status of the run in `output`, a directory or URL.

    If OUTPUT cannot be written, waits for up to three heartbeats to learn whether the driver is
    alive, with `sleep`. Raises OutputError if there is no run, if it has an older layout, or if one
    of its records is damaged; StorageError.
    """
    ledger, job = open_run(output)
    storage = ledger.storage
    sessions = generations(storage)
    generation = max(sessions, default=0)
    life = _life(storage, generation, sleep)
    heartbeat, said = life.heartbeat, read_sessions(storage)
    if life.alive and heartbeat is not None and heartbeat.complete:
        known, totals = heartbeat.known, _totals_of(heartbeat)
    else:
        known, totals, life = _from_ledger(ledger, life, said.known)
    records = read_worker_records(storage)
    if not life.alive:
        records = settle(storage, records)
    live = generation if life.alive else None
    workers = [r for r in records if r.generation == live and not r.ended]
    account = bill(known.sums, records, live)
    newest = newest_processes(workers)
    limits = _limits(job, heartbeat)
    return RunStatus(job, life, len(sessions), totals, account, newest, said.wall_seconds, limits)


def _limits(job: Mapping[str, Any], heartbeat: Heartbeat | None) -> Limits:
    """Return the limits that the newest driver has stated, or those of the recorded job. The record
    has the job file of the first run, whose limits may have been raised since."""
    stated = heartbeat.limits if heartbeat is not None else {}
    try:
        return Limits.model_validate(stated or job["source"].get("limits") or {})
    except ValidationError:
        # another version of phifleet has written keys that this one does not know
        return Limits()


def _life(storage: Storage, generation: int, sleep: Callable[[float], None]) -> Life:
    heartbeat = read_heartbeat(storage, generation)
    if heartbeat is None:
        return Life(UNFINISHED, "the newest driver has no heartbeat")
    if heartbeat.ended:
        return Life(heartbeat.state, heartbeat.reason, heartbeat)
    silent = silent_seconds(storage, heartbeat)
    if silent is None:
        alive = beats_again(storage, heartbeat, sleep)
    else:
        alive = is_recent(silent, heartbeat)
    where = f"process {heartbeat.pid} on {heartbeat.host}"
    if alive:
        return Life(RUNNING, where, read_heartbeat(storage, generation), silent)
    return Life(DEAD, f"{where} gives no sign of life", heartbeat, silent)


def _from_ledger(
    ledger: Ledger, life: Life, known: KnownCommits
) -> tuple[KnownCommits, Totals, Life]:
    """Read the commits that the heartbeats do not have; a run whose units are all committed
    and whose manifest exists is as the manifest says."""
    committed = ledger.committed()
    known = read_known(ledger, known, committed)
    plans = ledger.plans()
    units = [unit for plan in plans for unit in plan.units]
    done = [unit for unit in units if unit.number in committed]
    totals = Totals(
        documents=sum(unit.rows for unit in units),
        documents_done=sum(unit.rows for unit in done),
        units=len(units),
        units_done=len(done),
    )
    finished = len(done) == len(units) and not unfinished_redos(plans, ledger.revisions())
    manifest = ledger.manifest() if finished and not life.alive else None
    if manifest is not None and manifest.get("units") == len(units):
        status = str(manifest.get("status", "done"))
        life = Life(status, "", life.heartbeat, life.silent_seconds)
    return known, totals, life


def _totals_of(heartbeat: Heartbeat) -> Totals:
    return Totals(
        heartbeat.documents, heartbeat.documents_done, heartbeat.units, heartbeat.units_done
    )
