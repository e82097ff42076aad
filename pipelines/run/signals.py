"""Signals that ask this process to stop, each of them told once.

GNU timeout and other programs signal a command and then its process group: the command gets two
within microseconds, and they are one request. Knows nothing of what is stopped.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM)
_ONE_REQUEST_SECONDS = 1.0


class StopRequests:
    """Calls a handler for SIGINT and SIGTERM, but not within a second after the last call. Used in
    the main thread, as Python wants it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._called: float | None = None

    def handle(self, handler: Callable[[signal.Signals], None]) -> None:
        """Have `handler` called from now on, instead of the one before."""

        def heed(number: int, frame: FrameType | None) -> None:
            now = self._clock()
            if self._called is None or now - self._called > _ONE_REQUEST_SECONDS:
                self._called = now
                handler(signal.Signals(number))

        for each in STOPPING:
            signal.signal(each, heed)


def end_at_once(number: signal.Signals) -> None:
    """End this process as the signal does where nobody handles it."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def interrupt(number: signal.Signals) -> None:
    """Raises KeyboardInterrupt."""
    raise KeyboardInterrupt(number.name)
