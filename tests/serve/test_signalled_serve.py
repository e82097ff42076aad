"""Tests of an endpoint whose process group gets a signal: it ends and leaves no process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from leftovers import marked, none_after
from served import Served, start

pytestmark = pytest.mark.slow

MARK = "STARTED_BY"
# Usually seconds, but Ray's agents wait a minute for a GCS that was killed.
ENDS_WITHIN = 120


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv(MARK, str(tmp_path))
    served = start(tmp_path)
    yield served
    served.process.kill()
    served.process.communicate()
    for process in marked(MARK, str(tmp_path)):
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_to_the_process_group_stops_the_endpoint_normally(
    number: signal.Signals, served: Served, tmp_path: Path
) -> None:
    # like GNU timeout, which signals the command and then its process group
    served.process.send_signal(number)
    os.killpg(served.process.pid, number)
    assert served.process.wait(120) == 0, (tmp_path / "log").read_text()[-3000:]
    assert none_after(ENDS_WITHIN, lambda: marked(MARK, str(tmp_path))) == []


def test_an_endpoint_killed_with_its_process_group_leaves_no_process(
    served: Served, tmp_path: Path
) -> None:
    os.killpg(served.process.pid, signal.SIGKILL)
    served.process.wait()
    assert none_after(ENDS_WITHIN, lambda: marked(MARK, str(tmp_path))) == []
