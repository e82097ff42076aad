"""Signals before, during and after Ray's start, and how several are one request to stop."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import ray

from jobs.control import Stopped, stop_on_signals
from pipelines.run.cluster import join_cluster, leave_cluster
from pipelines.run.signals import STOPPING, StopRequests


@pytest.mark.filterwarnings("ignore")  # Ray leaves files open
def test_joining_the_cluster_keeps_the_handlers_of_signals() -> None:
    before = signal.getsignal(signal.SIGTERM)
    join_cluster()
    leave_cluster()
    assert signal.getsignal(signal.SIGTERM) is before


def test_rays_handler_of_sigterm_does_not_run_after_joining() -> None:
    # Ray's handler would abort the process after three seconds
    program = """
import signal, time
from pipelines.run.cluster import join_cluster, leave_cluster
from pipelines.run.signals import StopRequests
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


def test_a_signal_during_rays_start_is_raised_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []

    def init(**_: object) -> None:
        # forks with a Python function in the child, as Ray does
        subprocess.run(
            [sys.executable, "-c", f"import os; os.kill({os.getpid()}, {signal.SIGTERM:d})"],
            preexec_fn=lambda: None,
        )
        steps.append("started")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(Stopped, match="SIGTERM"), stop_on_signals():
        join_cluster()
    assert steps == ["started"]


def test_a_signal_while_the_cluster_is_unreachable_is_raised_before_rays_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray would retry for minutes"))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped, match="SIGTERM"), stop_on_signals():
        timer.start()
        try:
            join_cluster()
        finally:
            timer.cancel()


@pytest.fixture
def handlers() -> Iterator[None]:
    """Restore the handlers of signals after the test."""
    handlers = [(number, signal.getsignal(number)) for number in STOPPING]
    yield
    for number, handler in handlers:
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_signals_within_a_second_are_one_request_to_stop() -> None:
    now = 0.0
    calls: list[str] = []
    requests = StopRequests(clock=lambda: now)
    requests.handle(lambda number: calls.append(f"first {number.name}"))
    signal.raise_signal(signal.SIGTERM)
    requests.handle(lambda number: calls.append(f"second {number.name}"))
    for now in (0.0, 0.9, 1.1):  # noqa: B007  # read by the clock
        signal.raise_signal(signal.SIGINT)
    assert calls == ["first SIGTERM", "second SIGINT"]
