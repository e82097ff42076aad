"""A signal stops a run, whoever's handler is in place when it comes."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

import pytest

from jobs import run
from pipelines.batch import BatchRun


def test_a_signal_between_rays_start_and_the_claim_of_output_stops_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited = threading.Event()

    def join() -> None:
        # as Ray does
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()

    def prepare() -> BatchRun:
        waited.wait(30)
        raise AssertionError("the signal was not heeded")

    monkeypatch.setattr(run, "join_cluster", join)
    nothing: Any = None
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(run.Stopped, match="SIGTERM"):
            run._run(nothing, prepare, nothing, lambda reason: None)
    finally:
        signal.signal(signal.SIGTERM, before)
        waited.set()
