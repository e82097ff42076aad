"""The Ray cluster: join or start it, say what it has, and set Ray Data up for phifleet."""

from __future__ import annotations

import functools
import logging
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import ray
from ray.data import DataContext

from pipelines.errors import ClusterError
from pipelines.job.spec import Compute
from pipelines.models.cost import Device, device_named
from pipelines.run.signals import STOPPING

_ACCELERATOR = "accelerator_type:"
# In the main thread Ray would put a handler for SIGTERM in the place of ours, and what a handler
# raises while a process is forked is lost there and leaves logging locked. The thread stays: Ray's
# processes end with the one that started them.
_STARTER = ThreadPoolExecutor(1, "ray")
_THREAD = threading.local()


@dataclass(frozen=True, slots=True)
class Cluster:
    """What Ray has for engines: whole CPUs, GPUs, and the type of the GPUs."""

    cpus: int
    gpus: float
    accelerator: str | None

    @property
    def device(self) -> Device:
        return device_named(self.accelerator)


@dataclass(frozen=True, slots=True)
class EngineResources:
    """What one engine takes of the cluster, and how many may find room."""

    cpus: float
    gpus: float
    max_engines: int


def join_cluster() -> Cluster:
    """Join the cluster that RAY_ADDRESS names, or start one here. Raises ClusterError.

    What a signal raises meanwhile comes once Ray is there, and can be left.
    """
    # Ray gives its workers, engines among them, a lower priority than its own daemons
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        started = _STARTER.submit(_start)
        try:
            started.result()
        finally:
            wait([started])
            _take_back_signals()
    # Ray raises a bare Exception where a node is not up in time
    except Exception as error:
        raise ClusterError(f"Ray did not start: {error}") from error
    _set_up_ray_data()
    return _resources()


def _take_back_signals() -> None:
    """Put our handlers over the one that Ray's C++ code has put over them for SIGTERM, which passes
    the signal on, and aborts the process where it has not ended within three seconds."""
    if threading.current_thread() is threading.main_thread():
        for number in STOPPING:
            signal.signal(number, signal.getsignal(number))


def _start() -> None:
    _detach_forks_of_starter()
    _THREAD.starts_ray = True
    ray.init(
        log_to_driver=True,
        logging_level=logging.WARNING,
        ignore_reinit_error=True,
        # its ten processes start before anything of ours; metrics do not need it
        include_dashboard=False,
    )


@functools.cache
def _detach_forks_of_starter() -> None:
    """Have Ray's processes start in sessions of their own.

    A signal to the process group, as GNU timeout and schedulers send it, would end them while the
    driver still needs them, to end its workers and to leave. Ray has no option for it; Python runs
    this function in each of them before it becomes one of Ray's programs.
    """

    def detach() -> None:
        if getattr(_THREAD, "starts_ray", False):
            os.setsid()

    os.register_at_fork(after_in_child=detach)


def leave_cluster() -> None:
    """Leave the cluster, and end it where `join_cluster` started it."""
    # in another thread, so that this one handles signals meanwhile
    _STARTER.submit(ray.shutdown).result()


def metrics_addresses() -> list[str]:
    """Where each node's Prometheus endpoint answers: workers, engines and Ray itself."""
    nodes = [node for node in _nodes() if node["Alive"] and node["MetricsExportPort"] > 0]
    return [
        f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics" for node in nodes
    ]


def _nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # as Ray ships it
    return nodes


def _resources() -> Cluster:
    found = ray.cluster_resources()  # type: ignore[no-untyped-call]  # as Ray ships it
    types = [name.removeprefix(_ACCELERATOR) for name in found if name.startswith(_ACCELERATOR)]
    gpus = float(found.get("GPU", 0))
    accelerator = (types[0] if types else "unknown") if gpus else None
    return Cluster(int(found.get("CPU", 0)), gpus, accelerator)


def _set_up_ray_data() -> None:
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # A unit of long documents may take longer than Ray Data waits for a sign of life by default.
    context.execution_no_progress_timeout_s = 6 * 3600


def engine_resources(cluster: Cluster, compute: Compute) -> EngineResources:
    """What an engine takes under a job's `compute`. Raises ClusterError where not even one fits."""
    wanted = compute.gpus_per_replica
    if wanted == "auto" and cluster.gpus:
        room = int(cluster.gpus / compute.tensor_parallel)
        if room == 0:
            raise ClusterError(
                f"compute.tensor_parallel: an engine wants {compute.tensor_parallel} GPUs, "
                f"the cluster has {cluster.gpus:g}"
            )
        return EngineResources(cpus=1, gpus=compute.tensor_parallel, max_engines=room)
    if wanted not in ("auto", 0):
        # GPUs asked for by number may still be brought by the cluster's autoscaler
        return EngineResources(cpus=1, gpus=float(wanted), max_engines=compute.replicas.max)
    # An engine on CPUs computes in a process of its own, beside the actor that feeds it.
    cpus = min(2, cluster.cpus)
    if cpus == 0:
        raise ClusterError("Ray has no CPU; an engine without a GPU needs one or two")
    return EngineResources(cpus=cpus, gpus=0, max_engines=cluster.cpus // cpus)
