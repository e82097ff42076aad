"""Attempts at units: what is left of them tells which document kills whoever reads it.

Whoever starts a unit leaves a record, and takes it away at the end. A record that stays is of an
attempt that died, or of one that is still under way elsewhere. A unit that was attempted in vain is
read carefully, a document at a time, and the record says which: one that is named again and again
is the one to leave out.

A record is named `UNIT-GENERATION-WHO`, so that one listing tells all; knows storage, nothing of
Ray, engines or answers.
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
ISOLATE_AFTER = 2
"""Attempts in vain after which a unit is read a document at a time."""
DEAD_LETTER_AFTER = 2
"""Attempts that died with the same document in hand: it is not read again."""
MAX_ATTEMPTS = 20
"""Attempts at one unit that one driver sees die with their workers before it gives up."""
_DOCUMENT = ".document"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a unit. `before` are the records of earlier ones, `own_before` how many of
    them are of the same driver's workers, `named` how many had a document in hand, by its place in
    the unit."""

    unit: int
    record: str
    before: Sequence[str]
    own_before: int
    deaths_by_position: Mapping[int, int]

    @property
    def number(self) -> int:
        """1 for the first attempt."""
        return len(self.before) + 1

    @property
    def isolated(self) -> bool:
        return len(self.before) >= ISOLATE_AFTER


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempts at the units of one run, by the workers of one driver's generation."""

    storage: Storage
    generation: int

    def begin(self, unit: int) -> Attempt:
        """Leave a record, and see what others have left. Raises StorageError."""
        there = [name for name in self.storage.names(ATTEMPTS) if _unit(name) == unit]
        before = [name for name in there if not name.endswith(_DOCUMENT)]
        # one may have been taken away since it was listed
        named = Counter(
            int(json.loads(told)["place"])
            for name in there
            if name.endswith(_DOCUMENT)
            and (told := self.storage.read_if_exists(f"{ATTEMPTS}/{name}")) is not None
        )
        record = f"{unit:06d}-{self.generation:06d}-{uuid.uuid4().hex[:12]}"
        who = {"host": socket.gethostname(), "pid": os.getpid()}
        self.storage.create(f"{ATTEMPTS}/{record}", json.dumps(who).encode())
        own = sum(_generation(name) == self.generation for name in before)
        return Attempt(unit, record, before, own, named)

    def record_document(self, attempt: Attempt, place: int, doc_id: str | int) -> None:
        """Say which document is about to be read, the only one that this attempt has in hand."""
        document = json.dumps({"place": place, "doc_id": doc_id}).encode()
        self.storage.write(f"{ATTEMPTS}/{attempt.record}{_DOCUMENT}", document)

    def end(self, attempt: Attempt, *, committed: bool) -> None:
        """Take the record away, and all others of a unit that is committed."""
        for record in (attempt.record, *(attempt.before if committed else ())):
            self.storage.remove(f"{ATTEMPTS}/{record}")
            if attempt.isolated:
                self.storage.remove(f"{ATTEMPTS}/{record}{_DOCUMENT}")

    def end_all(self) -> None:
        """Take away what this generation's workers left when their driver stopped them."""
        for name in self.storage.names(ATTEMPTS):
            if _generation(name) == self.generation:
                self.storage.remove(f"{ATTEMPTS}/{name}")


def _unit(name: str) -> int:
    return int(name.split("-")[0])


def _generation(name: str) -> int:
    return int(name.split("-")[1])
