"""The attempts at units: records that reveal which document crashes the workers that read it.

A worker that starts a unit creates a record, `_run/attempts/UNIT-GENERATION-RANDOM`, and deletes it
when the unit is committed or the run ends in an orderly way. A record that remains therefore
belongs to an attempt whose worker or engine died, or to one that is still running elsewhere.

After `ISOLATE_AFTER` such attempts the unit is read in isolation mode: with the engine exclusively,
one document at a time. Before each document the worker writes the document's position and id to
`RECORD.document`. If it dies, the next attempt learns from this file which document was in flight.
A document that was in flight in `DEAD_LETTER_AFTER` attempts is not read again: it becomes a dead
letter, and the other documents of its unit are answered.

Unit and generation are part of a record's name, so that one listing of the directory shows all
attempts. Knows storage; knows nothing of Ray, engines or answers.
"""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.storage import Storage

ATTEMPTS = "_run/attempts"
"""The directory of the records, below OUTPUT."""
ISOLATE_AFTER = 2
"""Attempts without a commit after which a unit is read in isolation mode."""
DEAD_LETTER_AFTER = 2
"""Attempts that died with the same document in flight, after which this document becomes a dead
letter."""
MAX_ATTEMPTS = 20
"""Attempts at one unit by the workers of one driver that ended with the death of the worker or its
engine, after which the run fails."""
_DOCUMENT = ".document"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a unit.

    `record` is the name of its record. `before` are the names of the unit's earlier records that
    still exist, and `own_before` the number of those made by the same driver's workers.
    `deaths_by_position` is, by a document's position in the unit, the number of earlier attempts
    that had it in flight when they died.
    """

    unit: int
    record: str
    before: Sequence[str]
    own_before: int
    deaths_by_position: Mapping[int, int]

    @property
    def number(self) -> int:
        """The number of this attempt among the attempts at the unit, by any driver, that have a
        record; 1 is the first."""
        return len(self.before) + 1

    @property
    def isolated(self) -> bool:
        """True if the unit must be read in isolation mode, one document at a time."""
        return len(self.before) >= ISOLATE_AFTER


@dataclass(frozen=True, slots=True)
class Attempts:
    """Creates, reads and deletes the records of attempts at the units of the OUTPUT in `storage`.

    `generation` is that of the driver's lease, and part of the name of each record that the
    driver's workers create.
    """

    storage: Storage
    generation: int

    def begin(self, unit: int) -> Attempt:
        """Create the record of a new attempt at the unit number `unit`, and return the attempt with
        what the records of earlier attempts tell. Raises StorageError."""
        records = [name for name in self.storage.names(ATTEMPTS) if _unit(name) == unit]
        before = [name for name in records if not name.endswith(_DOCUMENT)]
        # a record may have been deleted since it was listed
        in_flight = Counter(
            int(json.loads(document)["place"])
            for name in records
            if name.endswith(_DOCUMENT)
            and (document := self.storage.read_if_exists(f"{ATTEMPTS}/{name}")) is not None
        )
        record = f"{unit:06d}-{self.generation:06d}-{uuid.uuid4().hex[:12]}"
        process = {"host": socket.gethostname(), "pid": os.getpid()}
        self.storage.create(f"{ATTEMPTS}/{record}", json.dumps(process).encode())
        own_before = sum(_generation(name) == self.generation for name in before)
        return Attempt(unit, record, before, own_before, in_flight)

    def record_document(self, attempt: Attempt, position: int, doc_id: str | int) -> None:
        """Record that an isolated attempt is about to send the document at `position` in the unit,
        counted from 0, to the engine, and no other. Replaces the attempt's earlier record of a
        document. Raises StorageError."""
        document = json.dumps({"place": position, "doc_id": doc_id}).encode()
        self.storage.write(f"{ATTEMPTS}/{attempt.record}{_DOCUMENT}", document)

    def end(self, attempt: Attempt, *, committed: bool) -> None:
        """Delete the record of an attempt that has ended without a death. With `committed`, the
        unit is committed by some worker: delete the records of its earlier attempts too. Raises
        StorageError."""
        for record in (attempt.record, *(attempt.before if committed else ())):
            self.storage.remove(f"{ATTEMPTS}/{record}")
            if attempt.isolated:
                self.storage.remove(f"{ATTEMPTS}/{record}{_DOCUMENT}")

    def end_all(self) -> None:
        """Delete all records of this generation. Called after the driver itself has ended its
        workers, so no document is to blame for their attempts. Raises StorageError."""
        for name in self.storage.names(ATTEMPTS):
            if _generation(name) == self.generation:
                self.storage.remove(f"{ATTEMPTS}/{name}")


def _unit(name: str) -> int:
    return int(name.split("-")[0])


def _generation(name: str) -> int:
    return int(name.split("-")[1])
