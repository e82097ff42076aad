"""The interfaces that answering depends on: an engine, and a callback for progress.

Interfaces only; `pipelines.engine` implements the first, the endpoint's replica the second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from pipelines.answering.answer_lengths import AnswerLengths
from pipelines.documents import Answer, AnswerValue
from pipelines.tasks.kinds import Completion, Sampling


class Reservation(Protocol):
    """KV cache tokens that an engine has reserved for the block of `Engine.admit`."""

    def shrink(self, tokens: int) -> None:
        """Reserve only `tokens` tokens from now on, so that other requests get the rest."""


class Engine(Protocol):
    """An inference engine that admits requests while its KV cache has free tokens.

    Attributes:
        kv_cache_tokens: capacity of its KV cache, in tokens.
        max_batched_tokens: the maximum number of tokens that it prefills in one step.
        max_model_len: the maximum length of a prompt with its answer, in tokens.
        min_request_tokens: the KV cache tokens to reserve for a request that needs fewer, so that
            no more requests are admitted than the engine can run or start next.
        block_tokens: the number of tokens in a block of its KV cache.
        answer_lengths: the expected lengths of its answers. Its callers record the length of every
            answer; it calls `back_off` itself when its KV cache is full.
    """

    kv_cache_tokens: int
    max_batched_tokens: int
    max_model_len: int
    min_request_tokens: int
    block_tokens: int
    answer_lengths: AnswerLengths

    def admit(self, tokens: int | Callable[[], int]) -> AbstractAsyncContextManager[Reservation]:
        """Return a context manager that reserves `tokens` of the KV cache while its block runs.

        Entering it waits until that many tokens are free. If `tokens` is a function, it is called
        whenever the tokens are counted; the number that it returned last is reserved. Tokens that
        the block needs no more can be given back before it ends.
        """

    async def generate(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        on_first_token: Callable[[], None] | None = None,
    ) -> Completion:
        """Generate the answer to one prompt, given as token ids, and return it when complete.

        `sampling` has the maximum number of tokens of the answer and its constraints. The caller
        has reserved KV cache with `admit`, and calls this in its block. `on_first_token` is called
        once, when the first token is generated. Raises RequestRejected if the engine rejects this
        prompt, and EngineError if the engine itself failed.
        """


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """One task's value for one chunk of a document, text[start:end] in characters.

    Only a report of progress, for a ProgressCallback; the task's answer is made of `Finding`s.
    `task` is the task's name. `value` is None if the chunk's answer failed.
    """

    task: str
    start: int
    end: int
    value: AnswerValue | None


ProgressCallback = Callable[[ChunkResult | Answer], None]
"""A callback for progress: called with each chunk's value and with each task's final answer.

Each is passed once, as soon as it is known."""
