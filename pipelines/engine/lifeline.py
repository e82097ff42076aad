"""Ends the processes of an engine with the process that uses it.

vLLM's EngineCore waits for its client for ever, also for one that was killed, and holds the
engine's memory meanwhile. A plugin of vLLM's would come too late to end it: while the engine
starts, EngineCore waits before it loads plugins. Its configuration is there before that. Knows
processes; nothing of engines.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


class Lifeline:
    """A part of vLLM's configuration, which each process of an engine gets from its parent as it
    starts, and which then ties it to that. vLLM takes any object that has a hash."""

    def __init__(self, client: int | None = None) -> None:
        self._client = client or os.getpid()

    def compute_hash(self) -> str:
        """The same for all, for it names vLLM's caches."""
        return "lifeline"

    def __reduce__(self) -> tuple[Callable[[int, int], Lifeline], tuple[int, int]]:
        return _arrive, (self._client, os.getpid())


def _arrive(client: int, sender: int) -> Lifeline:
    if os.getpid() not in (client, sender):
        end_with(sender)
    return Lifeline(client)


def end_with(parent: int) -> None:
    """End this process, whatever it is doing, as soon as its parent ends, or that thread of it
    which started this process. At once where the parent has ended.

    The kernel sends the signal: a thread that waited for the parent's end could not run in a
    process that hangs with the interpreter's lock held.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl(PR_SET_PDEATHSIG): {os.strerror(number)}")
    if os.getppid() != parent:
        # it ended before the kernel was asked
        os.kill(os.getpid(), signal.SIGKILL)
