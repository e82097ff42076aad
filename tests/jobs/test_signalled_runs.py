"""Runs whose processes, or whose whole process group, get a signal: how the runs end, and that no
process of them remains."""

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
# Seconds until the engines, and until all processes have ended, on a busy machine. An engine that
# starts ends after its import of vLLM; two agents of Ray wait a minute for a GCS that was killed.
ENGINES_END_WITHIN, ALL_END_WITHIN = 60, 120
Run = subprocess.Popen[str]
Moment = Callable[[Run, Path], bool]


def signal_group(run: Run, number: int) -> None:
    """Signal the command and then its group, as GNU timeout does."""
    run.send_signal(number)
    os.killpg(run.pid, number)


def children(run: Run) -> list[psutil.Process]:
    return psutil.Process(run.pid).children(recursive=True)


def ray_starts(run: Run, directory: Path) -> bool:
    return any(child.name() == "gcs_server" for child in children(run))


def ray_has_started(run: Run, directory: Path) -> bool:
    return any("ray::" in title(child) for child in children(run))


def engine_starts(run: Run, directory: Path) -> bool:
    return engines_of(MARK, str(directory)) != []


def has_committed(run: Run, directory: Path) -> bool:
    return commits(directory) != {}


def await_moment(run: Run, moment: Moment, directory: Path) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not moment(run, directory):
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGTERM, has_committed),
        pytest.param(signal.SIGTERM, ray_starts, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, ray_has_started, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, ray_starts, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, has_committed, marks=pytest.mark.slow),
    ],
)
def test_a_signal_to_a_runs_process_group_stops_the_run(
    number: signal.Signals, moment: Moment, tmp_path: Path
) -> None:
    job = QuickRun(tmp_path, str(tmp_path / "out"), documents=60)
    run = job.start(CHAOS_SECONDS="1", **{MARK: str(tmp_path)})
    await_moment(run, moment, tmp_path)
    signal_group(run, number)
    code, result, errors = ended(run)
    assert (code, result["status"]) == (3, "stopped"), errors
    assert f"stopped by {number.name}" in errors
    assert titles_remaining(tmp_path) == []


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Start a run with vLLM's engine; kill what remains of it after the test."""
    (tmp_path / "corpus").mkdir()
    corpus_of(tmp_path / "corpus/a.parquet", range(20), longest=9_000)
    monkeypatch.setenv(MARK, str(tmp_path))
    process = start(job_file(tmp_path), tmp_path / "stderr")
    yield process
    process.kill()
    process.communicate()
    for engine in engines_of(MARK, str(tmp_path)):
        engine.kill()


def titles_remaining(directory: Path) -> list[str]:
    """Return the titles of the run's processes that do not end in time, engines first."""
    remaining = none_after(ENGINES_END_WITHIN, lambda: engines_of(MARK, str(directory)))
    remaining = remaining or none_after(ALL_END_WITHIN, lambda: marked(MARK, str(directory)))
    return [title(process) for process in remaining]


def test_a_run_killed_with_its_process_group_leaves_no_engine(run: Run, tmp_path: Path) -> None:
    await_moment(run, has_committed, tmp_path)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert none_after(ENGINES_END_WITHIN, lambda: engines_of(MARK, str(tmp_path))) == []


def kill_driver(run: Run) -> None:
    run.kill()


def kill_group(run: Run) -> None:
    os.killpg(run.pid, signal.SIGKILL)


def kill_worker(run: Run) -> None:
    for child in children(run):
        if title(child).startswith("ray::MapWorker"):
            child.kill()


def kill_raylet(run: Run) -> None:
    for child in children(run):
        if child.name() == "raylet":
            child.kill()


def kill_raylet_and_worker(run: Run) -> None:
    """Kill both at once, so that neither has time to end the engine."""
    for child in children(run):
        if child.name() == "raylet" or title(child).startswith("ray::MapWorker"):
            child.kill()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kill", "moment"),
    list(
        product(
            [kill_driver, kill_group, kill_raylet, kill_raylet_and_worker],
            [engine_starts, has_committed],
        )
    ),
)
def test_after_a_kill_no_process_of_a_run_remains(
    kill: Callable[[Run], None], moment: Moment, run: Run, tmp_path: Path
) -> None:
    await_moment(run, moment, tmp_path)
    kill(run)
    # a run whose Ray died ends by itself
    run.wait(LIMIT_SECONDS)
    assert titles_remaining(tmp_path) == []


@pytest.mark.slow
def test_the_engine_of_a_killed_worker_ends_and_another_one_starts(
    run: Run, tmp_path: Path
) -> None:
    await_moment(run, has_committed, tmp_path)
    engines = engines_of(MARK, str(tmp_path))
    kill_worker(run)
    assert none_after(ENGINES_END_WITHIN, lambda: [e for e in engines if e.is_running()]) == []
    await_moment(run, engine_starts, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("moment", [engine_starts, has_committed])
def test_a_run_whose_process_group_is_stopped_leaves_no_process(
    number: signal.Signals, moment: Moment, run: Run, tmp_path: Path
) -> None:
    await_moment(run, moment, tmp_path)
    signal_group(run, number)
    output, _ = run.communicate(timeout=LIMIT_SECONDS)
    assert run.returncode == 3, (tmp_path / "stderr").read_text()
    assert json.loads(output) == {"run": "tested", "status": "stopped"}
    assert titles_remaining(tmp_path) == []
