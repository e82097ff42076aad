"""Live progress: workers report running totals to one small actor, the driver reads them.

Only for eyes and gauges. What a run has done is decided by its ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import ray

from pipelines.documents import Outcome


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

    def count(self, outcome: Outcome) -> None:
        """Add one finished document."""
        self.answered += outcome.answered
        self.dead_letters += not outcome.answered
        self.reasons.update(letter.problem.reason for letter in outcome.dead_letters())
        for answer in outcome.answers:
            self.prompt_tokens += answer.usage.prompt_tokens
            self.cached_prompt_tokens += answer.usage.cached_prompt_tokens
            self.output_tokens += answer.usage.output_tokens

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
    return whole


@ray.remote(num_cpus=0)
class Board:
    """The actor that keeps each worker's latest progress."""

    def __init__(self) -> None:
        self._workers: dict[str, Progress] = {}
        self._failures: list[str] = []

    def report(self, worker: str, progress: Progress) -> None:
        self._workers[worker] = progress

    def fail(self, message: str) -> None:
        """A worker says why it gives up, for a driver to which Ray may only say that it died."""
        self._failures.append(message)

    def failures(self) -> list[str]:
        return self._failures

    def read(self) -> Progress:
        return total(self._workers.values())
