"""The sums that a driver knows: those of earlier sessions, and each further commit once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from here import ONE_MACHINE, InProcessRun, in_process_run

from pipelines.documents import Usage
from pipelines.ledger.heartbeat import Heartbeat, write_heartbeat
from pipelines.ledger.used import WORKER_DIED, Used, Waste
from pipelines.ledger.worker_records import WorkerRecord, read_worker_records, write_worker_record
from pipelines.models.resolve import Model
from pipelines.run.books import Books, close_books

RECORD = WorkerRecord("ab12", "w", 1, "short", "n", used=Used("ab12", "H100", 1.0, 1.0, 30.0))


class Killed(BaseException):
    """Ends a run as a signal would that cannot be handled."""


@pytest.fixture
def killed(tmp_path: Path, tiny_model: Model) -> InProcessRun:
    """A run that was killed before the commit of its fourth unit."""
    texts = ["Words.", " ", "Words.", "Words.", "Words.", "Words."]
    rows = {"doc": [f"d{number}" for number in range(6)], "text": texts}
    pq.write_table(pa.table(rows), tmp_path / "corpus.parquet")

    def on_change(change: str) -> None:
        if change.startswith("create _run/commits/") and len(run.ledger.committed()) == 3:
            raise Killed

    run = in_process_run(tmp_path, tmp_path / "corpus.parquet", tmp_path / "out")
    with pytest.raises(Killed):
        run.observed_by(on_change)()
    return in_process_run(tmp_path, tmp_path / "corpus.parquet", tmp_path / "out")


def test_a_resumed_run_begins_with_the_sums_of_earlier_sessions(killed: InProcessRun) -> None:
    write_worker_record(killed.storage, replace(RECORD, tokens=Usage(40, 0, 3)))
    write_heartbeat(killed.storage, Heartbeat(1, wall_seconds=50.0, index_seconds=8.0))
    books = Books()
    books.open(killed.ledger, 2)
    commits = killed.ledger.commits(sorted(killed.ledger.committed()))
    assert books.complete and books.committed.units == 3
    assert books.committed.answered == sum(commit.answered for commit in commits)
    assert books.earlier.used.waste[WORKER_DIED] == Waste(30.0, Usage(40, 0, 3))
    assert books.earlier.all_tokens.prompt_tokens == 40 + books.committed.tokens.prompt_tokens
    assert (books.sessions.wall_seconds, books.sessions.index_seconds) == (50, 8)


def test_each_commit_is_counted_once_before_and_after_the_sums_are_read(
    killed: InProcessRun,
) -> None:
    commits = killed.ledger.commits(sorted(killed.ledger.committed()))
    later = replace(commits[0], unit=100)
    books = Books()
    for commit in (commits[0], later, later):
        books.add(commit)
    books.open(killed.ledger, 2)
    books.add(commits[1])
    assert books.committed.units == 4


def test_the_account_of_the_whole_run_is_that_of_its_commits_and_merged_records(
    killed: InProcessRun,
) -> None:
    write_worker_record(killed.storage, RECORD)
    write_heartbeat(killed.storage, Heartbeat(1, state="stopped", reason="SIGTERM"))
    manifest = killed()
    assert manifest["status"] == "done"
    commits = killed.ledger.commits(sorted(killed.ledger.committed()))
    assert manifest["bill"]["prompt_tokens"] == sum(commit.prompt_tokens for commit in commits)
    assert manifest["bill"]["waste"]["stopped"]["seconds"] == 30
    assert manifest["bill"]["gpu_seconds"] == 30
    (record,) = read_worker_records(killed.storage)
    assert record.ended == "stopped"
    account = close_books(killed.ledger, 2, commits)
    assert account.used.waste["stopped"] == Waste(30.0)


def test_a_resumed_run_shows_dead_letters_of_earlier_sessions(killed: InProcessRun) -> None:
    claim = killed.claim(ONE_MACHINE)
    killed.execute(ONE_MACHINE, claim)
    assert killed.state.books.committed.reasons == {"empty": 1}
