"""Writes a driver's heartbeats while its run is executed, and its last one at the end.

Knows nothing of the numbers in them.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pipelines.errors import PhifleetError
from pipelines.ledger.heartbeat import INTERVAL_SECONDS, Heartbeat, last_words, write_heartbeat
from pipelines.storage import Storage

_LOGGER = logging.getLogger(__name__)


@dataclass
class Beating:
    """Writes the heartbeat that `render` returns every few seconds, in a thread.

    A write that fails is logged, and the next one comes as usual: nothing but what `status` shows
    depends on it.
    """

    storage: Storage
    render: Callable[[], Heartbeat]
    interval_seconds: float = INTERVAL_SECONDS
    _sequence: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Write the first heartbeat, and go on in a thread until `end`."""
        self._write(self._render())
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    def end(self, state: str, reason: str = "") -> None:
        """Write the last heartbeat: the state in which the driver ends, and why. Only the first
        call has an effect."""
        if not self._ended.is_set():
            self._ended.set()
            self._write(last_words(self._render(), state, reason))

    def _run(self) -> None:
        while not self._ended.wait(self.interval_seconds):
            self._write(self._render())

    def _render(self) -> Heartbeat:
        heartbeat = replace(
            self.render(),
            host=socket.gethostname(),
            pid=os.getpid(),
            sequence=self._sequence,
            interval_seconds=self.interval_seconds,
        )
        self._sequence += 1
        return heartbeat

    def _write(self, heartbeat: Heartbeat) -> None:
        with self._writing:
            if self._ended.is_set() and not heartbeat.ended:
                return
            try:
                write_heartbeat(self.storage, heartbeat)
            except PhifleetError as error:
                _LOGGER.warning("the heartbeat was not written: %s", error)
