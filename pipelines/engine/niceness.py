"""CPU priorities of an engine's processes on a machine without a GPU.

Knows process ids and niceness; nothing of vLLM.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

# Added to this process's niceness at its start. On a CPU the engine's scheduler, this process and
# the model share the cores; the highest niceness is 19.
_SCHEDULER_NICENESS, _FRONT_NICENESS = 5, 12


def lower_priorities(schedulers: Iterable[int]) -> None:
    """Lower the CPU priority of vLLM's schedulers, and still more that of this process.

    The process that computes the model keeps its priority and is served first.

    While the model computes, the scheduler's process spins: to the kernel it is always busy, and at
    equal priority the kernel would put other threads on the cores that compute. This process comes
    last, because most of its work falls due while the scheduler is busy too. A later engine of this
    process starts from the niceness before the first call: a process may not raise its priority.

    Args:
        schedulers: process ids of the engine's scheduler processes.
    """
    threads = [int(thread.name) for thread in Path("/proc/self/task").glob("*")]
    niceness = dict.fromkeys(threads, _initial_niceness() + _FRONT_NICENESS)
    for pid in schedulers:
        niceness[pid] = _initial_niceness() + _SCHEDULER_NICENESS
    for number, value in niceness.items():
        # a thread may have ended since it was listed
        with suppress(ProcessLookupError, PermissionError):
            os.setpriority(os.PRIO_PROCESS, number, value)


@functools.cache
def _initial_niceness() -> int:
    """Return the niceness of this process before the first engine changed it."""
    return os.getpriority(os.PRIO_PROCESS, 0)
