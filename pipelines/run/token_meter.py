"""The meter of a worker's tokens: a few bytes that are replaced at every finished request.

The kernel keeps what was written if the process is killed. With OUTPUT on a disk the meter lies in
OUTPUT. Otherwise it lies in the node's temporary directory, and the next worker on that node stores
the meters of processes that have died in OUTPUT. A living process holds a lock on its meter.

Knows numbers of tokens; knows no Ray and no engine.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines.documents import Usage
from pipelines.ledger.names import WORKERS, worker_name, worker_of
from pipelines.ledger.worker_records import pack_meter
from pipelines.storage import Storage

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class TokenMeter:
    """The open meter of this process. `seconds` returns those since the process began."""

    path: Path
    descriptor: int
    seconds: Callable[[], float]

    def write(self, tokens: Usage) -> None:
        """Replace the tokens of the meter. A failure is logged: the worker's record has the same
        numbers a few seconds later."""
        try:
            os.pwrite(self.descriptor, pack_meter(tokens, self.seconds()), 0)
        except OSError as error:
            _LOGGER.warning("%s: the tokens were not written: %s", self.path, error)

    def close(self, storage: Storage) -> None:
        """Close the meter once the last record is written. One outside OUTPUT is deleted."""
        if not storage.local:
            self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


def open_meter(
    storage: Storage, generation: int, life: str, seconds: Callable[[], float]
) -> TokenMeter | None:
    """Make the meter of this process, or return None if this node cannot keep one.

    Args:
        storage: OUTPUT.
        generation: that of the driver's lease.
        life: the id of this process.
        seconds: returns the seconds since this process began.
    """
    path = _directory(storage) / Path(worker_name(generation, life, "meter")).name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        if not storage.local:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        _LOGGER.warning("%s: the meter of tokens cannot be written: %s", path, error)
        return None
    return TokenMeter(path, descriptor, seconds)


def store_meters_of_dead(storage: Storage) -> None:
    """Store the meters that processes on this node have left behind in OUTPUT, if OUTPUT is not on
    a disk. Raises StorageError."""
    if storage.local:
        return
    for path in _directory(storage).glob("*.meter"):
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                data = file.read()
        except OSError:
            continue  # its process lives, or another worker has just stored it
        if worker_of(path.name):
            storage.write(f"{WORKERS}/{path.name}", data)
        path.unlink(missing_ok=True)


def _directory(storage: Storage) -> Path:
    if storage.local:
        return Path(storage.path(WORKERS))
    name = hashlib.sha256(storage.url.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir(), f"phifleet-meters-{os.getuid()}", name)
