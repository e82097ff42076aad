"""The lease of a run: which of several drivers on one OUTPUT may commit.

A driver is the process of one `phifleet run`. A driver acquires the lease when it starts, and
each acquisition has a generation number: 1, 2, 3, ... The record of a generation,
`_run/lease/000002.json`, is created exclusively, so that no two drivers have the same number.

Only the newest generation may commit. As soon as a newer record exists, all older drivers are
fenced: every worker calls `Lease.check` before it commits, the driver before it finishes, and
`Fenced` ends them. A lease has no expiry: no clock is compared, and a new driver never waits for an
old one that may be dead.

The check and the commit are two steps, so a driver can be fenced between them and commit
nevertheless. That is harmless: a unit's commit record is created exclusively too (`ledger.py`).
The lease therefore does not guarantee exactly-once; it keeps two drivers from doing the same work.

Knows storage; knows nothing of units, Ray or engines.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipelines.errors import Fenced
from pipelines.storage import Storage

DIRECTORY = "_run/lease"
"""The directory of the leases' records, below OUTPUT."""
_RECORD = re.compile(r"(\d{6,})\.json")


@dataclass(frozen=True, slots=True)
class Lease:
    """One driver's lease on one OUTPUT, with its generation number. Small to pickle: the driver
    sends it to its workers."""

    storage: Storage
    generation: int

    def check(self) -> None:
        """Raise Fenced if another driver has acquired the lease since. The message names that
        driver's process and host, and when it acquired the lease. Raises StorageError."""
        newest = self.generation
        while self.storage.exists(_name(newest + 1)):
            newest += 1
        if newest != self.generation:
            raise Fenced(self._message(newest, json.loads(self.storage.read(_name(newest)))))

    def _message(self, newest: int, holder: Mapping[str, Any]) -> str:
        return (
            f"{self.storage.url}: another run took over as generation {newest} (process "
            f"{holder['pid']} on {holder['host']}, {holder['taken_at']}); this run, generation "
            f"{self.generation}, may not commit any more. Let the other run finish, or stop it and "
            "run again"
        )


def take_lease(storage: Storage) -> Lease:
    """Acquire the lease of an OUTPUT as its newest generation, which fences all other drivers at
    once. Raises StorageError."""
    generation = max(generations(storage), default=0) + 1
    # a listing may not show a record that was created a moment ago
    while not storage.create(_name(generation), _holder()):
        generation += 1
    return Lease(storage, generation)


def generations(storage: Storage) -> list[int]:
    """Return the generations that have been taken, in order. Raises StorageError."""
    matches = map(_RECORD.fullmatch, storage.names(DIRECTORY))
    return sorted(int(match[1]) for match in matches if match)


def _name(generation: int) -> str:
    return f"{DIRECTORY}/{generation:06d}.json"


def _holder() -> bytes:
    """Return the content of a lease's record: who has taken it, and when."""
    holder = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return json.dumps(holder).encode()
