"""Live progress: workers report running totals to one small actor, the driver reads them.

Only for eyes and gauges. What a run has done is decided by its ledger.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

if TYPE_CHECKING:
    # the board's process starts beside the engines and needs nothing of this
    from pipelines.documents import DocumentResult, Usage

_BOARD_SECONDS = 10
_LOGGER = logging.getLogger(__name__)
Known = TypeVar("Known")


@dataclass
class Progress:
    """Running totals of one worker, or of all of them together."""

    answered: int = 0
    dead_letters: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    output_tokens: int = 0
    kv_tokens_in_flight: int = 0
    workers: int = 0
    restarts: int = 0

    def count(self, outcome: DocumentResult) -> None:
        """Add one finished document."""
        self.answered += outcome.answered
        self.dead_letters += not outcome.answered
        self.reasons.update(letter.problem.reason for letter in outcome.dead_letters())

    def uncount(self, outcome: DocumentResult) -> None:
        """Take back a document that must be read again."""
        self.answered -= outcome.answered
        self.dead_letters -= not outcome.answered
        self.reasons -= Counter(letter.problem.reason for letter in outcome.dead_letters())

    def note_engine(self, used: Usage, kv_tokens_in_flight: int, restarts: int) -> None:
        """What the worker's engines have done so far, documents half read included."""
        self.prompt_tokens = used.prompt_tokens
        self.cached_prompt_tokens = used.cached_prompt_tokens
        self.output_tokens = used.output_tokens
        self.kv_tokens_in_flight = kv_tokens_in_flight
        self.restarts = restarts

    @property
    def documents(self) -> int:
        return self.answered + self.dead_letters


def total(parts: Iterable[Progress]) -> Progress:
    """The sum of several workers' progress."""
    whole = Progress()
    for part in parts:
        whole.answered += part.answered
        whole.dead_letters += part.dead_letters
        whole.reasons.update(part.reasons)
        whole.prompt_tokens += part.prompt_tokens
        whole.cached_prompt_tokens += part.cached_prompt_tokens
        whole.output_tokens += part.output_tokens
        whole.kv_tokens_in_flight += part.kv_tokens_in_flight
        whole.workers += part.workers
        whole.restarts += part.restarts
    return whole


def start_progress_actor() -> Any:
    """A board on this node, which dies with it and with no other."""
    here = ray.get_runtime_context().get_node_id()
    nearby = NodeAffinitySchedulingStrategy(here, soft=True)
    return ProgressActor.options(scheduling_strategy=nearby).remote()  # type: ignore[attr-defined]


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class ProgressActor:
    """The actor that keeps each worker's latest progress. One that died is there again, and knows
    what workers report from then on: their running totals."""

    def __init__(self) -> None:
        self._workers: dict[str, tuple[str, Progress]] = {}
        self._gone = Progress()
        self._failures: list[str] = []

    def report(self, worker: str, life: str, progress: Progress) -> None:
        """A worker that died and was started again has another life, and begins at nothing."""
        before, known = self._workers.get(worker, (life, progress))
        if before != life:
            # what it has done counts on; it holds nothing, and is no worker beside its next life
            known.workers = known.kv_tokens_in_flight = 0
            self._gone = total((self._gone, known))
        self._workers[worker] = (life, progress)

    def report_failure(self, message: str) -> None:
        """A worker says why it gives up, for a driver to which Ray may only say that it died."""
        self._failures.append(message)

    def failures(self) -> list[str]:
        return self._failures

    def read(self) -> Progress:
        return total((self._gone, *(progress for _, progress in self._workers.values())))


@dataclass
class RunState:
    """Where a run stands, for whoever watches it. Written by the run, read from another thread."""

    phase: str = "starting"
    documents: int = 0
    tokens_to_run: int = 0
    documents_before: int = 0
    units: int = 0
    units_done: int = 0
    spans: int = 0
    spans_done: int = 0
    skipped_files: list[str] = field(default_factory=list)
    progress_actor: Any = None
    _known: Progress = field(default_factory=Progress, init=False)

    def progress(self) -> Progress:
        """What the workers have reported so far, as far as the board could be asked."""
        self._known = self._ask("read", self._known)
        return self._known

    def failures(self) -> list[str]:
        """What workers said before they gave up, as far as the board can be asked."""
        none: list[str] = []
        return self._ask("failures", none)

    def _ask(self, method: str, otherwise: Known) -> Known:
        """What the board answers; no run fails of one that is late or gone."""
        if self.progress_actor is None:
            return otherwise
        try:
            answer: Known = ray.get(
                getattr(self.progress_actor, method).remote(), timeout=_BOARD_SECONDS
            )
        except ray.exceptions.RayError as error:
            _LOGGER.warning("the board of the workers' progress does not answer: %s", error)
            return otherwise
        return answer


@dataclass
class Timing:
    """Seconds of this session: engine starts, and the time in which any unit was under way."""

    started: float = field(default_factory=time.monotonic)
    engine_start_seconds: float = 0.0
    spans: list[tuple[float, float]] = field(default_factory=list)

    def add(self, row: Mapping[str, Any]) -> None:
        self.spans.append((row["started"], row["ended"]))
        self.engine_start_seconds = max(self.engine_start_seconds, row["engine_start_seconds"])

    @property
    def steady_seconds(self) -> float:
        """Length of the union of all units' times."""
        covered, end = 0.0, float("-inf")
        for start, stop in sorted(self.spans):
            covered += max(0.0, stop - max(start, end))
            end = max(end, stop)
        return covered

    def seconds(self, tokens: int) -> dict[str, float]:
        """The times that the manifest states; `tokens` were read and written in this session."""
        steady = self.steady_seconds
        return {
            "engine_start_seconds": round(self.engine_start_seconds, 2),
            "steady_seconds": round(steady, 2),
            "wall_seconds": round(time.monotonic() - self.started, 2),
            "tokens_per_second": round(tokens / steady, 1) if steady else 0.0,
        }
