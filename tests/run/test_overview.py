"""What a driver states of its run while it lasts: the same sums as the bill of the ledger."""

from __future__ import annotations

from dataclasses import replace

from pipelines.documents import Usage
from pipelines.ledger.accounts import bill, sum_commits, uncommitted
from pipelines.ledger.heartbeat import KnownCommits
from pipelines.ledger.records import Commit
from pipelines.ledger.used import IDLE, WORKER_DIED, Used, Waste
from pipelines.ledger.worker_records import UnitInHand, WorkerRecord
from pipelines.run.books import Books
from pipelines.run.overview import Overview
from pipelines.run.progress import Progress
from pipelines.run.state import RunState


def commit(unit: int, life: str, seconds: float) -> Commit:
    used = Used(life, "H100", 1.0, 4.0, engine_seconds=seconds, start_seconds=2.0)
    return Commit(
        unit=unit, plan="p", ids="i", rows=10, answered=9, dead_letters=1, reasons={"empty": 1},
        part=None, errors=None, prompt_tokens=900, cached_prompt_tokens=300, output_tokens=10,
        seconds=1.0, host="h", committed_at="2026-01-01T00:00:00+00:00", used=used,
    )  # fmt: skip


def record(life: str, worker: str, generation: int, seconds: float) -> WorkerRecord:
    used = Used(life, "H100", 1.0, 4.0, seconds, 2.0, waste={IDLE: Waste(1.0)})
    return WorkerRecord(
        life, worker, generation, "short", "h", used=used, tokens=Usage(2_000, 600, 20)
    )


EARLIER = [record("e1", "e", 1, 30.0)]
# a worker whose process died and was replaced, and one with a unit in hand
SESSION = [
    record("a1", "a", 2, 20.0),
    record("a2", "a", 2, 25.0),
    replace(record("b1", "b", 2, 50.0), in_hand=(UnitInHand(5, 10, 3, 4.0),)),
]
SUMS = sum_commits([commit(0, "e1", 12.0), commit(1, "a1", 11.0), commit(2, "b1", 30.0)])


def overview() -> Overview:
    beyond = uncommitted(sum_commits([commit(0, "e1", 12.0)]), EARLIER)
    books = Books(uncommitted=beyond, complete=True, _known=KnownCommits(sums=SUMS))
    progress = Progress(workers=2, records={each.life: each for each in SESSION})
    return Overview("job", RunState(generation=2, books=books), progress)


def test_the_account_of_a_driver_is_the_bill_that_the_ledger_gives() -> None:
    account = overview().account
    assert account.to_json() == bill(SUMS, [*EARLIER, *SESSION], live=2).to_json()
    assert account.used.waste[WORKER_DIED].seconds > 0
    assert account.in_hand.seconds > 0


def test_the_workers_are_the_last_process_of_each_with_the_oldest_unit_first() -> None:
    assert [worker.life for worker in overview().workers] == ["b1", "a2"]
