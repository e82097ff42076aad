"""Tests of free ports for servers."""

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
_TAKE_ALL_PORTS = """
import sys
from pipelines.errors import ClusterError
from pipelines.run.ports import free_port
ports = range(*map(int, sys.argv[1:]))
taken = []
try:
    while True:
        taken.append(free_port(ports))
except ClusterError:
    print(*taken, flush=True)
sys.stdin.read()
"""


@pytest.mark.filterwarnings("ignore:Using extra keyword arguments on .Field.")
def test_ports_are_outside_the_ranges_of_the_kernel_and_of_ray() -> None:
    from ray.serve._private import constants

    first, last = map(int, _EPHEMERAL.read_text().split())
    assert not range(max(first, PORTS.start), min(last + 1, PORTS.stop))
    ray_ports = {
        # the first and the last port of Ray's workers
        10_002, 19_999,
        ray_constants.DEFAULT_PORT,
        ray_constants.DEFAULT_DASHBOARD_PORT,
        ray_constants.DEFAULT_DASHBOARD_AGENT_LISTEN_PORT,
        constants.DEFAULT_HTTP_PORT,
        constants.RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT,
        constants.RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT,
    }  # fmt: skip
    assert not ray_ports & set(PORTS)
    assert all(free_port() in PORTS for _ in range(20))


def test_processes_get_different_ports_and_free_them_when_they_end() -> None:
    start = free_port()
    ports = range(start, min(start + 50, PORTS.stop))
    command = [sys.executable, "-c", _TAKE_ALL_PORTS, str(ports.start), str(ports.stop)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    taken: list[str] = []
    for process in processes:
        assert process.stdout is not None
        taken += process.stdout.readline().split()
    with pytest.raises(ClusterError, match="in use, or reserved by other phifleet processes; stop"):
        free_port(ports)
    for process in processes:
        process.communicate()
    assert len(taken) == len(set(taken)) > 0
    assert str(start) not in taken
    assert free_port(ports) in map(int, taken)


def test_a_port_on_which_a_server_listens_is_not_returned() -> None:
    ports = [free_port() for _ in range(2)]
    # a port is not returned twice, not even to the same process
    with pytest.raises(ClusterError):
        free_port(ports)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ClusterError):
            free_port([port])
    assert free_port([port]) == port
