"""The account of a run: what its commits and its workers have used, in all attempts and sessions.

What is committed is in the commits. What a worker has used beyond its commits is in the record of
its process, and is the difference between that record and the sum over the commits that name it.
Both together are the bill: nothing is counted twice, and nothing that was recorded is left out.

Commits never change, so that the sum over some of them holds for ever; `CommitSums` is such a sum.

Knows commits and records as values; reads and writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from pipelines.documents import Usage
from pipelines.ledger.records import Commit, sum_counts
from pipelines.ledger.used import (
    WORKER_DIED,
    Used,
    Waste,
    Work,
    subtract_usage,
    sum_waste,
    usage_from_json,
    usage_to_json,
)
from pipelines.ledger.worker_records import ENDED, WorkerRecord


@dataclass(frozen=True, slots=True)
class DeviceTime:
    """The seconds that engines held one kind of device: of each engine, GPU and CPU together."""

    engine_seconds: float = 0.0
    gpu_seconds: float = 0.0
    cpu_seconds: float = 0.0

    def __add__(self, other: DeviceTime) -> DeviceTime:
        return DeviceTime(
            self.engine_seconds + other.engine_seconds,
            self.gpu_seconds + other.gpu_seconds,
            self.cpu_seconds + other.cpu_seconds,
        )


_COUNTS = ("units", "answered", "dead_letters", "reasons", "checks")


@dataclass(frozen=True, slots=True)
class Account:
    """Totals of a run.

    Attributes:
        units: committed units.
        answered: documents in them with an answer.
        dead_letters: documents in them without.
        reasons: dead letters by reason, those of single tasks included.
        checks: answers in which a check found something, by the check's name.
        tokens: tokens of the requests whose answers are committed.
        used: engine time and waste of committed and uncommitted work. Its seconds are the bill.
        in_hand: the part of the engine time, and further tokens, of units that living workers have
            in hand.
        devices: the engine time by device.
    """

    units: int = 0
    answered: int = 0
    dead_letters: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    checks: Mapping[str, int] = field(default_factory=dict)
    tokens: Usage = field(default_factory=Usage)
    used: Used = field(default_factory=Used)
    in_hand: Waste = field(default_factory=Waste)
    devices: Mapping[str, DeviceTime] = field(default_factory=dict)

    def __add__(self, other: Account) -> Account:
        return Account(
            units=self.units + other.units,
            answered=self.answered + other.answered,
            dead_letters=self.dead_letters + other.dead_letters,
            reasons=sum_counts((self.reasons, other.reasons)),
            checks=sum_counts((self.checks, other.checks)),
            tokens=self.tokens + other.tokens,
            used=self.used + other.used,
            in_hand=self.in_hand + other.in_hand,
            devices=_sum_devices(self.devices, other.devices),
        )

    @property
    def documents(self) -> int:
        """Committed documents: answered and dead letters."""
        return self.answered + self.dead_letters

    @property
    def all_tokens(self) -> Usage:
        """The tokens of all finished requests: committed, wasted and in hand."""
        return self.tokens + self.used.wasted.tokens + self.in_hand.tokens

    @property
    def gpu_seconds(self) -> float:
        """The seconds of all GPUs together."""
        return sum(time.gpu_seconds for time in self.devices.values())

    def to_json(self) -> dict[str, Any]:
        """Return the account as JSON values; `from_json` reads them."""
        return {
            "units": self.units,
            "answered": self.answered,
            "dead_letters": self.dead_letters,
            "reasons": dict(self.reasons),
            "checks": dict(self.checks),
            "tokens": usage_to_json(self.tokens),
            "used": self.used.to_json(),
            "in_hand": self.in_hand.to_json(),
            "devices": {
                name: {f.name: round(getattr(time, f.name), 6) for f in fields(DeviceTime)}
                for name, time in self.devices.items()
            },
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Account:
        """Return the account that `to_json` wrote."""
        return cls(
            **{name: values[name] for name in _COUNTS},
            tokens=usage_from_json(values["tokens"]),
            used=Used.from_json(values["used"]),
            in_hand=Waste.from_json(values["in_hand"]),
            devices={name: DeviceTime(**time) for name, time in values["devices"].items()},
        )


@dataclass(frozen=True, slots=True)
class Charged:
    """What the commits of one worker's process state: time and waste, and tokens of answers."""

    used: Used = field(default_factory=Used)
    tokens: Usage = field(default_factory=Usage)

    def __add__(self, other: Charged) -> Charged:
        return Charged(self.used + other.used, self.tokens + other.tokens)


