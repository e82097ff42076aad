"""Ray's own processes, where this one started them: a run does not outlive them.

Ray's C++ code ends a driver without its Ray after a minute, with no word on the terminal and with
an exit code that has another meaning here. So a run is ended before that, with the reason. Knows
processes; nothing of runs or Ray's Python side.
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
# In which a run may end by itself: a signal to all of its processes is told by the run.
_GRACE_SECONDS = 5.0


@dataclass
class _Seen:
    """Those of Ray's processes that were children of this one at some time."""

    names: dict[psutil.Process, str] = field(default_factory=dict)

    def look(self) -> None:
        for child in psutil.Process().children():
            with suppress(psutil.Error):
                if child.name() in _NAMES:
                    self.names.setdefault(child, child.name())

    def dead(self) -> list[str]:
        return [name for process, name in self.names.items() if _is_dead(process)]


def _is_dead(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE
    return True


@contextmanager
def end_when_ray_dies(end: Callable[[str], None]) -> Iterator[None]:
    """Call `end` with a reason once Ray has died under the block, from another thread, for this
    one may wait for Ray; or where the block fails of it. Ray may be left only after the block."""
    seen = _Seen()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_POLL_SECONDS):
            seen.look()
            if seen.dead() and not over.wait(_GRACE_SECONDS):
                end(_reason(seen))
                return

    watcher = threading.Thread(target=watch, name="ray", daemon=True)
    watcher.start()
    try:
        yield
    except (ClusterError, Fenced):
        raise
    except Exception:
        if seen.dead():
            end(_reason(seen))
        raise
    finally:
        over.set()
        watcher.join()


def _reason(seen: _Seen) -> str:
    return f"Ray's {seen.dead()[0]} died on this machine; what was committed stays"
