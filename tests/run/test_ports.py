"""Ports that servers are told before they listen."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from ray._private import ray_constants

from pipelines.errors import ClusterError
from pipelines.run.ports import PORTS, free_port

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_DRAWING = """
import sys
from pipelines.errors import ClusterError
from pipelines.run.ports import free_port
wanted = range(*map(int, sys.argv[1:]))
drawn = []
try:
    while True:
        drawn.append(free_port(wanted))
except ClusterError:
    print(*drawn, flush=True)
sys.stdin.read()
"""


@pytest.mark.filterwarnings("ignore:Using extra keyword arguments on .Field.")
def test_neither_the_kernel_nor_ray_takes_what_is_drawn() -> None:
    from ray.serve._private import constants

    first, last = map(int, _EPHEMERAL.read_text().split())
    assert not range(max(first, PORTS.start), min(last + 1, PORTS.stop))
    of_ray = {
        # the first and the last of its workers
        10_002, 19_999,
        ray_constants.DEFAULT_PORT,
        ray_constants.DEFAULT_DASHBOARD_PORT,
        ray_constants.DEFAULT_DASHBOARD_AGENT_LISTEN_PORT,
        constants.DEFAULT_HTTP_PORT,
        constants.RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT,
        constants.RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT,
    }  # fmt: skip
    assert not of_ray & set(PORTS)
    assert all(free_port() in PORTS for _ in range(20))


def test_no_two_processes_draw_the_same_and_what_ended_gives_it_back() -> None:
    start = free_port()
    wanted = range(start, min(start + 50, PORTS.stop))
    command = [sys.executable, "-c", _DRAWING, str(wanted.start), str(wanted.stop)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    drawn: list[str] = []
    for process in processes:
        assert process.stdout is not None
        drawn += process.stdout.readline().split()
    with pytest.raises(ClusterError, match="are in use; stop a process that listens"):
        free_port(wanted)
    for process in processes:
        process.communicate()
    assert len(drawn) == len(set(drawn)) > 0
    assert str(start) not in drawn
    assert free_port(wanted) in map(int, drawn)


def test_a_port_that_is_listened_on_is_left_out() -> None:
    wanted = [free_port() for _ in range(2)]
    # what this process was given it is not given again
    with pytest.raises(ClusterError):
        free_port(wanted)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ClusterError):
            free_port([port])
    assert free_port([port]) == port
