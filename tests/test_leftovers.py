"""A session of tests fails where it leaves an engine behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from leftovers import SESSION, marked

CONFTEST = """
from leftovers import look_for_engines

def pytest_configure(config):
    look_for_engines(config, waited_seconds={seconds})
"""
# what has the title of an engine's process, in a session of its own
TEST = """
import subprocess, sys

def test_that_leaves_an_engine():
    arguments = ["{title}", "-c", "import time; time.sleep({lasts})"]
    subprocess.Popen(arguments, executable=sys.executable, start_new_session=True)
"""


def run_session(
    directory: Path, *options: str, title: str, lasts: float, seconds: float
) -> subprocess.CompletedProcess[str]:
    (directory / "conftest.py").write_text(CONFTEST.format(seconds=seconds))
    (directory / "test_it.py").write_text(TEST.format(title=title, lasts=lasts))
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-W",
            "ignore",
            *options,
            ".",
        ],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": os.path.dirname(__file__), "LEFT_BY": str(directory)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("options", [(), ("--numprocesses=2",)], ids=["alone", "workers"])
def test_a_session_that_leaves_an_engine_fails_names_it_and_ends_it(
    options: Sequence[str], tmp_path: Path
) -> None:
    done = run_session(tmp_path, *options, title="VLLM::EngineCore", lasts=100, seconds=0.5)
    assert done.returncode == 1
    assert "1 passed" in done.stdout
    assert "engines left behind" in done.stdout and "VLLM::EngineCore" in done.stdout
    assert marked("LEFT_BY", str(tmp_path)) == []


def test_an_engine_that_ends_in_time_is_not_left(tmp_path: Path) -> None:
    done = run_session(tmp_path, title="VLLM::EngineCore", lasts=1, seconds=30)
    assert (done.returncode, "left behind" in done.stdout) == (0, False), done.stdout


def test_what_is_no_engine_may_go_on(tmp_path: Path) -> None:
    done = run_session(tmp_path, title="browser", lasts=100, seconds=0.5)
    (left,) = marked("LEFT_BY", str(tmp_path))
    left.kill()
    psutil.wait_procs([left], timeout=10)
    assert done.returncode == 0, done.stdout


def test_the_sessions_of_this_project_look_for_engines() -> None:
    # a worker of pytest-xdist inherits it from the session that started it
    assert os.environ[SESSION]
