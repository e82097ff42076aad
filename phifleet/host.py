"""The host of a run in a process with other work: a program, an interactive session, a notebook.

Unlike the command line's host, it leaves the process as it was: its signal handlers, streams,
settings of Ray Data, and Ray itself if the program has started it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import ray
from rich.console import Console

from jobs.control import Interruption, in_main_thread, stop_on_signals
from jobs.head import end_when_ray_dies
from jobs.hosts import ClusterAccess, Host, Report
from phifleet.notebook import NotebookScreen, in_notebook, notebook_console
from pipelines.errors import ClusterError
from pipelines.run import cluster as ray_cluster
from pipelines.run.cluster import Cluster
from pipelines.run.screen import Screen, redirect_output
from pipelines.run.signals import interrupt


def library_host(*, progress: bool) -> Host:
    """Return the host for this process. Without `progress`, notices go to the log."""
    cluster: ClusterAccess = CallersCluster() if ray.is_initialized() else ray_cluster
    return Host(
        cluster=cluster,
        open_screen=partial(open_screen, progress=progress),
        stop_on_signals=stop_in_main_thread,
        watch_ray=raise_when_ray_dies,
    )


class CallersCluster:
    """The Ray cluster that the program has joined itself, and stays in."""

    def __init__(self) -> None:
        self._earlier: dict[str, Any] = {}

    def join_cluster(self) -> Cluster:
        """Return the resources of the cluster."""
        self._earlier = ray_cluster.configure_ray_data()
        return ray_cluster.describe_cluster()

    def leave_cluster(self) -> None:
        """Restore the program's settings of Ray Data, whose workers have ended with the run."""
        ray_cluster.configure_ray_data(self._earlier)

    def metrics_addresses(self) -> list[str]:
        """Return the URL of each node's Prometheus endpoint."""
        return ray_cluster.metrics_addresses()


@contextmanager
def stop_in_main_thread() -> Iterator[None]:
    """Raise Stopped in the block on the first SIGINT or SIGTERM, and KeyboardInterrupt on a second
    one; do nothing in another thread than the main one, in which signals cannot be handled."""
    if not in_main_thread():
        yield
        return
    with stop_on_signals(again=interrupt):
        yield


@contextmanager
def raise_when_ray_dies(report: Report) -> Iterator[None]:
    """Raise ClusterError in the block if a process of Ray that this one started dies. In another
    thread than the main one, which cannot be interrupted, Ray's own errors report that."""
    if not in_main_thread():
        yield
        return
    interruption = Interruption()

    def end(message: str) -> None:
        interruption.interrupt(ClusterError(message))

    with interruption.raised(), end_when_ray_dies(end):
        yield


@contextmanager
def open_screen(log: Path, *, progress: bool) -> Iterator[Screen]:
    """Redirect the output of libraries to `log` during the block, as `redirect_output` does, and
    yield the screen for the run's own output: a notebook's, or the program's standard error.

    Streams of Python that do not write to descriptors 1 and 2, as in a notebook, are redirected
    too: Ray prints the output of workers to `sys.stdout` and `sys.stderr`.
    """
    errors = sys.stderr
    direct = writes_to(errors, 2)
    with redirect_output(log) as screen, python_streams_redirected():
        if not progress:
            yield Screen(_plain_console(sys.stderr), screen.results)
        elif in_notebook():
            yield NotebookScreen(notebook_console(), screen.results)
        elif direct:
            yield screen
        else:
            yield Screen(_plain_console(errors), screen.results)


def _plain_console(file: TextIO) -> Console:
    return Console(file=file, highlight=False, markup=False, emoji=False, force_interactive=False)


@contextmanager
def python_streams_redirected() -> Iterator[None]:
    """Let `sys.stdout` and `sys.stderr` write to descriptors 1 and 2 during the block."""
    earlier = sys.stdout, sys.stderr
    # never closed: loggers may keep these streams, and then write to where 1 and 2 lead later
    if not writes_to(sys.stdout, 1):
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    if not writes_to(sys.stderr, 2):
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            # what a full disk keeps from the log is lost
            with suppress(OSError):
                stream.flush()
        sys.stdout, sys.stderr = earlier


def writes_to(stream: TextIO, descriptor: int) -> bool:
    """Return whether a stream writes to a file descriptor."""
    try:
        return stream.fileno() == descriptor
    except (OSError, ValueError, AttributeError):
        return False
