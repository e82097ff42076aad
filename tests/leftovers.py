"""Processes that were left by those who started them: found by a mark in their environment, which
all descendants inherit."""

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
"""The environment variable that names a session of pytest."""
_WAITED_SECONDS = 10.0
_POLL_SECONDS = 0.1
# The processes of an engine, once they have their titles and before.
_TITLE, _STARTING = "VLLM::", "multiprocessing.spawn"


def marked(name: str, value: str) -> list[psutil.Process]:
    """The processes that were started with this in their environment, but for zombies. One with a
    long title of its own is missing: the title is written over its environment."""
    sought = f"\0{name}={value}\0".encode()
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            # psutil reads it no further than a title has left zeros
            environment = Path(f"/proc/{process.pid}/environ").read_bytes()
            if sought in b"\0" + environment and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""


def is_of_an_engine(process: psutil.Process) -> bool:
    told = title(process)
    return told.startswith(_TITLE) or _STARTING in told


def engines_of(name: str, value: str) -> list[psutil.Process]:
    """The marked processes of vLLM's engines."""
    return [each for each in marked(name, value) if is_of_an_engine(each)]


def none_after(seconds: float, find: Callable[[], list[psutil.Process]]) -> list[psutil.Process]:
    """What `find` still finds after so many seconds; returns at once when that is nothing."""
    until = time.monotonic() + seconds
    while (found := find()) and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)
    return found


class EnginesEnd:
    """A plugin of pytest's: a session fails that leaves an engine behind, which is then ended."""

    def __init__(self, waited_seconds: float = _WAITED_SECONDS) -> None:
        self._waited_seconds = waited_seconds
        self._value = uuid.uuid4().hex
        self._left: list[str] = []
        os.environ[SESSION] = self._value

    # first: what ends the session otherwise says so with this in mind
    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        left = none_after(self._waited_seconds, lambda: engines_of(SESSION, self._value))
        self._left = [f"process {each.pid}: {title(each)}" for each in left]
        for each in left:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(left, self._waited_seconds)
        if left and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._left:
            terminalreporter.section("engines left behind", red=True)
            for line in self._left:
                terminalreporter.write_line(line)
