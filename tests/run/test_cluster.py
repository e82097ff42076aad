"""Tests of joining a Ray cluster and of the resources of its engines."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator

import pytest
import ray

from pipelines.errors import ClusterError
from pipelines.job.resources import Compute, Replicas
from pipelines.run.cluster import (
    Cluster,
    await_head,
    engine_resources,
    join_cluster,
    leave_cluster,
    metrics_addresses,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # ResourceWarning of files that Ray leaves open


@pytest.fixture(scope="module")
def local_cluster() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_worker_niceness", raising=False)
        join_cluster()
        yield
        leave_cluster()


def test_workers_of_a_local_cluster_have_the_drivers_priority(
    local_cluster: None,
) -> None:
    def niceness() -> int:
        return os.nice(0)

    assert ray.get(ray.remote(niceness).remote()) == os.nice(0)


@pytest.fixture
def closed_port() -> int:
    """Return a port of the loopback interface where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def test_an_unreachable_cluster_is_an_error_that_names_ray_address(
    closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed_port}")
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray would retry for minutes"))
    with pytest.raises(ClusterError, match=f"RAY_ADDRESS: .*127.0.0.1:{closed_port}.*refused"):
        join_cluster(reachable_within=0.0)


def test_a_head_that_starts_later_is_reached(closed_port: int) -> None:
    servers: list[socket.socket] = []
    starter = threading.Timer(
        0.3, lambda: servers.append(socket.create_server(("127.0.0.1", closed_port)))
    )
    starter.start()
    await_head(f"127.0.0.1:{closed_port}", within=60.0)
    starter.join()
    (server,) = servers
    server.close()


@pytest.mark.parametrize("address", ["", "auto", "local", "ray://127.0.0.1:1", "127.0.0.1"])
def test_only_an_address_with_a_host_and_a_port_is_awaited(address: str) -> None:
    await_head(address, within=0.0)


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "[::1]:1", f"{'x' * 64}:1"])
def test_an_address_that_cannot_be_connected_to_is_an_error(address: str) -> None:
    with pytest.raises(ClusterError, match="RAY_ADDRESS: "):
        await_head(address, within=0.0)


def test_a_local_cluster_serves_metrics_and_no_dashboard(local_cluster: None) -> None:
    (address,) = metrics_addresses()
    with urllib.request.urlopen(address, timeout=10) as response:  # noqa: S310  # loopback
        assert response.status == 200
    assert "ray-dashboard-" not in _commands_below(os.getpid())


def _commands_below(parent: int) -> str:
    """Return the command lines of a process's descendants, one a line."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    descendants, commands = {parent}, []
    for pid, parent_pid, command in rows:
        if int(parent_pid) in descendants:
            descendants.add(int(pid))
            commands.append(command)
    return "\n".join(commands)


def test_without_gpus_an_engine_takes_two_cpus() -> None:
    resources = engine_resources(Cluster(8, 0, None), Compute())
    assert (resources.cpus, resources.gpus, resources.max_engines) == (2, 0, 4)
    assert engine_resources(Cluster(1, 0, None), Compute()).cpus == 1


def test_with_gpus_an_engine_takes_one_for_each_tensor_parallel_rank() -> None:
    resources = engine_resources(Cluster(64, 8, "H100"), Compute(tensor_parallel=2))
    assert (resources.gpus, resources.max_engines) == (2, 4)


def test_a_number_of_gpus_may_exceed_the_cluster_because_an_autoscaler_may_add_them() -> None:
    compute = Compute(gpus_per_replica=1, replicas=Replicas(min=2, max=4))
    assert engine_resources(Cluster(4, 0, None), compute).max_engines == 4


def test_a_cluster_without_cpus_and_gpus_is_an_error() -> None:
    with pytest.raises(ClusterError, match="has no CPU"):
        engine_resources(Cluster(0, 0, None), Compute())


def test_too_few_gpus_for_one_engine_are_an_error() -> None:
    with pytest.raises(ClusterError, match="tensor_parallel: an engine needs 4 GPUs"):
        engine_resources(Cluster(8, 2, "H100"), Compute(tensor_parallel=4))
