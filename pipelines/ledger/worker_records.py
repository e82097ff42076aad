"""The records of workers' processes: what each has used since it began, committed or not.

A worker writes its record, `_run/workers/GENERATION-LIFE.json`, when it begins, every few seconds,
and at an orderly end. If its process dies, the record remains and shows the time and the tokens
that reached no commit. It also writes a meter, `GENERATION-LIFE.meter`, at each finished request:
its tokens are right even if the process is killed at that moment.

When a run finishes, the driver merges the records into one file. They are final then, as the
manifest is, and a later reader needs one request for all of them.

Knows storage; knows nothing of engines or Ray.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from pipelines.documents import Usage
from pipelines.ledger.names import WORKERS, worker_name, worker_of
from pipelines.ledger.records import readable
from pipelines.ledger.used import WORKER_DIED, Used, subtract_usage, usage_from_json, usage_to_json
from pipelines.storage import Storage

ENDED = "ended"
"""The value of `WorkerRecord.ended` of a process that had no more work."""
MERGED = f"{WORKERS}/merged"
"""The directory of merged records, `GENERATION.json`."""
_METER = struct.Struct("<5qd")
_PARALLEL = 32
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class UnitInHand:
    """A unit that a worker is answering: its number, its documents, how many of them are finished,
    the seconds since the worker got it, and the number of the attempt.

    `oldest_document` is the id of the document that is being answered for the longest time,
    `oldest_seconds`; None without any.
    """

    unit: int
    documents: int
    finished: int
    seconds: float
    attempt: int = 1
    oldest_document: str | None = None
    oldest_seconds: float = 0.0

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> UnitInHand:
        """Return the unit of a record. Unknown keys are ignored: a newer version may have written
        them."""
        return cls(**{name: values[name] for name in cls.__slots__ if name in values})


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """What one process of a worker has used so far.

    Attributes:
        life: the id of the process.
        worker: the id of the worker; its processes follow one another.
        generation: the generation of the driver's lease.
        pool: `short` or `long`.
        host: the machine.
        sequence: the number of this version of the record, counted from 0.
        used: engine time and waste since the process began.
        tokens: tokens of all finished requests, whatever became of them.
        in_hand: the units in hand.
        ended: why the process ended, if it ended in an orderly way; else "".
        kv_tokens_in_flight: KV cache tokens that admitted requests reserve now.
        kv_cache_tokens: the capacity of the engine's KV cache, in tokens; 0 before it is known.
    """

    life: str
    worker: str
    generation: int
    pool: str
    host: str
    sequence: int = 0
    used: Used = field(default_factory=Used)
    tokens: Usage = field(default_factory=Usage)
    in_hand: tuple[UnitInHand, ...] = ()
    ended: str = ""
    kv_tokens_in_flight: int = 0
    kv_cache_tokens: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values; `from_json` reads them."""
        values = {name: getattr(self, name) for name in _PLAIN}
        in_hand = [
            {name: getattr(unit, name) for name in UnitInHand.__slots__} for unit in self.in_hand
        ]
        return values | {
            "used": self.used.to_json(),
            "tokens": usage_to_json(self.tokens),
            "in_hand": in_hand,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> WorkerRecord:
        """Return the record that `to_json` wrote. Keys of older versions may be missing, and those
        of newer ones are ignored."""
        return cls(
            **{name: values[name] for name in _PLAIN if name in values},
            used=Used.from_json(values["used"]),
            tokens=usage_from_json(values["tokens"]),
            in_hand=tuple(map(UnitInHand.from_json, values["in_hand"])),
        )

    def with_meter(self, tokens: Usage, seconds: float) -> WorkerRecord:
        """Return the record with the tokens of the meter and the seconds until they were counted,
        if these are more."""
        if subtract_usage(tokens, self.tokens) == Usage():
            return self
        engine_seconds = max(self.used.engine_seconds, seconds)
        return replace(self, tokens=tokens, used=replace(self.used, engine_seconds=engine_seconds))


_PLAIN = (
    *("life", "worker", "generation", "pool", "host", "sequence", "ended"),
    # older versions did not write these
    *("kv_tokens_in_flight", "kv_cache_tokens"),
)


def newest_processes(records: Iterable[WorkerRecord]) -> list[WorkerRecord]:
    """Return the record of the last process of each worker, the one with the oldest unit in hand
    first."""
    newest = {record.worker: record for record in records}
    return sorted(
        newest.values(), key=lambda r: -max((unit.seconds for unit in r.in_hand), default=0.0)
    )


def pack_meter(tokens: Usage, seconds: float) -> bytes:
    """Return the content of a meter, which always has the same length: it is replaced in place."""
    return _METER.pack(*usage_to_json(tokens).values(), seconds)


def write_worker_record(storage: Storage, record: WorkerRecord) -> None:
    """Write or replace the record of a process. Raises StorageError."""
    name = worker_name(record.generation, record.life)
    storage.write(name, json.dumps(record.to_json()).encode())


def read_worker_records(storage: Storage) -> list[WorkerRecord]:
    """Return the records of all processes, oldest generation first.

    Raises StorageError, and OutputError for a damaged record.
    """
    entries = [entry for name in storage.names(WORKERS) if (entry := worker_of(name))]
    records = {record.life: record for record in _read_merged(storage)}
    # a merged record is in a manifest: a later version of it does not count any more
    entries = [entry for entry in entries if entry[1] not in records]
    records |= {record.life: record for record in _read_single(storage, entries)}
    for life, meter in _read_meters(storage, entries).items():
        if life in records and meter is not None:
            records[life] = records[life].with_meter(*meter)
    return sorted(records.values(), key=lambda record: (record.generation, record.life))


def settled(
    records: Iterable[WorkerRecord], ends: Mapping[int, str], finished: int | None = None
) -> list[WorkerRecord]:
    """Return records with the reason of the end of each process, which has not stated one itself.

    A process that was followed by another one of the same worker has died.

    Args:
        records: the records of processes that have all ended.
        ends: by generation, why its driver ended its workers, for those where that is known.
        finished: the generation whose workers had no more work; None if there is none.
    """
    records = list(records)
    newest = {record.worker: record.life for record in records}

    def end_of(record: WorkerRecord) -> str:
        if record.ended:
            return record.ended
        if newest[record.worker] != record.life:
            return WORKER_DIED
        return ENDED if record.generation == finished else ends.get(record.generation, WORKER_DIED)

    return [replace(record, ended=end_of(record)) for record in records]


def merge_worker_records(
    storage: Storage, records: Sequence[WorkerRecord], generation: int
) -> None:
    """Write the records into one file, and delete the single ones, if there are any.

    `records` are those of all generations up to `generation`, and of no later one. May be repeated,
    and interrupted at any point: a process is never counted twice, because readers tell processes
    apart by their ids. Raises StorageError.
    """
    if not any(map(worker_of, storage.names(WORKERS))):
        return
    name = f"{generation:06d}.json"
    earlier = [other for other in storage.names(MERGED) if other < name]
    content = [record.to_json() for record in records]
    storage.write(f"{MERGED}/{name}", json.dumps(content).encode())
    lives = {record.life for record in records}
    storage.remove_matching(WORKERS, lambda file: (worker_of(file) or (0, "", ""))[1] in lives)
    for other in earlier:
        storage.remove(f"{MERGED}/{other}")


def _read_merged(storage: Storage) -> list[WorkerRecord]:
    files = [f"{MERGED}/{name}" for name in storage.names(MERGED)]
    values = _read_all(storage, files, json.loads)
    return [_parse(storage, name, value) for name in files for value in values.get(name, ())]


def _read_single(
    storage: Storage, entries: Sequence[tuple[int, str, str]]
) -> Iterator[WorkerRecord]:
    names = [worker_name(*entry) for entry in entries if entry[2] == "json"]
    for name, value in _read_all(storage, names, json.loads).items():
        yield _parse(storage, name, value)


def _read_meters(
    storage: Storage, entries: Sequence[tuple[int, str, str]]
) -> dict[str, tuple[Usage, float] | None]:
    """Return the content of each meter by the id of its process, None if nothing was counted."""
    lives = {worker_name(*entry): entry[1] for entry in entries if entry[2] == "meter"}
    return {lives[name]: meter for name, meter in _read_all(storage, lives, _unpack).items()}


def _parse(storage: Storage, name: str, value: Mapping[str, Any]) -> WorkerRecord:
    with readable(storage.path(name)):
        return WorkerRecord.from_json(value)


def _unpack(data: bytes) -> tuple[Usage, float] | None:
    """Return tokens and seconds of a meter, or None if nothing was counted yet."""
    if len(data) != _METER.size:
        return None
    *tokens, seconds = _METER.unpack(data)
    return Usage(*tokens), seconds


def _read_all(storage: Storage, names: Iterable[str], parse: Callable[[bytes], T]) -> dict[str, T]:
    """Return the parsed content of files by name, without those that were deleted meanwhile."""

    def read(name: str) -> tuple[str, T] | None:
        data = storage.read_if_exists(name)
        if data is None:
            return None
        with readable(storage.path(name)):
            return name, parse(data)

    with ThreadPoolExecutor(_PARALLEL) as pool:
        return dict(entry for entry in pool.map(read, names) if entry is not None)
