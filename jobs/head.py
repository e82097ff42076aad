"""Detects that Ray's own processes died, if this process started them, and ends the run.

After a minute without its Ray, Ray's C++ code ends a driver without a message on the terminal and
with an exit code that means something else here. The run is ended before that, with the reason.
Knows processes; nothing of runs or of Ray's Python API.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psutil

from pipelines.errors import ClusterError, Fenced

_NAMES = ("gcs_server", "raylet")
_POLL_SECONDS = 1.0
# Time for a run to end by itself: a signal to all of its processes also reaches the run, and is
# then reported by it.
_GRACE_SECONDS = 5.0


@dataclass
class _RayProcesses:
    """Ray's processes that are or were children of this one, with their names."""

    names: dict[psutil.Process, str] = field(default_factory=dict)

    def scan(self) -> None:
        for child in psutil.Process().children():
            with suppress(psutil.Error):
                # of a Ray that this process has ended, zombies may remain
                if child.name() in _NAMES and not _is_dead(child):
                    self.names.setdefault(child, child.name())

    def dead(self) -> list[str]:
        return [name for process, name in self.names.items() if _is_dead(process)]

    @property
    def reason(self) -> str:
        return (
            f"Ray's process {self.dead()[0]} on this machine died. For the cause, see the kernel "
            "log, and Ray's logs in /tmp/ray/session_latest/logs. Committed work is kept; run the "
            "same command again to resume"
        )


def _is_dead(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE
    return True


@contextmanager
def end_when_ray_dies(end: Callable[[str], None]) -> Iterator[None]:
    """Call `end` with a message if a process of Ray that this one started dies during the block.

    Calls it from another thread, because the main thread may wait for Ray for ever; or from this
    one, if the block raises any Exception but ClusterError and Fenced after the death. `end` is
    expected to end the process. Leave the cluster only after the block: that ends the same
    processes.
    """
    processes = _RayProcesses()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_POLL_SECONDS):
            processes.scan()
            if processes.dead() and not ended.wait(_GRACE_SECONDS):
                end(processes.reason)
                return

    watcher = threading.Thread(target=watch, name="ray", daemon=True)
    watcher.start()
    try:
        yield
    except (ClusterError, Fenced):
        raise
    except Exception:
        if processes.dead():
            end(processes.reason)
        raise
    finally:
        ended.set()
        watcher.join()
