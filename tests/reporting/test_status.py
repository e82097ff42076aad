"""The status of a run, on a disk and on an S3 server: alive, dead, stopped or done."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from here import ONE_MACHINE, InProcessRun, in_process_run

from jobs.status import print_status, status_text, status_to_json
from pipelines.documents import Usage
from pipelines.ledger.heartbeat import (
    FAILED,
    STOPPED,
    Heartbeat,
    KnownCommits,
    beats_again,
    read_known,
    read_sessions,
    write_heartbeat,
)
from pipelines.ledger.used import WORKER_DIED, Used, Waste
from pipelines.ledger.worker_records import UnitInHand, WorkerRecord, write_worker_record
from pipelines.models.resolve import Model
from pipelines.reporting.status import RunStatus, read_status
from pipelines.run.beating import Beating
from pipelines.storage import Storage

DOCUMENTS = 6


@pytest.fixture(params=["local", "s3"])
def run(request: pytest.FixtureRequest, tmp_path: Path, tiny_model: Model) -> InProcessRun:
    """A finished run of six documents in six units, of which one is a dead letter."""
    output = str(tmp_path / "out")
    if request.param == "s3":
        output = f"{request.getfixturevalue('s3').new_bucket()}/out"
    rows = {"doc": [f"d{number}" for number in range(DOCUMENTS)], "text": ["Words."] * 5 + [" "]}
    pq.write_table(pa.table(rows), tmp_path / "corpus.parquet")
    run = in_process_run(tmp_path, tmp_path / "corpus.parquet", output)
    run()
    return run


def heartbeat(run: InProcessRun, **fields: object) -> Heartbeat:
    """Return a heartbeat of the newest driver that knows all commits."""
    ledger = run.ledger
    known = read_known(ledger, KnownCommits(), ledger.committed())
    values = {"documents": 6, "documents_done": 6, "units": 6, "units_done": 6, **fields}
    return Heartbeat(1, host="here", pid=7, complete=True, known=known, **values)  # type: ignore[arg-type]


def status_of(run: InProcessRun) -> RunStatus:
    return read_status(run.storage.url)


def undone(run: InProcessRun) -> None:
    """Make the run unfinished: remove the manifest and the commits of two units."""
    run.storage.remove("manifest.json")
    for unit in (0, 1):
        run.storage.remove(f"_run/commits/{unit:06d}.json")


def test_a_finished_run_is_done_and_its_numbers_are_those_of_the_manifest(
    run: InProcessRun,
) -> None:
    manifest = run.ledger.manifest()
    values = status_to_json(status_of(run))
    assert manifest is not None
    assert values["status"] == "done"
    for name in ("documents", "answered", "dead_letters", "units", "prompt_tokens", "bill"):
        assert values[name] == manifest[name]
    assert values["dead_letter_reasons"] == {"empty": 1}


def test_a_run_with_a_recent_heartbeat_is_running_and_no_commit_is_read(run: InProcessRun) -> None:
    beat = heartbeat(run, phase="reading", units=9, documents=9, eta_seconds=60.0, eta_low=50.0)
    write_heartbeat(run.storage, replace(beat, tokens_per_second=123.0, eta_high=70.0))
    write_worker_record(
        run.storage,
        WorkerRecord(
            "ab12", "w", 1, "short", "node", used=Used("ab12", engine_seconds=30.0),
            tokens=Usage(40), in_hand=(UnitInHand(7, 20, 5, 12.0, 2),),
        ),
    )  # fmt: skip
    run.storage.remove("_run/commits")
    status = status_of(run)
    values = status_to_json(status)
    assert (values["status"], values["phase"], values["units"]) == ("running", "reading", 9)
    assert (values["answered"], values["dead_letters"]) == (5, 1)
    assert values["eta_seconds"] == [50.0, 60.0, 70.0]
    assert status.account.in_hand == Waste(30.0, Usage(40))
    text = status_text(status)
    assert "running, reading (process 7 on here, last seen" in text
    assert "123 now" in text and "0:01:00 (0:00:50 to 0:01:10)" in text
    assert "unit 7 (5/20 documents, 12 s, attempt 2)" in text


def test_a_run_without_a_recent_heartbeat_is_dead_and_its_workers_time_is_waste(
    run: InProcessRun,
) -> None:
    undone(run)
    write_heartbeat(run.storage, heartbeat(run, interval_seconds=0.5, eta_seconds=9.0))
    used = Used("ab12", "H100", 2.0, 1.0, 30.0)
    write_worker_record(run.storage, WorkerRecord("ab12", "w", 1, "short", "n", used=used))
    time.sleep(3)
    status = status_of(run)
    assert status.life.status == "dead" and (status.life.silent_seconds or 0) >= 1.5
    assert status.account.used.waste[WORKER_DIED] == Waste(30.0)
    assert status.account.gpu_seconds == 60
    values = status_to_json(status)
    assert (values["units_done"], values["documents_done"], values["eta_seconds"]) == (4, 4, None)
    assert "dead (process 7 on here gives no sign of life, last seen" in status_text(status)


def test_commits_after_the_last_heartbeat_of_a_dead_run_are_counted(run: InProcessRun) -> None:
    whole = heartbeat(run, interval_seconds=0.3)
    known = read_known(run.ledger, KnownCommits(), {1, 4})
    write_heartbeat(run.storage, replace(whole, known=known, documents_done=2, units_done=2))
    run.storage.remove("manifest.json")
    time.sleep(2)
    status = status_of(run)
    assert status.account.units == status.totals.units_done == 6
    # in another order of adding, floats differ in their last bits
    assert status.account.to_json() == whole.known.sums.account.to_json()


def test_the_limits_are_those_of_the_newest_driver_or_else_of_the_recorded_job(
    run: InProcessRun,
) -> None:
    undone(run)
    assert status_of(run).limits.max_dead_letter_fraction == 1.0
    limits = {"max_gpu_hours": 2.0, "max_dead_letter_fraction": 0.5}
    write_heartbeat(run.storage, heartbeat(run, state=STOPPED, limits=limits))
    values = status_to_json(status_of(run))["limits"]
    assert values["max_gpu_hours"]["left"] == pytest.approx(2.0, abs=0.1)
    assert values["max_dead_letter_fraction"] == {
        "limit": 0.5, "unit": "documents", "used": 1.0, "left": 2.0,
    }  # fmt: skip
    # of another version, whose keys are not known here
    write_heartbeat(run.storage, heartbeat(run, state=STOPPED, limits={"max_watts": 9}))
    assert status_of(run).limits.max_gpu_hours is None


@pytest.mark.parametrize("state", [STOPPED, FAILED])
def test_a_run_that_said_why_it_ended_is_that_at_once(run: InProcessRun, state: str) -> None:
    undone(run)
    write_heartbeat(run.storage, heartbeat(run, state=state, reason="SIGTERM"))
    life = status_of(run).life
    assert (life.status, life.reason, life.silent_seconds) == (state, "SIGTERM", None)


def test_sums_are_read_again_if_units_were_revised_since(run: InProcessRun) -> None:
    committed = run.ledger.committed()
    known = read_known(run.ledger, KnownCommits(), committed)
    (commit,) = run.ledger.commits([0])
    assert run.ledger.revise(replace(commit, revision=1, rows=0, answered=0))
    revised = read_known(run.ledger, known, committed)
    assert revised.sums.account.answered == known.sums.account.answered - 1


def test_without_permission_to_write_the_next_heartbeat_shows_that_a_run_lives(
    run: InProcessRun,
) -> None:
    beat = heartbeat(run)
    write_heartbeat(run.storage, beat)
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            write_heartbeat(run.storage, replace(beat, sequence=1))

    assert beats_again(run.storage, beat, sleep)
    assert len(waited) == 2
    waited.clear()
    assert not beats_again(run.storage, replace(beat, sequence=1), waited.append)
    assert sum(waited) == 45


def test_the_sums_of_a_driver_that_did_not_know_all_are_not_used_but_its_seconds_are(
    run: InProcessRun,
) -> None:
    undone(run)
    run.claim(ONE_MACHINE)
    write_heartbeat(run.storage, heartbeat(run, wall_seconds=70.0, earlier_wall_seconds=30.0))
    write_heartbeat(run.storage, Heartbeat(2, state=STOPPED, wall_seconds=5.0))
    status = status_of(run)
    assert status.wall_seconds == 105
    assert (status.account.units, status.sessions) == (4, 2)
    assert read_sessions(run.storage, before=2).wall_seconds == 100


def test_a_run_of_which_no_driver_has_a_heartbeat_is_unfinished(run: InProcessRun) -> None:
    undone(run)
    assert status_of(run).life.status == "unfinished"


def test_a_driver_writes_heartbeats_until_its_last_one(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    beating = Beating(storage, lambda: Heartbeat(1, phase="reading"), interval_seconds=0.02)
    beating.start()
    path = tmp_path / "_run/lease/heartbeat-000001.json"
    deadline = time.monotonic() + 30
    while json.loads(path.read_text())["sequence"] < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    beating.end("stopped", "SIGINT")
    beating.end("failed", "later")
    time.sleep(0.1)
    last = json.loads(path.read_text())
    assert (last["state"], last["reason"], last["pid"] > 0) == ("stopped", "SIGINT", True)


def test_watch_prints_until_the_run_is_not_alive(run: InProcessRun) -> None:
    write_heartbeat(run.storage, heartbeat(run))
    printed = io.StringIO()

    def sleep(seconds: float) -> None:
        write_heartbeat(run.storage, heartbeat(run, state="done"))

    print_status(run.storage.url, printed, as_json=True, watch=True, sleep=sleep)
    assert [json.loads(line)["status"] for line in printed.getvalue().splitlines()] == [
        "running",
        "done",
    ]


def test_the_next_driver_does_not_take_a_heartbeat_for_a_lease(run: InProcessRun) -> None:
    write_heartbeat(run.storage, heartbeat(run))
    assert run.claim(ONE_MACHINE).lease.generation == 2
