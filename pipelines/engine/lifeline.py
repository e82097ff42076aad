"""Ends the processes of an engine when the process that started it ends.

vLLM's EngineCore waits for its client for ever, even if the client was killed, and keeps the
engine's memory. A plugin of vLLM would be too late to end it: while the engine starts, EngineCore
waits for its client before it loads plugins. It unpickles its configuration earlier, and a
`Lifeline` is a part of that. Knows processes; nothing of engines.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


class Lifeline:
    """A part of vLLM's configuration that ends a process of the engine with its parent.

    Each process of an engine receives the configuration from its parent as a pickle, and calls
    `end_with` when it is unpickled there. vLLM accepts any object with `compute_hash` as
    `additional_config`.
    """

    def __init__(self, client: int | None = None, carried: object = None) -> None:
        """`client` is the id of the process that uses the engine; None stands for this process.
        `carried` is an object that the engine's processes need; pickle must know it."""
        self._client = client or os.getpid()
        self.carried = carried

    def compute_hash(self) -> str:
        """Return a constant. vLLM names its caches by a hash of the configuration, and a Lifeline
        changes nothing that is cached."""
        return "lifeline"

    def __reduce__(self) -> tuple[Callable[[int, int, object], Lifeline], tuple[int, int, object]]:
        return _unpickle, (self._client, os.getpid(), self.carried)


def _unpickle(client: int, sender: int, carried: object) -> Lifeline:
    # in the client itself and in the sender nothing is to end
    if os.getpid() not in (client, sender):
        end_with(sender)
    return Lifeline(client, carried)


def end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, or when the parent's thread that
    started this process ends; immediately if the parent has already ended.

    A thread that waited for the parent's end could not run in a process that hangs with the
    interpreter's lock held. Raises OSError if the kernel rejects the request.

    Args:
        parent: the parent's process id.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL)) != 0:
        number = ctypes.get_errno()
        raise OSError(
            number,
            f"the kernel rejected prctl(PR_SET_PDEATHSIG): {os.strerror(number)}; allow this call "
            "in the container's seccomp profile",
        )
    if os.getppid() != parent:
        # the parent ended before the request to the kernel
        os.kill(os.getpid(), signal.SIGKILL)
