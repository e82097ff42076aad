"""What joining a cluster brings, and what an engine takes of it."""

from __future__ import annotations

import os
import subprocess
import urllib.request
from collections.abc import Iterator

import pytest
import ray

from pipelines.errors import ClusterError
from pipelines.job.spec import Compute, Replicas
from pipelines.run.cluster import (
    Cluster,
    engine_resources,
    join_cluster,
    leave_cluster,
    metrics_addresses,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own, of files that it leaves open


@pytest.fixture(scope="module")
def started_here() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_worker_niceness", raising=False)
        join_cluster()
        yield
        leave_cluster()


def test_workers_of_a_cluster_started_here_are_no_less_important_than_the_driver(
    started_here: None,
) -> None:
    def niceness() -> int:
        return os.nice(0)

    assert ray.get(ray.remote(niceness).remote()) == os.nice(0)


def test_a_cluster_started_here_serves_metrics_and_no_dashboard(started_here: None) -> None:
    (address,) = metrics_addresses()
    with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310  # loopback
        assert answer.status == 200
    assert "ray-dashboard-" not in _names_below(os.getpid())


def _names_below(parent: int) -> str:
    """The command lines of a process's descendants."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    below, found = {parent}, []
    for pid, above, command in rows:
        if int(above) in below:
            below.add(int(pid))
            found.append(command)
    return "\n".join(found)


def test_without_gpus_an_engine_takes_two_cpus() -> None:
    seat = engine_resources(Cluster(8, 0, None), Compute())
    assert (seat.cpus, seat.gpus, seat.max_engines) == (2, 0, 4)
    assert engine_resources(Cluster(1, 0, None), Compute()).cpus == 1


def test_with_gpus_an_engine_takes_as_many_as_it_is_parallel() -> None:
    seat = engine_resources(Cluster(64, 8, "H100"), Compute(tensor_parallel=2))
    assert (seat.gpus, seat.max_engines) == (2, 4)


def test_gpus_that_an_autoscaler_has_yet_to_bring_are_waited_for() -> None:
    compute = Compute(gpus_per_replica=1, replicas=Replicas(min=2, max=4))
    assert engine_resources(Cluster(4, 0, None), compute).max_engines == 4


def test_a_cluster_without_anything_is_refused() -> None:
    with pytest.raises(ClusterError, match="has no CPU"):
        engine_resources(Cluster(0, 0, None), Compute())


def test_too_few_gpus_for_one_engine_are_named() -> None:
    with pytest.raises(ClusterError, match="tensor_parallel: an engine needs 4 GPUs"):
        engine_resources(Cluster(8, 2, "H100"), Compute(tensor_parallel=4))
