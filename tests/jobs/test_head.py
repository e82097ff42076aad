"""A run whose Ray dies ends with exit code 4 and the reason, before Ray ends it without one."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import psutil
import pytest
from chaos.checker import check
from fsspec.implementations.local import LocalFileSystem
from quick import QuickRun, ended
from runs import LIMIT_SECONDS

pytestmark = pytest.mark.usefixtures("tiny_model")


def rays(run: subprocess.Popen[str], name: str) -> psutil.Process:
    """A process of Ray's, as soon as the run has started it."""
    until = time.monotonic() + LIMIT_SECONDS
    while True:
        for child in psutil.Process(run.pid).children():
            if child.name() == name:
                return child
        assert run.poll() is None and time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gcs_server", "raylet"])
def test_a_run_without_its_ray_ends_with_4_and_goes_on_later(name: str, tmp_path: Path) -> None:
    run = QuickRun(tmp_path, str(tmp_path / "out"), documents=60)
    first = run.start()
    head = rays(first, name)
    time.sleep(1.5)
    head.kill()
    code, told, errors = ended(first)
    assert (code, told["status"]) == (4, "failed")
    assert "Ray" in errors and "Traceback" not in errors
    code, told, errors = run()
    assert (code, told["status"]) == (0, "done"), errors
    assert check(LocalFileSystem(), str(tmp_path / "out"), run.papers, run.diary).sound
