"""Running totals of workers, and the times of a run, for display and metrics.

Knows no Ray. What a run has committed is decided by its ledger, not by these numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # the progress actor's process starts at the same time as the engines and needs no more modules
    from pipelines.documents import DocumentResult, Usage
    from pipelines.ledger.worker_records import WorkerRecord

# Seconds for which a worker reports a unit after its commit: by then the driver knows of it.
_REPORTED_SECONDS = 10.0


@dataclass
class UnitProgress:
    """The finished documents of a unit that a worker has in hand.

    Attributes:
        rows: documents of the unit.
        began: when the worker got the unit, in seconds of its own clock.
        attempt: the number of the attempt, counted from 1.
        answered: documents with an answer to at least one task.
        dead_letters: documents without any answer.
        reasons: dead letters by reason, including those of single tasks.
        checks: answers in which a check found something, by the check's name and action.
        committed: when the unit was committed, or None.
    """

    rows: int = 0
    began: float = 0.0
    attempt: int = 1
    answered: int = 0
    dead_letters: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    checks: Counter[tuple[str, str]] = field(default_factory=Counter)
    committed: float | None = None

    def count(self, result: DocumentResult) -> None:
        """Add one finished document."""
        self.answered += result.answered
        self.dead_letters += not result.answered
        self.reasons.update(letter.problem.reason for letter in result.dead_letters())
        self.checks.update(result.found_by_checks())

    def uncount(self, result: DocumentResult) -> None:
        """Subtract a counted document that must be answered again."""
        self.answered -= result.answered
        self.dead_letters -= not result.answered
        self.reasons -= Counter(letter.problem.reason for letter in result.dead_letters())
        self.checks -= Counter(result.found_by_checks())

    @property
    def documents(self) -> int:
        """Finished documents: answered and dead letters."""
        return self.answered + self.dead_letters


@dataclass
class Progress:
    """Running totals of one worker's process, or the sum of several.

    Attributes:
        units: the units in hand by number, and those committed a moment ago.
        prompt_tokens: prompt tokens of finished requests, whatever became of them.
        cached_prompt_tokens: the part of the prompt tokens found in the prefix cache.
        output_tokens: generated tokens of finished requests.
        steps: steps of the engine that generated them, counted for each request.
        draft_tokens: guessed tokens that were verified in these steps.
        kv_tokens_in_flight: KV cache tokens reserved by admitted documents now.
        kv_cache_tokens: the capacity of the engines' KV caches, in tokens.
        workers: number of workers counted here.
        restarts: engines started again after a death.
        engine_seconds: the seconds of the workers' processes, each the time of its engine.
        records: the record of each process by its id; the processes of a worker in order.
    """

    units: dict[int, UnitProgress] = field(default_factory=dict)
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    output_tokens: int = 0
    steps: int = 0
    draft_tokens: int = 0
    kv_tokens_in_flight: int = 0
    kv_cache_tokens: int = 0
    workers: int = 0
    restarts: int = 0
    engine_seconds: float = 0.0
    records: dict[str, WorkerRecord] = field(default_factory=dict)

    def note_engine(self, used: Usage, kv_tokens: tuple[int, int], restarts: int) -> None:
        """Replace the totals of a worker's engines by the current ones.

        `used` are the tokens of all finished requests so far, also those of documents that are not
        finished yet. `kv_tokens` are those in flight, and the capacity of the KV cache. `restarts`
        is the number of engines started again after a death.
        """
        self.prompt_tokens = used.prompt_tokens
        self.cached_prompt_tokens = used.cached_prompt_tokens
        self.output_tokens = used.output_tokens
        self.steps = used.steps
        self.draft_tokens = used.draft_tokens
        self.kv_tokens_in_flight, self.kv_cache_tokens = kv_tokens
        self.restarts = restarts

    def note_record(self, record: WorkerRecord) -> None:
        """Replace the record of a worker's process by the current one."""
        self.records = {record.life: record}
        self.engine_seconds = record.used.engine_seconds

    def forget_committed(self, now: float) -> None:
        """Drop the units that were committed long enough ago for the driver to know. `now` is the
        time of the worker's clock."""
        for number, unit in list(self.units.items()):
            if unit.committed is not None and now - unit.committed > _REPORTED_SECONDS:
                del self.units[number]

    @property
    def answered(self) -> int:
        """Answered documents of the units."""
        return sum(unit.answered for unit in self.units.values())

    @property
    def dead_letters(self) -> int:
        """Documents of the units without any answer."""
        return sum(unit.dead_letters for unit in self.units.values())

    @property
    def documents(self) -> int:
        """Finished documents of the units."""
        return self.answered + self.dead_letters

    @property
    def reasons(self) -> Counter[str]:
        """Dead letters of the units by reason, including those of single tasks."""
        return sum((unit.reasons for unit in self.units.values()), Counter())


def total(parts: Iterable[Progress]) -> Progress:
    """Return the sum of several workers' progress. A unit that two of them have is counted once."""
    whole = Progress()
    for part in parts:
        for number, unit in part.units.items():
            known = whole.units.get(number)
            if known is None or known.documents < unit.documents:
                whole.units[number] = unit
        whole.prompt_tokens += part.prompt_tokens
        whole.cached_prompt_tokens += part.cached_prompt_tokens
        whole.output_tokens += part.output_tokens
        whole.steps += part.steps
        whole.draft_tokens += part.draft_tokens
        whole.kv_tokens_in_flight += part.kv_tokens_in_flight
        whole.kv_cache_tokens += part.kv_cache_tokens
        whole.workers += part.workers
        whole.restarts += part.restarts
        whole.engine_seconds += part.engine_seconds
        whole.records |= part.records
    return whole
