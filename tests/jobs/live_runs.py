"""Views of runs that never ran: a large one on H100s in its second session, for tests of what is
shown."""

from __future__ import annotations

from collections import Counter
from typing import Any

from pipelines.corpus.units import Unit
from pipelines.documents import Usage
from pipelines.job.resources import Limits
from pipelines.ledger.accounts import Account, CommitSums, DeviceTime
from pipelines.ledger.heartbeat import KnownCommits, Sessions
from pipelines.ledger.used import ENGINE_DIED, IDLE, WORKER_DIED, Used, Waste
from pipelines.ledger.worker_records import UnitInHand, WorkerRecord
from pipelines.run.books import Books
from pipelines.run.limits import run_limits
from pipelines.run.overview import Overview
from pipelines.run.pace import Sample
from pipelines.run.progress import Progress, UnitProgress, total
from pipelines.run.state import RunState

HOST = "ip-10-0-12-114.eu-central-1.compute.internal"
_ROWS, _TOKENS = 100, 1_500_000


def large_run(view: type[Overview], workers: int = 20, **limits: Any) -> Overview:
    """Return a view of a run of a million documents with `workers` engines and the job's limits."""
    state = RunState(
        phase="reading", generation=2, books=_books(),
        limits=run_limits(Limits.model_validate(limits), "H100", 1.0),
    )  # fmt: skip
    units = [
        Unit(number, "short", "file", 0, _ROWS, _TOKENS, 100, 30.0, "ids")
        for number in range(10_000)
    ]
    state.plan(units, range(4_096))
    shown = view("filings-digest", state, total(map(_worker, range(workers))))
    shown.started, shown.clock = 0.0, lambda: 3_725.0
    for seconds in range(61):
        # one of two seconds is slower: the estimate has an interval
        work = 6.1e9 + 4_000_000 * seconds - 9_000_000 * (seconds // 8 % 2)
        shown.pace.note(Sample(float(seconds), work, 391_022 * seconds))
    return shown


def _books() -> Books:
    """Return the sums over the commits of two sessions, on H100s."""
    used = Used(
        engine_seconds=113_040.0, start_seconds=4_400.0, restarts=3, steps=29_000_000,
        waste={
            ENGINE_DIED: Waste(611.0), WORKER_DIED: Waste(904.0), IDLE: Waste(633.0),
        },
        commit_seconds=1_130.0,
    )  # fmt: skip
    tokens = Usage(5_410_338_120, 3_408_513_015, 48_112_906, 29_348_872, 31_000_000)
    committed = Account(
        units=4_096, answered=408_396, dead_letters=1_204,
        reasons={"empty": 1_203, "engine_crash": 1},
        tokens=tokens, used=used, devices={"H100": DeviceTime(113_040.0, 113_040.0)},
    )  # fmt: skip
    return Books(
        earlier=committed,
        sessions=Sessions(wall_seconds=10_740.0),
        complete=True,
        _known=KnownCommits(sums=CommitSums(committed)),
    )


def _worker(number: int) -> Progress:
    """Return what a worker has reported that has two units in hand."""
    life, unit = f"{0x5BE1C0AA + 0x1F3 * number:016x}"[-8:] + "00000000", 4_100 + 2 * number
    in_hand = (
        UnitInHand(unit, _ROWS, 71 - number, 90.0 - number, 1 + (number == 0), "10-K-2021", 58.0),
        UnitInHand(unit + 1, _ROWS, 12, 20.0),
    )
    record = WorkerRecord(
        life, f"worker-{number}", 2, "long" if number == 3 else "short", HOST,
        used=Used(life, "H100", 1.0, 4.0, 25.0), tokens=Usage(1_000_000, 600_000, 9_000, 5_400),
        in_hand=in_hand, kv_tokens_in_flight=1_203_112 - 40_000 * number, kv_cache_tokens=1_400_000,
    )  # fmt: skip
    progress = Progress(
        {one.unit: UnitProgress(one.documents, answered=one.finished) for one in in_hand}, workers=1
    )
    progress.note_engine(record.tokens, (record.kv_tokens_in_flight, record.kv_cache_tokens), 0)
    progress.note_record(record)
    if number == 0:
        progress.units[unit].reasons = Counter(too_long=1)
        progress.units[unit].dead_letters = 1
    return progress