@dataclass(frozen=True, slots=True)
class CommitSums:
    """The sum over some commits: `account`, and what was charged by the process that made them."""

    account: Account = field(default_factory=Account)
    charged: Mapping[str, Charged] = field(default_factory=dict)

    def __add__(self, other: CommitSums) -> CommitSums:
        charged = dict(self.charged)
        for life, part in other.charged.items():
            charged[life] = charged[life] + part if life in charged else part
        return CommitSums(self.account + other.account, charged)

    def to_json(self) -> dict[str, Any]:
        """Return the sums as JSON values; `from_json` reads them."""
        charged = {
            life: {"used": part.used.to_json(), "tokens": usage_to_json(part.tokens)}
            for life, part in self.charged.items()
        }
        return {"account": self.account.to_json(), "charged": charged}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> CommitSums:
        """Return the sums that `to_json` wrote."""
        charged = {
            life: Charged(Used.from_json(part["used"]), usage_from_json(part["tokens"]))
            for life, part in values["charged"].items()
        }
        return cls(Account.from_json(values["account"]), charged)


def sum_commits(commits: Iterable[Commit]) -> CommitSums:
    """Return the sum over commits of different units."""
    # in halves, so that each addition has few summands of about the same size
    parts = [_sums_of(commit) for commit in commits]
    while len(parts) > 1:
        parts = [a + b for a, b in zip(parts[::2], [*parts[1::2], CommitSums()], strict=False)]
    return parts[0] if parts else CommitSums()


def _sums_of(commit: Commit) -> CommitSums:
    account = Account(
        units=1,
        answered=commit.answered,
        dead_letters=commit.dead_letters,
        reasons=commit.reasons,
        checks=commit.checks,
    )
    return sum((_sums_of_work(work) for work in commit.work), CommitSums(account))


def _sums_of_work(work: Work) -> CommitSums:
    used = work.used
    devices = _devices(used, used.engine_seconds)
    account = Account(tokens=work.tokens, used=used.of_anyone, devices=devices)
    return CommitSums(account, {used.worker: Charged(used, work.tokens)} if used.worker else {})


def bill(sums: CommitSums, records: Iterable[WorkerRecord], live: int | None = None) -> Account:
    """Return the account of all work, committed or not.

    Args:
        sums: the sum over all commits.
        records: the records of all workers' processes.
        live: the generation whose workers are alive, or None if there is none. A process of it
            that has not ended has its units in hand; of any other such process they are waste.
    """
    return sums.account + uncommitted(sums, records, live)


def uncommitted(
    sums: CommitSums, records: Iterable[WorkerRecord], live: int | None = None
) -> Account:
    """Return the part of `bill` that no commit states: what these processes have used beyond their
    commits."""
    records = list(records)
    newest = {record.worker: record.life for record in records}
    account = Account()
    for record in records:
        alive = record.generation == live and newest[record.worker] == record.life
        reason = record.ended or (None if alive else WORKER_DIED)
        account += _remainder(record, sums.charged.get(record.life, Charged()), reason)
    return account


def _remainder(record: WorkerRecord, charged: Charged, reason: str | None) -> Account:
    """Return what a process has used and none of its commits states.

    What its record does not explain is wasted by `reason`; if that is None, it is in hand. After an
    orderly end it is the end of the last commit, and no waste.
    """
    used, spent = record.used, charged.used
    waste = {
        why: left
        for why, part in used.waste.items()
        if (left := _left(part, spent.waste.get(why, Waste()))) != Waste()
    }
    seconds = max(0.0, used.engine_seconds - spent.engine_seconds)
    start = min(seconds, max(0.0, used.start_seconds - spent.start_seconds))
    tokens = subtract_usage(record.tokens, charged.tokens + spent.wasted.tokens)
    explained = sum(waste.values(), Waste(start))
    rest = Waste(max(0.0, seconds - explained.seconds), subtract_usage(tokens, explained.tokens))
    commit = min(rest.seconds, max(0.0, used.commit_seconds - spent.commit_seconds))
    if reason is not None and (reason != ENDED or rest.tokens != Usage()):
        waste, commit = sum_waste((waste, {reason: rest})), 0.0
    return Account(
        used=replace(
            used.of_anyone,
            engine_seconds=seconds,
            start_seconds=start,
            starts=max(0, used.starts - spent.starts),
            restarts=max(0, used.restarts - spent.restarts),
            waste=waste,
            commit_seconds=commit,
        ),
        in_hand=rest if reason is None else Waste(),
        devices=_devices(used, seconds),
    )


def _left(whole: Waste, part: Waste) -> Waste:
    return Waste(
        max(0.0, round(whole.seconds - part.seconds, 6)), subtract_usage(whole.tokens, part.tokens)
    )


def _devices(used: Used, seconds: float) -> dict[str, DeviceTime]:
    if not used.device:
        return {}
    return {used.device: DeviceTime(seconds, seconds * used.gpus, seconds * used.cpus)}


def _sum_devices(
    first: Mapping[str, DeviceTime], second: Mapping[str, DeviceTime]
) -> dict[str, DeviceTime]:
    names = Counter([*first, *second])
    return {name: first.get(name, DeviceTime()) + second.get(name, DeviceTime()) for name in names}
