"""The heartbeat of a driver: a record that it replaces every few seconds while it lives.

`status` learns from it, on any machine, whether the run is alive and how far it is. The record
`_run/lease/heartbeat-GENERATION.json` lies beside that of the driver's lease. Whether it is recent
is decided by the store's own times: those of the record and of a file written just now. Nothing
depends on it but what is shown: a lease has no expiry.

A driver that ends says why in its last heartbeat. The record also has the sums over the commits
that the driver knew, so that a reader of a large run need not read all of them.

Knows storage; knows nothing of Ray or engines.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from pipelines.errors import StorageError
from pipelines.ledger.accounts import CommitSums, sum_commits
from pipelines.ledger.lease import DIRECTORY, generations
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.records import readable
from pipelines.storage import Storage, storage_errors

INTERVAL_SECONDS = 15.0
"""Seconds between two heartbeats."""
RUNNING, STOPPED, FAILED, FENCED = "running", "stopped", "failed", "fenced"
"""The states of a driver that has not finished its run: it works, a signal or a limit stopped it,
an error ended it, or another driver took over. A finished one has the manifest's status."""
_MISSED = 3.0


@dataclass(frozen=True, slots=True)
class KnownCommits:
    """The sums over a set of commits.

    `units` has a bit for each unit, that of unit 0 the lowest. `revisions` is the number of
    revisions that OUTPUT had: with others, some of the numbers may have changed.
    """

    units: int = 0
    revisions: int = 0
    sums: CommitSums = field(default_factory=CommitSums)

    def to_json(self) -> dict[str, Any]:
        """Return the sums as JSON values, compressed: a run may have thousands of processes.
        `from_json` reads them."""
        units = self.units.to_bytes(self.units.bit_length() // 8 + 1, "little")
        sums = json.dumps(self.sums.to_json()).encode()
        return {
            "units": _compressed(units),
            "revisions": self.revisions,
            "sums": _compressed(sums),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> KnownCommits:
        """Return the sums that `to_json` wrote."""
        units = int.from_bytes(_decompressed(values["units"]), "little")
        sums = CommitSums.from_json(json.loads(_decompressed(values["sums"])))
        return cls(units, int(values["revisions"]), sums)


def _compressed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, level=1)).decode()


