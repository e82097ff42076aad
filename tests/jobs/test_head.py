"""A run whose Ray dies ends with exit code 4 and a reason, before Ray ends it without one."""

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


def await_ray(run: subprocess.Popen[str], name: str) -> psutil.Process:
    """Wait until the run has started a process of Ray with this name, and return it."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while True:
        for child in psutil.Process(run.pid).children():
            if child.name() == name:
                return child
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gcs_server", "raylet"])
def test_a_run_whose_ray_died_ends_with_4_and_can_be_resumed(name: str, tmp_path: Path) -> None:
    run = QuickRun(tmp_path, str(tmp_path / "out"), documents=60)
    first = run.start()
    ray_process = await_ray(first, name)
    time.sleep(1.5)
    ray_process.kill()
    code, result, errors = ended(first)
    assert (code, result["status"]) == (4, "failed")
    assert "Ray" in errors and "Traceback" not in errors
    code, result, errors = run()
    assert (code, result["status"]) == (0, "done"), errors
    assert check(LocalFileSystem(), str(tmp_path / "out"), run.editions, run.diary).sound
