"""Finds processes that were not ended by the test that started them.

They are found by a variable in their environment, which all descendants inherit.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

SESSION = "PHIFLEET_TEST_SESSION"
"""The environment variable that identifies a pytest session."""
_WAITED_SECONDS = 10.0
_POLL_SECONDS = 0.1
# In the titles of an engine's processes, after and before the process sets its own.
_TITLE, _STARTING = "VLLM::", "multiprocessing.spawn"


def marked(name: str, value: str) -> list[psutil.Process]:
    """Return the processes that were started with `name=value` in their environment, no zombies.

    A process that has set a long title is missing, because the title overwrites its environment.
    """
    variable = f"\0{name}={value}\0".encode()
    processes = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            # psutil stops at the zeros that a title leaves in the environment
            environment = Path(f"/proc/{process.pid}/environ").read_bytes()
            if variable in b"\0" + environment and process.status() != psutil.STATUS_ZOMBIE:
                processes.append(process)
    return processes


def title(process: psutil.Process) -> str:
    """Return the process's command line or title, empty if the process has ended."""
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""


def is_of_an_engine(process: psutil.Process) -> bool:
    """Return whether the process belongs to a vLLM engine."""
    text = title(process)
    return text.startswith(_TITLE) or _STARTING in text


def engines_of(name: str, value: str) -> list[psutil.Process]:
    """Return the processes of vLLM's engines that were started with `name=value`."""
    return [process for process in marked(name, value) if is_of_an_engine(process)]


def none_after(seconds: float, find: Callable[[], list[psutil.Process]]) -> list[psutil.Process]:
    """Wait up to `seconds` until `find` returns no process, and return its last result."""
    until = time.monotonic() + seconds
    while (processes := find()) and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)
    return processes


def look_for_engines(config: pytest.Config, waited_seconds: float = _WAITED_SECONDS) -> None:
    """Register `EnginesEnd` for a session. Call it in `pytest_configure`.

    A worker of pytest-xdist has no effect on the exit status. The session that started it looks
    for the engines of all its workers, which inherit its environment.
    """
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(EnginesEnd(waited_seconds))


class EnginesEnd:
    """A pytest plugin that fails a session which leaves an engine running, and ends the engine."""

    def __init__(self, waited_seconds: float) -> None:
        self._waited_seconds = waited_seconds
        self._value = uuid.uuid4().hex
        self._left: list[str] = []
        os.environ[SESSION] = self._value

    # before other plugins, so that they report the exit status that is set here
    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        left = none_after(self._waited_seconds, lambda: engines_of(SESSION, self._value))
        self._left = [f"process {process.pid}: {title(process)}" for process in left]
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, self._waited_seconds)
        if left and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._left:
            terminalreporter.section("engines left behind", red=True)
            for line in self._left:
                terminalreporter.write_line(line)