def _decompressed(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a driver says of itself and its run.

    Attributes:
        generation: that of the driver's lease.
        host: its machine, and `pid` its process there.
        sequence: the number of this heartbeat, counted from 0.
        interval_seconds: seconds until the next.
        state: RUNNING, or how the driver ended.
        reason: why it ended, such as the name of a signal or an error's message.
        phase: the step it is at.
        documents: documents planned so far, and `documents_done` those committed.
        units: units planned so far, and `units_done` those committed.
        workers: workers that have reported.
        tokens_per_second: tokens of finished requests a second, lately.
        eta_seconds: seconds until all is done, None if unknown; between `eta_low` and `eta_high`.
        wall_seconds: seconds since the driver began, `index_seconds` those of indexing.
        earlier_wall_seconds: the wall seconds of all drivers before it, and `earlier_index_seconds`
            their index seconds.
        limits: the section `limits` of the job as this driver keeps it, as JSON values; empty if
            it is not known.
        complete: True if `known` has all commits of which the driver knows.
        known: the sums over commits.
    """

    generation: int
    host: str = ""
    pid: int = 0
    sequence: int = 0
    interval_seconds: float = INTERVAL_SECONDS
    state: str = RUNNING
    reason: str = ""
    phase: str = ""
    documents: int = 0
    documents_done: int = 0
    units: int = 0
    units_done: int = 0
    workers: int = 0
    tokens_per_second: float = 0.0
    eta_seconds: float | None = None
    eta_low: float | None = None
    eta_high: float | None = None
    wall_seconds: float = 0.0
    index_seconds: float = 0.0
    earlier_wall_seconds: float = 0.0
    earlier_index_seconds: float = 0.0
    limits: Mapping[str, Any] = field(default_factory=dict)
    complete: bool = False
    known: KnownCommits = field(default_factory=KnownCommits)

    @property
    def ended(self) -> bool:
        """True if the driver has said that it ended."""
        return self.state != RUNNING

    def to_json(self) -> bytes:
        """Return the record as JSON in UTF-8; `from_json` reads it."""
        values = {name: getattr(self, name) for name in _PLAIN}
        return json.dumps(values | {"known": self.known.to_json()}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Heartbeat:
        """Return the heartbeat that `to_json` wrote. Unknown keys are ignored."""
        values = json.loads(data)
        known = KnownCommits.from_json(values["known"])
        return cls(**{name: values[name] for name in _PLAIN if name in values}, known=known)


_PLAIN = tuple(f.name for f in fields(Heartbeat) if f.name != "known")


def write_heartbeat(storage: Storage, heartbeat: Heartbeat) -> None:
    """Write or replace the heartbeat of its generation. Raises StorageError."""
    storage.write(_name(heartbeat.generation), heartbeat.to_json())


def read_heartbeat(storage: Storage, generation: int) -> Heartbeat | None:
    """Return the heartbeat of a generation, or None if it has none. Raises StorageError, and
    OutputError if it is damaged."""
    data = storage.read_if_exists(_name(generation))
    if data is None:
        return None
    with readable(storage.path(_name(generation))):
        return Heartbeat.from_json(data)


@dataclass(frozen=True, slots=True)
class Sessions:
    """What the heartbeats of several drivers say together: the sums over the commits that the
    newest complete one knew, and the seconds of all of them."""

    known: KnownCommits = field(default_factory=KnownCommits)
    wall_seconds: float = 0.0
    index_seconds: float = 0.0


def read_sessions(storage: Storage, before: int | None = None) -> Sessions:
    """Return what the drivers of all generations have said, or of those below `before`.

    Reads back to the newest heartbeat that is complete, which has the seconds of those before it.
    Raises as `read_heartbeat` does.
    """
    wall_seconds = index_seconds = 0.0
    for generation in reversed(generations(storage)):
        earlier = before is None or generation < before
        heartbeat = read_heartbeat(storage, generation) if earlier else None
        if heartbeat is None:
            continue
        wall_seconds += heartbeat.wall_seconds
        index_seconds += heartbeat.index_seconds
        if heartbeat.complete:
            return Sessions(
                heartbeat.known,
                wall_seconds + heartbeat.earlier_wall_seconds,
                index_seconds + heartbeat.earlier_index_seconds,
            )
    return Sessions(KnownCommits(), wall_seconds, index_seconds)


def read_known(ledger: Ledger, known: KnownCommits, committed: set[int]) -> KnownCommits:
    """Return the sums over all committed units, of which `known` may have some already.

    Reads the commits that are not in it, or all if units were revised since. Raises StorageError,
    and OutputError for a damaged commit.
    """
    mask = sum_of_bits(committed)
    revisions = sum(len(plans) for plans in ledger.revisions().values())
    if known.revisions != revisions or known.units & ~mask:
        known = KnownCommits()
    new = [unit for unit in sorted(committed) if not known.units >> unit & 1]
    sums = known.sums + sum_commits(ledger.commits(new))
    return KnownCommits(mask, revisions, sums)


def sum_of_bits(units: set[int]) -> int:
    """Return a number with a bit for each unit."""
    data = bytearray(max(units, default=0) // 8 + 1)
    for unit in units:
        data[unit // 8] |= 1 << unit % 8
    return int.from_bytes(data, "little")


def silent_seconds(storage: Storage, heartbeat: Heartbeat) -> float | None:
    """Return the seconds since a heartbeat was written, by the store's times: those of the record
    and of a file that is written and deleted for this. None if nothing can be written."""
    probe = f"{DIRECTORY}/probe-{uuid.uuid4().hex}"
    try:
        storage.write(probe, b"")
        try:
            now = _written(storage, probe)
        finally:
            storage.remove(probe)
    except StorageError:
        return None
    return max(0.0, now - _written(storage, _name(heartbeat.generation)))


def is_recent(silent: float, heartbeat: Heartbeat) -> bool:
    """Return whether a driver that has been silent for so many seconds can be alive."""
    return silent < _MISSED * heartbeat.interval_seconds


def beats_again(
    storage: Storage, heartbeat: Heartbeat, sleep: Callable[[float], None] = time.sleep
) -> bool:
    """Wait for the next heartbeat, for the time in which a living driver writes one; return whether
    it came. Needs no permission to write."""
    step = heartbeat.interval_seconds / 3
    for _ in range(round(_MISSED * 3)):
        sleep(step)
        latest = read_heartbeat(storage, heartbeat.generation)
        if latest is not None and latest.sequence != heartbeat.sequence:
            return True
    return False


def last_words(heartbeat: Heartbeat, state: str, reason: str) -> Heartbeat:
    """Return the last heartbeat of a driver, with its state and why it ended."""
    return replace(heartbeat, state=state, reason=reason, eta_seconds=None, tokens_per_second=0.0)


def _written(storage: Storage, name: str) -> float:
    """Return when a file was written, in seconds since 1970 by the store's clock."""
    with storage_errors("read the time", storage.path(name)):
        modified = storage.filesystem.modified(storage.path(name))
        return float(modified.timestamp())


def _name(generation: int) -> str:
    return f"{DIRECTORY}/heartbeat-{generation:06d}.json"
