"""The Ray cluster: join or start it, read its resources, and configure Ray Data.

Knows the `compute` section of a job; nothing of models, units or storage.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import ray
from ray.data import DataContext

from pipelines.errors import ClusterError
from pipelines.job.resources import Compute
from pipelines.models.devices import Device, device_named
from pipelines.run.signals import STOPPING

_ACCELERATOR = "accelerator_type:"
# In the main thread Ray would replace our handler of SIGTERM, and an exception that a handler
# raises while a process is forked is lost and leaves logging locked. The thread must not end:
# Ray's processes end with the thread that started them.
_STARTER = ThreadPoolExecutor(1, "ray")
_THREAD = threading.local()
_HOST_AND_PORT = re.compile(r"\[?([^/]+?)\]?:(\d+)")
REACHABLE_WITHIN = 30.0
"""Seconds in which a head node that may be starting must accept a connection."""
DATA_SETTINGS: Mapping[str, Any] = {
    "enable_progress_bars": False,
    "print_on_execution_start": False,
    # a unit of long documents may take longer than Ray Data's default timeout without progress
    "execution_no_progress_timeout_s": 6 * 3600,
}
"""The settings of Ray Data for a run, attributes of its DataContext by name."""
_CONNECT_SECONDS = 5.0
_RETRY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Cluster:
    """The resources of a Ray cluster.

    Attributes:
        cpus: whole CPUs.
        gpus: GPUs; Ray allows fractions.
        accelerator: Ray's name of the GPUs' type, `unknown` if Ray reports none, None without GPUs.
    """

    cpus: int
    gpus: float
    accelerator: str | None

    @property
    def device(self) -> Device:
        """The speed and memory of the GPUs (or of the CPU) for cost estimates."""
        return device_named(self.accelerator)


@dataclass(frozen=True, slots=True)
class EngineResources:
    """The CPUs and GPUs that Ray reserves for one engine, and the most engines to start at a time.

    `max_engines` is the number that fits the cluster now. If the job sets `gpus_per_replica` to a
    number above 0, it is the job's `compute.replicas.max`, since an autoscaler may add nodes.
    """

    cpus: float
    gpus: float
    max_engines: int


def join_cluster(reachable_within: float = REACHABLE_WITHIN) -> Cluster:
    """Join the cluster that RAY_ADDRESS names, or start one on this machine, and return its
    resources. Raises ClusterError, also if the head node at RAY_ADDRESS does not accept a
    connection within `reachable_within` seconds.

    An exception that a signal handler raises during the start is raised after it, so that the
    caller can call `leave_cluster`.
    """
    await_head(os.environ.get("RAY_ADDRESS", ""), reachable_within)
    # by default Ray gives its workers, engines among them, a lower priority than its own daemons
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        started = _STARTER.submit(_start)
        try:
            started.result()
        finally:
            wait([started])
            _take_back_signals()
    # Ray raises a bare Exception if a node does not start in time
    except Exception as error:
        raise ClusterError(_start_failure(os.environ.get("RAY_ADDRESS"), error)) from error
    configure_ray_data()
    return describe_cluster()


def _start_failure(address: str | None, error: Exception) -> str:
    if address:
        return (
            f"cannot join the Ray cluster at {address}: {error}. Set the environment variable "
            "RAY_ADDRESS to a running cluster, or unset it to start Ray on this machine"
        )
    return (
        f"Ray did not start on this machine: {error}. For the cause, see Ray's logs in the "
        "directory /tmp/ray/session_latest/logs"
    )


def await_head(address: str, within: float) -> None:
    """Wait until the head node at `address` accepts a connection. Raises ClusterError if it does
    not within `within` seconds.

    Returns at once if `address` is not of the form HOST:PORT. Ray retries such an address for
    minutes, and cannot be interrupted meanwhile.
    """
    match = _HOST_AND_PORT.fullmatch(address)
    if match is None:
        return
    deadline = time.monotonic() + within
    while (error := _connection_error(match[1], int(match[2]))) is not None:
        if time.monotonic() >= deadline:
            raise ClusterError(
                f"RAY_ADDRESS: no Ray cluster can be reached at {address} after {within:g} s: "
                f"{error}; start its head node, correct RAY_ADDRESS, or unset it to start Ray here"
            ) from error
        time.sleep(_RETRY_SECONDS)


def _connection_error(host: str, port: int) -> Exception | None:
    """Return why a connection cannot be made, or None if it can."""
    try:
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
    # OverflowError: no such port; UnicodeError: not a name of a host
    except (OSError, OverflowError, UnicodeError) as error:
        return error
    return None


def _take_back_signals() -> None:
    """Restore Python's handlers of SIGINT and SIGTERM. Ray's C++ code replaces that of SIGTERM with
    one that also aborts the process if it has not ended within three seconds."""
    if threading.current_thread() is threading.main_thread():
        for number in STOPPING:
            signal.signal(number, signal.getsignal(number))


def _start() -> None:
    _detach_forks_of_starter()
    logging.getLogger("ray._private.worker").addFilter(_is_news)
    _THREAD.starts_ray = True
    ray.init(
        log_to_driver=True,
        logging_level=logging.WARNING,
        ignore_reinit_error=True,
        # the dashboard starts ten processes before ours; metrics do not need it
        include_dashboard=False,
    )


def _is_news(record: logging.LogRecord) -> bool:
    """Return False for Ray's warning that it sets no handler of SIGTERM in this thread: it must not
    set one, and a notebook would show the warning."""
    return not record.getMessage().startswith("SIGTERM handler is not set")


@functools.cache
def _detach_forks_of_starter() -> None:
    """Start each of Ray's processes in a session of its own.

    GNU timeout and job schedulers send signals to the whole process group. That would end Ray's
    processes while the driver still needs them to end its workers and to leave the cluster. Ray has
    no option for it: a hook does it in each forked process before that executes Ray's program.
    """

    def detach() -> None:
        if getattr(_THREAD, "starts_ray", False):
            os.setsid()

    os.register_at_fork(after_in_child=detach)


def leave_cluster() -> None:
    """Leave the cluster, and end it if `join_cluster` started it."""
    # in another thread, so that this one can handle signals during the wait
    _STARTER.submit(ray.shutdown).result()


def metrics_addresses() -> list[str]:
    """Return the URL of the Prometheus endpoint of each running node. It serves the metrics of the
    node's workers, its engines and Ray. Call it after `join_cluster`."""
    nodes = [node for node in _nodes() if node["Alive"] and node["MetricsExportPort"] > 0]
    return [
        f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics" for node in nodes
    ]


