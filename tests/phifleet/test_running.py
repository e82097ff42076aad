"""Runs within a program, which goes on afterwards: real Ray, fast fake engines."""

from __future__ import annotations

import json
import signal
import sys
import threading
from io import StringIO
from pathlib import Path

import pytest
from programs import job_in, run_program

import phifleet
from phifleet.host import open_screen, stop_in_main_thread
from phifleet.running import raise_stop

INTERRUPTED = """
before = state()
when_committed("out", lambda: os.kill(os.getpid(), signal.SIGINT))
try:
    phifleet.run("job.yaml", unit_seconds=1)
except KeyboardInterrupt as stop:
    print("interrupted:", stop)
assert state() == before, state()
assert phifleet.status("job.yaml").status == "stopped"

async def main():
    # as in a notebook, whose kernel has a running event loop
    return phifleet.run("job.yaml", unit_seconds=1)

result = asyncio.run(main())
assert state() == before, state()
print(json.dumps([result.status, result.documents, phifleet.verify("out").complete]))
"""
OWN_RAY = """
import ray
from ray.data import DataContext
ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
bars = DataContext.get_current().enable_progress_bars
results = []
def work():
    results.append(phifleet.run("job.yaml", progress=False))
thread = threading.Thread(target=work)
thread.start()
time.sleep(1)
try:
    phifleet.run("job.yaml")
except phifleet.ClusterError as error:
    print(error)
thread.join()
assert ray.is_initialized() and DataContext.get_current().enable_progress_bars == bars
print(results[0].status)
"""
RAY_DIES = """
import psutil
def kill_raylet():
    for child in psutil.Process().children(recursive=True):
        if child.name() == "raylet":
            child.kill()
before = state()
when_committed("out", kill_raylet)
try:
    phifleet.run("job.yaml", unit_seconds=1)
except phifleet.ClusterError as error:
    print(error)
assert state() == before, state()
print(phifleet.run("job.yaml", unit_seconds=1).status)
"""

pytestmark = pytest.mark.usefixtures("tiny_model")


def test_an_interrupt_stops_a_run_and_the_process_can_resume_it(tmp_path: Path) -> None:
    job_in(tmp_path)
    done = run_program(INTERRUPTED, tmp_path)
    assert done.returncode == 0, done.stderr
    first, last = done.stdout.splitlines()
    assert first.startswith("interrupted: the run was stopped by SIGINT")
    assert json.loads(last) == ["done", 60, True]
    assert "stopped by SIGINT. Committed work is kept" in done.stderr
    assert "pid=" not in done.stderr and "EngineCore" not in done.stderr


@pytest.mark.slow
def test_a_run_in_a_thread_uses_the_programs_own_ray_and_leaves_it(tmp_path: Path) -> None:
    job_in(tmp_path)
    done = run_program(OWN_RAY, tmp_path)
    assert done.returncode == 0, done.stderr
    first, last = done.stdout.splitlines()
    assert "another thread of this process runs a job" in first
    assert last == "done"


@pytest.mark.slow
def test_if_ray_dies_the_run_raises_and_the_process_can_run_it_again(tmp_path: Path) -> None:
    job_in(tmp_path)
    done = run_program(RAY_DIES, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Ray's process raylet on this machine died" in done.stdout
    assert done.stdout.splitlines()[-1] == "done"


def test_a_wrong_job_raises_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(phifleet.SpecError, match="no-such-job"):
        phifleet.run(tmp_path / "no-such-job.yaml")


def test_a_stop_raises_keyboard_interrupt_and_runs_the_handler_of_sigterm() -> None:
    with pytest.raises(KeyboardInterrupt, match="SIGINT; the same call resumes"):
        raise_stop("SIGINT")
    calls: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: calls.append(number))
    try:
        with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
            raise_stop("SIGTERM")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert calls == [signal.SIGTERM]


def test_in_another_thread_no_handler_is_set() -> None:
    before = signal.getsignal(signal.SIGINT)
    inside: list[object] = []

    def work() -> None:
        with stop_in_main_thread():
            inside.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [before]


@pytest.mark.parametrize("progress", [True, False])
def test_a_replaced_stream_gets_our_words_and_the_log_what_others_print(
    progress: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = StringIO(), StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with open_screen(tmp_path / "log", progress=progress) as screen:
        print("noise")
        print("more noise", file=sys.stderr)
        screen.console.print("our words")
    assert sys.stdout is out and sys.stderr is err
    print("afterwards")
    assert (out.getvalue(), err.getvalue()) == ("afterwards\n", "our words\n" * progress)
    log = (tmp_path / "log").read_text()
    assert "noise\n" in log and "more noise\n" in log
    assert ("our words" in log) is not progress
