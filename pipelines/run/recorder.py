"""Keeps a worker's account in OUTPUT while its process lives, so that nothing is lost if it dies.

A thread writes the worker's record every few seconds, since storage may be slow. The tokens are
also written to a meter (`token_meter.py`). Knows no Ray and no engine.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from pipelines.errors import PhifleetError
from pipelines.ledger.used import FAILED
from pipelines.ledger.worker_records import WorkerRecord, write_worker_record
from pipelines.run.token_meter import TokenMeter, open_meter, store_meters_of_dead
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
    _meter: TokenMeter | None = field(default=None, init=False)

    def start(self) -> None:
        """Write the first version, and go on in a thread until `end`."""
        self._write("")
        generation, life = self.identity.generation, self.identity.life
        self._meter = open_meter(self.storage, generation, life, lambda: self.account.seconds)
        self.account.meter = self._meter.write if self._meter else None
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
        if self._write(reason) and self._meter is not None:
            self.account.meter = None
            self._meter.close(self.storage)

    def record(self, ended: str = "") -> WorkerRecord:
        """Return the process's record as of now. `ended` is the reason if it ends."""
        account, progress = self.account, self.account.progress
        return replace(
            self.identity,
            used=account.clock.total(),
            tokens=account.tokens,
            in_hand=account.in_hand(),
            ended=ended,
            kv_tokens_in_flight=progress.kv_tokens_in_flight,
            kv_cache_tokens=progress.kv_cache_tokens,
        )

    def _run(self) -> None:
        try:
            store_meters_of_dead(self.storage)
        except PhifleetError as error:
            _LOGGER.warning("meters of processes that died were not stored: %s", error)
        while not self._stop.wait(self.interval_seconds):
            self._write("")

    def _write(self, ended: str) -> bool:
        """Write a version of the record; return False if the storage failed."""
        record = self.record(ended)
        self.identity = replace(self.identity, sequence=self.identity.sequence + 1)
        try:
            write_worker_record(self.storage, record)
        except PhifleetError as error:
            _LOGGER.warning("the worker's record was not written: %s", error)
            return False
        return True
