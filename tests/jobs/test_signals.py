"""A signal stops what waits for Ray, whenever it comes, and leaves nothing locked or behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
import ray

from jobs.control import Stopped, stop_on_signals
from pipelines.run.cluster import join_cluster, leave_cluster
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
    with pytest.raises(Stopped, match="SIGTERM"), stop_on_signals():
        join_cluster()
    assert ended == ["started"]


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
