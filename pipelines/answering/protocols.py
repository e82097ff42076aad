"""The interfaces that answering depends on: an engine, and a callback for progress.

Interfaces only; `pipelines.engine` implements the first, the endpoint's replica the second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from pipelines.documents import Answer, AnswerValue
from pipelines.tasks.kinds import Completion, Sampling


class Engine(Protocol):
    """An inference engine with admission by KV cache tokens.

    Attributes:
        kv_cache_tokens: capacity of its KV cache, in tokens.
        max_batched_tokens: tokens that it prefills in one step.
        min_request_tokens: the least KV cache that one request is counted as, in tokens, so that no
            more requests are admitted than it can run or start next.
    """

    kv_cache_tokens: int
    max_batched_tokens: int
    min_request_tokens: int

    def admit(self, tokens: int) -> AbstractAsyncContextManager[None]:
        """Wait until `tokens` of KV cache are free, and reserve them until the block ends."""

    async def generate(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        on_first_token: Callable[[], None] | None = None,
    ) -> Completion:
        """Complete one prompt of token ids.

        `on_first_token` is called once, when the first token is generated. Raises RequestRejected
        if the engine rejects this prompt, and EngineError if the engine itself failed.
        """


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """One task's value for one chunk, text[start:end]; None if the chunk's answer failed."""

    task: str
    start: int
    end: int
    value: AnswerValue | None


ProgressCallback = Callable[[ChunkResult | Answer], None]
"""A callback that receives every chunk's value as it is read, and every answer as it is made."""
