"""A signal stops what waits for Ray, whenever it comes, and leaves nothing locked or behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
import ray
from rich.console import Console

from jobs import run
from pipelines.run.batch import BatchRun
from pipelines.run.cluster import join_cluster, leave_cluster
from pipelines.run.screen import Screen
from pipelines.run.signals import STOPPING, StopRequests


@pytest.mark.filterwarnings("ignore")  # Ray's own, of files that it leaves open
def test_joining_leaves_the_handlers_of_signals_as_they_are() -> None:
    before = signal.getsignal(signal.SIGTERM)
    join_cluster()
    leave_cluster()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_is_ours_alone_once_ray_is_joined() -> None:
    # Ray's own handler would abort the process after three seconds
    program = """
import signal, time
from pipelines.cluster import join_cluster, leave_cluster
from pipelines.signals import StopRequests
StopRequests().handle(lambda number: print(number.name, flush=True))
join_cluster()
signal.raise_signal(signal.SIGTERM)
time.sleep(5)
leave_cluster()
print("left", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["SIGTERM", "left"], done.stderr[-3000:]
    assert done.returncode == 0


def test_a_signal_amid_rays_start_comes_when_ray_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []

    def init(**_: object) -> None:
        # as Ray starts its processes
        subprocess.run(
            [sys.executable, "-c", f"import os; os.kill({os.getpid()}, {signal.SIGTERM:d})"],
            preexec_fn=lambda: None,
        )
        ended.append("started")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(run.Stopped, match="SIGTERM"), run._signals_stop():
        join_cluster()
    assert ended == ["started"]


def test_a_signal_between_rays_start_and_the_claim_of_output_stops_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited = threading.Event()

    def join() -> None:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()

    def prepare() -> BatchRun:
        waited.wait(30)
        raise AssertionError("the signal was not heeded")

    monkeypatch.setattr(run, "join_cluster", join)
    nothing: Any = None
    said = StringIO()
    try:
        with pytest.raises(run.Stopped, match="SIGTERM"), run._signals_stop():
            screen = Screen(Console(file=said), sys.stdout)
            run._run(nothing, prepare, screen, nothing, lambda reason: None)
    finally:
        waited.set()
    assert "stopped by SIGTERM" in said.getvalue()


@pytest.fixture
def handlers() -> Iterator[None]:
    """Puts the handlers back that were there before the test."""
    before = [(each, signal.getsignal(each)) for each in STOPPING]
    yield
    for each, handler in before:
        signal.signal(each, handler)


@pytest.mark.usefixtures("handlers")
def test_signals_within_a_second_are_one_request_to_stop() -> None:
    now = 0.0
    heard: list[str] = []
    requests = StopRequests(clock=lambda: now)
    requests.handle(lambda number: heard.append(f"first {number.name}"))
    signal.raise_signal(signal.SIGTERM)
    requests.handle(lambda number: heard.append(f"second {number.name}"))
    for now in (0.0, 0.9, 1.1):  # noqa: B007  # the clock's
        signal.raise_signal(signal.SIGINT)
    assert heard == ["first SIGTERM", "second SIGINT"]


def test_a_second_request_to_stop_ends_the_process_at_once() -> None:
    program = """
import signal, time
from jobs.run import Stopped, _signals_stop
with _signals_stop():
    try:
        signal.raise_signal(signal.SIGTERM)
    except Stopped:
        signal.raise_signal(signal.SIGTERM)
        print("goes on", flush=True)
        time.sleep(1.1)
        signal.raise_signal(signal.SIGTERM)
        print("never", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "goes on\n")
