"""The lease of a run: which of several drivers may commit.

A lease is a generation, a number that only rises: who takes it over creates the next one
exclusively, and whoever holds an older one is fenced from then on. No clock is trusted and nothing
waits for a lease to expire. Exactly once does not rest on it, for commits are exclusive: it spares
the work of two drivers that do the same.

Knows storage; nothing of units, Ray or engines.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipelines.errors import Fenced
from pipelines.storage import Storage

DIRECTORY = "_run/lease"


@dataclass(frozen=True, slots=True)
class Lease:
    """One generation of the drivers of one OUTPUT. Small to pickle: workers carry it."""

    storage: Storage
    generation: int

    def check(self) -> None:
        """Raises Fenced where a newer driver has taken the run over."""
        newest = self.generation
        while self.storage.exists(_name(newest + 1)):
            newest += 1
        if newest != self.generation:
            raise Fenced(self._told(newest, json.loads(self.storage.read(_name(newest)))))

    def _told(self, newest: int, holder: Mapping[str, Any]) -> str:
        return (
            f"{self.storage.url}: another run took over as generation {newest} (process "
            f"{holder['pid']} on {holder['host']}, {holder['taken_at']}); this one was generation "
            f"{self.generation} and commits no more"
        )


def take_lease(storage: Storage) -> Lease:
    """Become the newest driver of OUTPUT, and fence all others at once. Raises StorageError."""
    taken = [int(name.removesuffix(".json")) for name in storage.names(DIRECTORY)]
    generation = max(taken, default=0) + 1
    # a listing may lack what was created a moment ago
    while not storage.create(_name(generation), _holder()):
        generation += 1
    return Lease(storage, generation)


def _name(generation: int) -> str:
    return f"{DIRECTORY}/{generation:06d}.json"


def _holder() -> bytes:
    holder = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return json.dumps(holder).encode()
