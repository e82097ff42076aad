"""A run whose Ray dies ends with exit code 4 and a reason, before Ray ends it without one."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from chaos.checker import check
from fsspec.implementations.local import LocalFileSystem
from quick import QuickRun, ended
from runs import LIMIT_SECONDS

from jobs.head import end_when_ray_dies
from pipelines.errors import EngineError

pytestmark = pytest.mark.usefixtures("tiny_model")


def test_processes_of_an_earlier_ray_that_has_ended_do_not_count(tmp_path: Path) -> None:
    program = tmp_path / "raylet"
    shutil.copy("/bin/sleep", program)
    raylet = subprocess.Popen([program, "60"])
    raylet.kill()
    messages: list[str] = []
    with pytest.raises(EngineError), end_when_ray_dies(messages.append):
        # longer than until processes are looked for
        time.sleep(2)
        raise EngineError("another reason")
    assert messages == []
    raylet.wait()


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
