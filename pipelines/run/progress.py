"""Running totals of workers, and the times of a run, for display and metrics.

Knows no Ray. What a run has committed is decided by its ledger, not by these numbers.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # the progress actor's process starts at the same time as the engines and needs no more modules
    from pipelines.documents import DocumentResult, Usage


@dataclass
class Progress:
    """Running totals of one worker, or the sum of several workers'.

    Attributes:
        answered: documents with an answer to at least one task.
        dead_letters: documents without any answer.
        reasons: dead letters by reason, including those of single tasks.
        prompt_tokens: prompt tokens of finished requests.
        cached_prompt_tokens: the part of the prompt tokens found in the prefix cache.
        output_tokens: generated tokens of finished requests.
        steps: steps of the engine that generated them, counted for each request.
        draft_tokens: guessed tokens that were verified in these steps.
        kv_tokens_in_flight: KV cache tokens reserved by admitted documents now.
        workers: number of workers counted here.
        restarts: engines started again after a death.
    """

    answered: int = 0
    dead_letters: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    output_tokens: int = 0
    steps: int = 0
    draft_tokens: int = 0
    kv_tokens_in_flight: int = 0
    workers: int = 0
    restarts: int = 0

    def count(self, result: DocumentResult) -> None:
        """Add one finished document."""
        self.answered += result.answered
        self.dead_letters += not result.answered
        self.reasons.update(letter.problem.reason for letter in result.dead_letters())

    def uncount(self, result: DocumentResult) -> None:
        """Subtract a counted document that must be answered again."""
        self.answered -= result.answered
        self.dead_letters -= not result.answered
        self.reasons -= Counter(letter.problem.reason for letter in result.dead_letters())

    def note_engine(self, used: Usage, kv_tokens_in_flight: int, restarts: int) -> None:
        """Replace the totals of a worker's engines by the current ones.

        `used` are the tokens of all finished requests so far, also those of documents that are not
        finished yet. `restarts` is the number of engines started again after a death.
        """
        self.prompt_tokens = used.prompt_tokens
        self.cached_prompt_tokens = used.cached_prompt_tokens
        self.output_tokens = used.output_tokens
        self.steps = used.steps
        self.draft_tokens = used.draft_tokens
        self.kv_tokens_in_flight = kv_tokens_in_flight
        self.restarts = restarts

    @property
    def documents(self) -> int:
        """Finished documents: answered and dead letters."""
        return self.answered + self.dead_letters


def total(parts: Iterable[Progress]) -> Progress:
    """Return the sum of several workers' progress."""
    whole = Progress()
    for part in parts:
        whole.answered += part.answered
        whole.dead_letters += part.dead_letters
        whole.reasons.update(part.reasons)
        whole.prompt_tokens += part.prompt_tokens
        whole.cached_prompt_tokens += part.cached_prompt_tokens
        whole.output_tokens += part.output_tokens
        whole.steps += part.steps
        whole.draft_tokens += part.draft_tokens
        whole.kv_tokens_in_flight += part.kv_tokens_in_flight
        whole.workers += part.workers
        whole.restarts += part.restarts
    return whole


@dataclass
class Timing:
    """Times of this session of a run: one call of `run`, not the sessions before it.

    Attributes:
        started: the session's start, in seconds of the monotonic clock.
        engine_start_seconds: the seconds of the slowest start of a worker's engine.
        spans: start and end of each unit, in Unix seconds, which cannot be compared with `started`.
    """

    started: float = field(default_factory=time.monotonic)
    engine_start_seconds: float = 0.0
    spans: list[tuple[float, float]] = field(default_factory=list)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a finished unit: the keys `started`, `ended` and `engine_start_seconds` of a row that
        `Worker` returned."""
        self.spans.append((row["started"], row["ended"]))
        self.engine_start_seconds = max(self.engine_start_seconds, row["engine_start_seconds"])

    @property
    def steady_seconds(self) -> float:
        """Seconds during which at least one unit was in flight."""
        covered, end = 0.0, float("-inf")
        for start, stop in sorted(self.spans):
            covered += max(0.0, stop - max(start, end))
            end = max(end, stop)
        return covered

    def seconds(self, tokens: int) -> dict[str, float]:
        """Return the manifest's times, by the keys of `pipelines.run.manifest.TIMES`.

        `tokens` is the number of prompt and output tokens of this session, for its tokens per
        second.
        """
        steady = self.steady_seconds
        return {
            "engine_start_seconds": round(self.engine_start_seconds, 2),
            "steady_seconds": round(steady, 2),
            "wall_seconds": round(time.monotonic() - self.started, 2),
            "tokens_per_second": round(tokens / steady, 1) if steady else 0.0,
        }