def alive_nodes() -> int:
    """Return the number of running nodes. Call it after `join_cluster`."""
    return sum(bool(node["Alive"]) for node in _nodes())


def _nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # Ray has no types for this
    return nodes


def describe_cluster() -> Cluster:
    """Return the resources of the cluster that this process has joined."""
    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]  # Ray has no types for this
    gpus = float(resources.get("GPU", 0))
    return Cluster(int(resources.get("CPU", 0)), gpus, _accelerator(resources) if gpus else None)


def accelerator_of_this_node() -> str:
    """Return Ray's name of the type of this node's GPUs, `unknown` if it reports none."""
    here = ray.get_runtime_context().get_node_id()
    resources = [node["Resources"] for node in _nodes() if node["NodeID"] == here]
    return _accelerator(resources[0] if resources else {})


def _accelerator(resources: Mapping[str, float]) -> str:
    types = [name.removeprefix(_ACCELERATOR) for name in resources if name.startswith(_ACCELERATOR)]
    return types[0] if types else "unknown"


def configure_ray_data(settings: Mapping[str, Any] = DATA_SETTINGS) -> dict[str, Any]:
    """Change settings of Ray Data in this process, and return their earlier values by name."""
    context = DataContext.get_current()
    earlier = {name: getattr(context, name) for name in settings}
    for name, value in settings.items():
        setattr(context, name, value)
    return earlier


def engine_resources(cluster: Cluster, compute: Compute) -> EngineResources:
    """Return the resources of each engine under a job's `compute` section.

    With `gpus_per_replica: auto` on a cluster with GPUs, an engine takes `tensor_parallel` GPUs and
    one CPU; with a number above 0, that number of GPUs and one CPU. Without GPUs, or with 0, it
    takes two CPUs, or the only one. A number of GPUs is not checked against the cluster, whose
    autoscaler may add nodes. Otherwise, raises ClusterError if not even one engine fits.
    """
    requested = compute.gpus_per_replica
    if requested == "auto" and cluster.gpus:
        max_engines = int(cluster.gpus / compute.tensor_parallel)
        if max_engines == 0:
            raise ClusterError(
                f"compute.tensor_parallel: an engine needs {compute.tensor_parallel} GPUs, "
                f"but the cluster has {cluster.gpus:g}; lower the value, or add GPUs"
            )
        return EngineResources(cpus=1, gpus=compute.tensor_parallel, max_engines=max_engines)
    if requested not in ("auto", 0):
        return EngineResources(cpus=1, gpus=float(requested), max_engines=compute.replicas.max)
    # an engine on CPUs computes in a process of its own, in addition to the actor's
    cpus = min(2, cluster.cpus)
    if cpus == 0:
        raise ClusterError(
            "the Ray cluster has no CPU, but an engine without a GPU needs one or two; add nodes "
            "with CPUs"
        )
    return EngineResources(cpus=cpus, gpus=0, max_engines=cluster.cpus // cpus)
