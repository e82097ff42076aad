"""Adapts a run to the process that it runs in: the command line's own, or one with other work.

The process of the command line belongs to the run. `phifleet.host` has the host for programs and
notebooks that call a run.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from jobs.control import stop_on_signals
from jobs.head import end_when_ray_dies
from pipelines.errors import ClusterError
from pipelines.run import cluster as ray_cluster
from pipelines.run.cluster import Cluster
from pipelines.run.screen import Screen, redirect_output

ExitProcess = Callable[[int], object]
"""A function that ends this process with an exit code: `os._exit`, or a recorder in tests."""
Report = Callable[[str], None]
"""Prints and records why a run fails."""
WatchRay = Callable[[Report], AbstractContextManager[None]]
"""Returns a context manager that ends the process after a report, or raises ClusterError in the
block, if Ray's processes on this machine die during the block: the main thread may then wait for
Ray for ever."""


class ClusterAccess(Protocol):
    """The functions of `pipelines.run.cluster` that a run calls."""

    def join_cluster(self) -> Cluster:
        """Join or start the cluster. Raises ClusterError."""

    def leave_cluster(self) -> None:
        """Leave the cluster, and end it if `join_cluster` started it."""

    def metrics_addresses(self) -> list[str]:
        """Return the URL of each node's Prometheus endpoint."""


@dataclass(frozen=True, slots=True)
class Host:
    """Adapts a run to the process that it runs in.

    Attributes:
        cluster: joins and leaves the cluster.
        open_screen: redirects the output of libraries to a log file, given its path, during the
            block, and yields the screen for the run's own output.
        stop_on_signals: raises Stopped in the block after a signal.
        watch_ray: ends or interrupts the block if Ray dies.
    """

    cluster: ClusterAccess
    open_screen: Callable[[Path], AbstractContextManager[Screen]]
    stop_on_signals: Callable[[], AbstractContextManager[None]]
    watch_ray: WatchRay


def command_line(exit_process: ExitProcess) -> Host:
    """Return the host of the command line. Use it in the main thread: it handles SIGINT and
    SIGTERM. `exit_process` is called, from any thread, to end this process if Ray dies."""
    return Host(ray_cluster, redirect_output, stop_on_signals, ending_process(exit_process))


def ending_process(exit_process: ExitProcess) -> WatchRay:
    """Return a function for `Host.watch_ray` that reports the reason and ends this process."""

    def watch(report: Report) -> AbstractContextManager[None]:
        def end(message: str) -> None:
            report(message)
            exit_process(ClusterError.exit_code)

        return end_when_ray_dies(end)

    return watch
