"""The bill of a run that was killed again and again, against a log of every finished request."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from chaos.processes import ENGINES, WORKERS, send, title, tree
from quick import QuickRun, ended

from pipelines.ledger.ledger import Ledger
from pipelines.reporting.status import read_status
from pipelines.storage import Storage

pytestmark = pytest.mark.usefixtures("tiny_model")
DOCUMENTS = 400
_LIMIT_SECONDS = 300


class KilledRun:
    """A run whose processes can be killed, and the log of its engines' finished requests."""

    def __init__(self, directory: Path) -> None:
        self.output = str(directory / "out")
        self.tokens = directory / "tokens"
        self.tokens.mkdir()
        self._run = QuickRun(
            directory, self.output, DOCUMENTS, CHAOS_TOKEN_LOG=str(self.tokens), CHAOS_SECONDS="0.2"
        )
        self.ledger = Ledger(Storage(self.output))

    def start(self) -> subprocess.Popen[str]:
        return self._run.start()

    def await_commits(self, process: subprocess.Popen[str], more: int) -> None:
        """Wait until `more` further units are committed."""
        goal = len(self.ledger.committed()) + more
        self.await_(lambda: len(self.ledger.committed()) >= goal, process)

    def await_(self, condition: Callable[[], bool], process: subprocess.Popen[str] | None) -> None:
        deadline = time.monotonic() + _LIMIT_SECONDS
        while not condition():
            assert process is None or process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def kill_one(self, process: subprocess.Popen[str], pattern: str) -> None:
        matches: list[psutil.Process] = []

        def is_there() -> bool:
            matches[:] = [p for p in tree(process)[1:] if re.search(pattern, title(p))]
            return bool(matches)

        self.await_(is_there, process)
        assert send(matches[:1], signal.SIGKILL)

    def done(self) -> tuple[int, int]:
        """Return the tokens of all finished prompts and of all answers, by the engines' log."""
        lines = [line for file in self.tokens.iterdir() for line in file.read_text().splitlines()]
        counts = [tuple(map(int, line.split())) for line in lines]
        return sum(count[0] for count in counts), sum(count[1] for count in counts)


def test_the_bill_of_a_run_killed_five_times_is_what_was_done_to_the_token(tmp_path: Path) -> None:
    run = KilledRun(tmp_path)
    process = run.start()
    run.await_commits(process, 1)
    run.kill_one(process, WORKERS)
    run.await_commits(process, 1)
    run.kill_one(process, ENGINES)
    run.await_commits(process, 1)
    send(tree(process), signal.SIGKILL)
    process.communicate(timeout=_LIMIT_SECONDS)
    run.await_(lambda: read_status(run.output).life.status == "dead", None)
    dead = read_status(run.output)
    assert dead.account.units == len(run.ledger.committed())
    bill = dead.account.all_tokens
    assert (bill.prompt_tokens, bill.output_tokens) == run.done()
    for stop in (signal.SIGTERM, signal.SIGKILL):
        process = run.start()
        run.await_commits(process, 1)
        process.send_signal(stop)
        process.communicate(timeout=_LIMIT_SECONDS)
    code, result, errors = ended(run.start())
    assert code == 0, errors
    check(run, result)


def check(run: KilledRun, result: dict[str, Any]) -> None:
    """Compare the bill with the log and with the commits."""
    prompts, answers = run.done()
    bill, commits = result["bill"], run.ledger.commits(sorted(run.ledger.committed()))
    assert (bill["prompt_tokens"], bill["output_tokens"]) == (prompts, answers)
    assert result["prompt_tokens"] == sum(commit.prompt_tokens for commit in commits)
    wasted = sum(waste["prompt_tokens"] for waste in bill["waste"].values())
    assert result["prompt_tokens"] + wasted == prompts
    assert wasted > 0
    assert {"worker_died", "engine_died"} <= set(bill["waste"])
    assert bill["engine_restarts"] >= 2
    for life in {commit.used.worker for commit in commits}:
        own = [commit for commit in commits if commit.used.worker == life]
        assert sum(commit.used.starts for commit in own) >= 1
    spans = sum(commit.seconds for commit in commits)
    # both are rounded
    assert 0 < result["steady_seconds"] <= spans + 0.01
    tokens = result["prompt_tokens"] + result["output_tokens"]
    assert result["tokens_per_second"] == pytest.approx(tokens / result["steady_seconds"], rel=0.01)
    assert result["wall_seconds"] >= result["steady_seconds"]
    status = subprocess.run(
        [sys.executable, "-m", "jobs.cli", "status", run.output, "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    shown = json.loads(status.stdout)
    assert (shown["status"], shown["bill"], shown["sessions"]) == ("done", bill, 4)
