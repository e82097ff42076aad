"""What Ray Serve's processes are given to read, and HAProxy's end."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from serve.environment import ending_with_its_parent, settings_of


@pytest.mark.parametrize(
    ("host", "by_haproxy"),
    [("127.0.0.1", "1"), ("0.0.0.0", "1"), ("127.0.0.2", "0"), ("::1", "0")],  # noqa: S104
)
def test_haproxy_is_where_it_finds_the_front(host: str, by_haproxy: str, tmp_path: Path) -> None:
    settings = settings_of(host, tmp_path)
    assert settings["RAY_SERVE_ENABLE_HA_PROXY"] == by_haproxy
    assert ("RAY_SERVE_HAPROXY_STATS_PORT" in settings) == (by_haproxy == "1")


def test_a_command_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    sleep = shutil.which("sleep")
    assert sleep is not None
    command = ending_with_its_parent(sleep, tmp_path)
    starting = (
        f"import subprocess as s; p = s.Popen([{str(command)!r}, '300']); print(p.pid); p.wait()"
    )
    parent = subprocess.Popen([sys.executable, "-uc", starting], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    until = time.monotonic() + 30
    while child.name() != "sleep" and time.monotonic() < until:
        time.sleep(0.01)
    assert child.is_running()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    gone, _ = psutil.wait_procs([child], timeout=30)
    assert gone == [child]
