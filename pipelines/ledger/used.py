"""What a worker has used: engine time by what it was spent on, its device, and tokens for nothing.

A worker divides the time of its process between its commits without overlap: each commit gets the
seconds since the commit before. So the sum over the commits of a worker is its life up to the last
of them, whatever number of units it had in hand at a time.

Knows numbers only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from pipelines.documents import Usage

ENGINE_DIED = "engine_died"
"""An engine died, and the units that it was answering began again."""
WATCHDOG = "watchdog"
"""An engine made no step for too long, and its watchdog killed it."""
WORKER_DIED = "worker_died"
"""The process of a worker ended without notice."""
LOST_RACE = "lost_race"
"""Another worker had committed the unit first."""
FENCED = "fenced"
"""Another driver had acquired the lease."""
FAILED = "failed"
"""An error ended the run while the unit was in hand."""
IDLE = "idle"
"""A worker had an engine and no unit."""
_EXACT_SECONDS = 6
_TOKENS = tuple(f.name for f in fields(Usage))


@dataclass(frozen=True, slots=True)
class Waste:
    """Engine seconds and tokens that led to no committed answer."""

    seconds: float = 0.0
    tokens: Usage = field(default_factory=Usage)

    def __add__(self, other: Waste) -> Waste:
        return Waste(self.seconds + other.seconds, self.tokens + other.tokens)

    def to_json(self) -> dict[str, Any]:
        """Return the waste as JSON values; `from_json` reads them."""
        return {"seconds": round(self.seconds, _EXACT_SECONDS), **usage_to_json(self.tokens)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Waste:
        """Return the waste that `to_json` wrote."""
        return cls(float(values["seconds"]), usage_from_json(values))


@dataclass(frozen=True, slots=True)
class Used:
    """Engine time of one worker, between two commits or in all.

    Attributes:
        worker: the id of the worker's process, "" if unknown or of several.
        device: the name of the device, such as "H100" or "CPU"; "" if unknown or several.
        gpus: GPUs that the engine holds, a fraction if engines share one.
        cpus: CPUs that the worker holds.
        engine_seconds: all seconds, those of starts and waste included.
        start_seconds: the part in which an engine started.
        starts: engines that were started.
        restarts: those of them that replaced a dead one.
        steps: steps of the engine that generated the unit's answers, counted for each request.
        draft_tokens: guessed tokens that were verified in these steps.
        waste: the part for nothing, by reason, and tokens for nothing.
        commit_seconds: the part of the answering seconds in which every unit in hand was being
            written to storage, so that the engine had nothing to do.
    """

    worker: str = ""
    device: str = ""
    gpus: float = 0.0
    cpus: float = 0.0
    engine_seconds: float = 0.0
    start_seconds: float = 0.0
    starts: int = 0
    restarts: int = 0
    steps: int = 0
    draft_tokens: int = 0
    waste: Mapping[str, Waste] = field(default_factory=dict)
    commit_seconds: float = 0.0

    @property
    def gpu_seconds(self) -> float:
        """The engine seconds of each GPU together."""
        return self.engine_seconds * self.gpus

    @property
    def wasted(self) -> Waste:
        """The waste of all reasons together."""
        return sum(self.waste.values(), Waste())

    @property
    def answering_seconds(self) -> float:
        """The seconds that were neither a start nor waste."""
        return self.engine_seconds - self.start_seconds - self.wasted.seconds

    @property
    def of_anyone(self) -> Used:
        """The same numbers without the worker and what it holds, for sums over several."""
        return replace(self, worker="", device="", gpus=0.0, cpus=0.0)

    def __add__(self, other: Used) -> Used:
        """Add the numbers. What holds for one of the two only, such as the device, is "" or 0."""
        return Used(
            worker=self.worker if self.worker == other.worker else "",
            device=self.device if self.device == other.device else "",
            gpus=self.gpus if self.gpus == other.gpus else 0.0,
            cpus=self.cpus if self.cpus == other.cpus else 0.0,
            engine_seconds=self.engine_seconds + other.engine_seconds,
            start_seconds=self.start_seconds + other.start_seconds,
            starts=self.starts + other.starts,
            restarts=self.restarts + other.restarts,
            steps=self.steps + other.steps,
            draft_tokens=self.draft_tokens + other.draft_tokens,
            waste=sum_waste((self.waste, other.waste)),
            commit_seconds=self.commit_seconds + other.commit_seconds,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the values as JSON, with the GPU seconds; `from_json` reads them."""
        values = {
            name: round(value, _EXACT_SECONDS) if isinstance(value, float) else value
            for name in _PLAIN
            if (value := getattr(self, name))
        }
        if self.gpu_seconds:
            values["gpu_seconds"] = round(self.gpu_seconds, _EXACT_SECONDS)
        if self.waste:
            values["waste"] = {why: waste.to_json() for why, waste in self.waste.items()}
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Used:
        """Return what `to_json` wrote. Keys that are missing are zero, and unknown keys ignored: an
        older or a newer version may have written them."""
        known = {name: values[name] for name in _PLAIN if name in values}
        waste = {why: Waste.from_json(part) for why, part in values.get("waste", {}).items()}
        return replace(cls(**known), waste=waste)


_PLAIN = tuple(f.name for f in fields(Used) if f.name != "waste")


@dataclass(frozen=True, slots=True)
class Work:
    """What one worker's process did for a unit: `used` is what it used since its commit before,
    `tokens` those of the requests whose answers it committed. `seconds` is the time that answering
    took, until `ended_at`, an ISO 8601 time."""

    used: Used
    tokens: Usage
    seconds: float
    ended_at: str

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values; `from_json` reads them."""
        return {
            "used": self.used.to_json(),
            "tokens": usage_to_json(self.tokens),
            "seconds": self.seconds,
            "ended_at": self.ended_at,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Work:
        """Return the record that `to_json` wrote."""
        tokens = usage_from_json(values["tokens"])
        used = Used.from_json(values["used"])
        return cls(used, tokens, float(values["seconds"]), str(values["ended_at"]))


def sum_waste(parts: Iterable[Mapping[str, Waste]]) -> dict[str, Waste]:
    """Return the sums by reason."""
    total: dict[str, Waste] = {}
    for part in parts:
        for why, waste in part.items():
            total[why] = total[why] + waste if why in total else waste
    return total


def subtract_usage(whole: Usage, part: Usage) -> Usage:
    """Return the tokens of `whole` that are not in `part`; none are negative."""
    return Usage(*(max(0, getattr(whole, name) - getattr(part, name)) for name in _TOKENS))


def usage_to_json(usage: Usage) -> dict[str, int]:
    """Return numbers of tokens as JSON values, by the attributes of `Usage`."""
    return {name: getattr(usage, name) for name in _TOKENS}


def usage_from_json(values: Mapping[str, Any]) -> Usage:
    """Return the numbers of tokens that `usage_to_json` wrote; those that are missing are 0."""
    return Usage(**{name: int(values.get(name, 0)) for name in _TOKENS})
