"""An endpoint whose process group gets a signal: how it ends, and that nothing of it is left."""

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
# Moments, but for agents of Ray's, which wait a minute for a GCS that was killed.
ENDS_WITHIN = 120


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv(MARK, str(tmp_path))
    served = start(tmp_path)
    yield served
    served.process.kill()
    served.process.communicate()
    for each in marked(MARK, str(tmp_path)):
        each.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda each: each.name)
def test_an_endpoint_whose_group_is_stopped_ends_as_one_that_is_stopped(
    number: signal.Signals, served: Served, tmp_path: Path
) -> None:
    # as GNU timeout does it: the command, then its group
    served.process.send_signal(number)
    os.killpg(served.process.pid, number)
    assert served.process.wait(120) == 0, (tmp_path / "log").read_text()[-3000:]
    assert none_after(ENDS_WITHIN, lambda: marked(MARK, str(tmp_path))) == []


def test_an_endpoint_that_is_killed_with_its_group_leaves_no_process(
    served: Served, tmp_path: Path
) -> None:
    os.killpg(served.process.pid, signal.SIGKILL)
    served.process.wait()
    assert none_after(ENDS_WITHIN, lambda: marked(MARK, str(tmp_path))) == []
