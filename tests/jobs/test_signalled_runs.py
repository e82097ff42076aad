"""Runs whose processes, or whose whole process group, get a signal: how they end, and that nothing
of them is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import psutil
import pytest
from leftovers import engines_of, marked, none_after, title
from quick import QuickRun, ended
from runs import LIMIT_SECONDS, commits, corpus_of, job_file, start

pytestmark = pytest.mark.usefixtures("tiny_model")

MARK = "STARTED_BY"
# On a busy machine; else moments, after an engine's import of vLLM where it was just starting. Two
# agents of Ray's wait a minute for a GCS that was killed, before they end.
ENDS_WITHIN, ALL_END_WITHIN = 60, 120
Run = subprocess.Popen[str]
Moment = Callable[[Run, Path], bool]


def signal_group(run: Run, number: int) -> None:
    """As GNU timeout does it: the command, then its group."""
    run.send_signal(number)
    os.killpg(run.pid, number)


def children(run: Run) -> list[psutil.Process]:
    return psutil.Process(run.pid).children(recursive=True)


def ray_starts(run: Run, directory: Path) -> bool:
    return any(each.name() == "gcs_server" for each in children(run))


def ray_is_there(run: Run, directory: Path) -> bool:
    return any("ray::" in title(each) for each in children(run))


def engine_starts(run: Run, directory: Path) -> bool:
    return engines_of(MARK, str(directory)) != []


def at_work(run: Run, directory: Path) -> bool:
    return commits(directory) != {}


def await_moment(run: Run, moment: Moment, directory: Path) -> None:
    until = time.monotonic() + LIMIT_SECONDS
    while not moment(run, directory):
        assert run.poll() is None and time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGTERM, at_work),
        pytest.param(signal.SIGTERM, ray_starts, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, ray_is_there, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, ray_starts, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, at_work, marks=pytest.mark.slow),
    ],
)
def test_a_signal_to_a_runs_group_stops_it_as_one_to_the_run(
    number: signal.Signals, moment: Moment, tmp_path: Path
) -> None:
    job = QuickRun(tmp_path, str(tmp_path / "out"), documents=60)
    run = job.start(CHAOS_SECONDS="1", **{MARK: str(tmp_path)})
    await_moment(run, moment, tmp_path)
    signal_group(run, number)
    code, told, errors = ended(run)
    assert (code, told["status"]) == (3, "stopped"), errors
    assert f"stopped by {number.name}" in errors
    assert left_of(tmp_path) == []


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A run over vLLM's engine."""
    (tmp_path / "corpus").mkdir()
    corpus_of(tmp_path / "corpus/a.parquet", range(20), longest=9_000)
    monkeypatch.setenv(MARK, str(tmp_path))
    process = start(job_file(tmp_path), tmp_path / "stderr")
    yield process
    process.kill()
    process.communicate()
    for each in engines_of(MARK, str(tmp_path)):
        each.kill()


def left_of(directory: Path) -> list[str]:
    """The titles of what is left."""
    left = none_after(ENDS_WITHIN, lambda: engines_of(MARK, str(directory)))
    left = left or none_after(ALL_END_WITHIN, lambda: marked(MARK, str(directory)))
    return [title(each) for each in left]


def test_a_run_that_is_killed_with_its_group_leaves_no_engine(run: Run, tmp_path: Path) -> None:
    await_moment(run, at_work, tmp_path)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert none_after(ENDS_WITHIN, lambda: engines_of(MARK, str(tmp_path))) == []


def driver(run: Run) -> None:
    run.kill()


def group(run: Run) -> None:
    os.killpg(run.pid, signal.SIGKILL)


def worker(run: Run) -> None:
    for each in children(run):
        if title(each).startswith("ray::MapWorker"):
            each.kill()


def raylet(run: Run) -> None:
    for each in children(run):
        if each.name() == "raylet":
            each.kill()


def raylet_and_worker(run: Run) -> None:
    """None of them has time to end the engine."""
    for each in children(run):
        if each.name() == "raylet" or title(each).startswith("ray::MapWorker"):
            each.kill()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hit", "moment"),
    list(product([driver, group, raylet, raylet_and_worker], [engine_starts, at_work])),
)
def test_whatever_is_killed_no_process_of_a_run_is_left(
    hit: Callable[[Run], None], moment: Moment, run: Run, tmp_path: Path
) -> None:
    await_moment(run, moment, tmp_path)
    hit(run)
    # without its Ray it ends by itself
    run.wait(LIMIT_SECONDS)
    assert left_of(tmp_path) == []


@pytest.mark.slow
def test_the_engine_of_a_worker_that_is_killed_ends_and_another_starts(
    run: Run, tmp_path: Path
) -> None:
    await_moment(run, at_work, tmp_path)
    before = engines_of(MARK, str(tmp_path))
    worker(run)
    assert none_after(ENDS_WITHIN, lambda: [each for each in before if each.is_running()]) == []
    await_moment(run, engine_starts, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda each: each.name)
@pytest.mark.parametrize("moment", [engine_starts, at_work])
def test_a_run_whose_group_is_stopped_leaves_no_process(
    number: signal.Signals, moment: Moment, run: Run, tmp_path: Path
) -> None:
    await_moment(run, moment, tmp_path)
    signal_group(run, number)
    output, _ = run.communicate(timeout=LIMIT_SECONDS)
    assert run.returncode == 3, (tmp_path / "stderr").read_text()
    assert json.loads(output) == {"run": "tested", "status": "stopped"}
    assert left_of(tmp_path) == []
