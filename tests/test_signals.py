"""A signal stops what waits for Ray, whenever it comes, and leaves nothing locked or behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from io import StringIO
from typing import Any

import pytest
import ray
from rich.console import Console

from jobs import run
from pipelines.batch import BatchRun
from pipelines.cluster import join_cluster, leave_cluster
from pipelines.screen import Screen


@pytest.mark.filterwarnings("ignore")  # Ray's own, of files that it leaves open
def test_joining_leaves_the_handlers_of_signals_as_they_are() -> None:
    before = signal.getsignal(signal.SIGTERM)
    join_cluster()
    leave_cluster()
    assert signal.getsignal(signal.SIGTERM) is before


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
