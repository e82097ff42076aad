"""Keeps a worker's account in OUTPUT while its process lives, so that nothing is lost if it dies.

A thread writes the worker's record every few seconds, since storage may be slow. On a local disk
the tokens are also written to a meter at each finished request: a few bytes at a fixed place, which
the kernel keeps if the process is killed. Knows no Ray and no engine.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipelines.documents import Usage
from pipelines.errors import PhifleetError
from pipelines.ledger.names import worker_name
from pipelines.ledger.used import FAILED
from pipelines.ledger.worker_records import WorkerRecord, pack_meter, write_worker_record
from pipelines.run.worker_account import WorkerAccount
from pipelines.storage import Storage

RECORD_SECONDS = 15.0
"""Seconds between two versions of a worker's record."""
_LOGGER = logging.getLogger(__name__)


@dataclass
class Recorder:
    """Writes the record of one process. `identity` has its ids; the rest of it is replaced.

    A failed write is logged and repeated with the next version: the record is for the bill, and no
    answer depends on it.
    """

    storage: Storage
    identity: WorkerRecord
    account: WorkerAccount
    interval_seconds: float = RECORD_SECONDS
    _stop: threading.Event = field(default_factory=threading.Event, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _meter: int | None = field(default=None, init=False)

    def start(self) -> None:
        """Write the first version, and go on in a thread until `end`."""
        self._write("")
        self._open_meter()
        self._thread = threading.Thread(target=self._run, name="worker record", daemon=True)
        self._thread.start()

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Start; if the block raises, end with the reason FAILED."""
        self.start()
        try:
            yield
        except BaseException:
            self.end(FAILED)
            raise

    def end(self, reason: str) -> None:
        """Write the last version, with the reason of the end. May be called again."""
        if self._stop.is_set() or self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._write(reason)

    def _run(self) -> None:
        while not self._stop.wait(self.interval_seconds):
            self._write("")

    def _write(self, ended: str) -> None:
        account = self.account
        record = replace(
            self.identity,
            used=account.clock.total(),
            tokens=account.tokens,
            in_hand=account.in_hand(),
            ended=ended,
        )
        self.identity = replace(self.identity, sequence=self.identity.sequence + 1)
        try:
            write_worker_record(self.storage, record)
        except PhifleetError as error:
            _LOGGER.warning("the worker's record was not written: %s", error)

    def _open_meter(self) -> None:
        if not self.storage.local:
            return
        name = worker_name(self.identity.generation, self.identity.life, "meter")
        try:
            flags = os.O_WRONLY | os.O_CREAT
            self._meter = os.open(Path(self.storage.path(name)), flags, 0o644)
        except OSError as error:
            _LOGGER.warning("the worker's meter cannot be written: %s", error)
            return
        self.account.meter = self._write_meter

    def _write_meter(self, tokens: Usage) -> None:
        assert self._meter is not None
        try:
            os.pwrite(self._meter, pack_meter(tokens, self.account.seconds), 0)
        except OSError as error:
            # a full disk: the record, a few seconds later, has the same numbers
            _LOGGER.warning("the worker's meter was not written: %s", error)
