"""Signals that ask this process to stop: several at once are one request.

GNU timeout and other programs signal a command and then its process group, so that the command gets
two signals within microseconds. Knows nothing of what is stopped.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM)
"""The signals that ask a process to stop."""
# Signals within this time of the last one handled belong to the same request.
_ONE_REQUEST_SECONDS = 1.0


class StopRequests:
    """Calls a handler for SIGINT and SIGTERM, but not within a second after its last call.

    Use it in the main thread: Python allows signal handlers only there. `clock` returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._called: float | None = None

    def handle(self, handler: Callable[[signal.Signals], None]) -> None:
        """Call `handler` with the signal for SIGINT and SIGTERM from now on, instead of the earlier
        handler.

        A signal within a second after the last call of the earlier handler belongs to the same
        request, and does not call the new one.
        """

        def on_signal(number: int, frame: FrameType | None) -> None:
            now = self._clock()
            if self._called is None or now - self._called > _ONE_REQUEST_SECONDS:
                self._called = now
                handler(signal.Signals(number))

        for stopping in STOPPING:
            signal.signal(stopping, on_signal)


def end_at_once(number: signal.Signals) -> None:
    """End this process by the signal's default action, as a handler for StopRequests: no clean-up
    runs."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def interrupt(number: signal.Signals) -> None:
    """Raise KeyboardInterrupt with the signal's name, as a handler for StopRequests."""
    raise KeyboardInterrupt(number.name)
