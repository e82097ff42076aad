"""Fakes by hand, for testing logic. No claim about speed or answers rests on them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from pipelines.documents import Usage
from pipelines.engine.admission import Admission
from pipelines.errors import EngineDied, EngineHung, RequestRejected
from pipelines.job.spec import LongDocuments, TaskSpec
from pipelines.models.resolve import Model
from pipelines.run.prepared import prepare_tasks
from pipelines.tasks.kinds import Completion, Sampling, TaskSet
from pipelines.text.tokens import ChatTokenizer

Rule = Callable[[str, Sampling], tuple[str, float | None]]
"""A prompt's text and how it is decoded become the answer and its log-probability."""


def an_answer(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
    """The first choice where there are choices, else the same words to everything."""
    return (sampling.choices[0] if sampling.choices else "an answer"), None


def tasks_of(
    specs: Sequence[TaskSpec], model: Model, tokens: ChatTokenizer, **long_documents: object
) -> TaskSet:
    """Tasks ready for a model, with `long_documents` as the job file has it."""
    return prepare_tasks(specs, LongDocuments.model_validate(long_documents), model, tokens)


@dataclass
class FakeEngine:
    """An engine that answers at once by a rule, and keeps what it was asked.

    A prompt over its length is refused as vLLM refuses it, and so is one whose text contains
    `rejects`; one that contains `dies_of` ends the engine. `longest` is the most tokens that a
    prompt took with its answer. One that contains `hangs_at` ends it as a watchdog does.
    """

    tokenizer: ChatTokenizer
    max_model_len: int = 4096
    kv_cache_tokens: int = 100_000
    max_batched_tokens: int = 10
    min_request_tokens: int = 1
    answers: Rule = an_answer
    rejects: str | None = None
    dies_of: str | None = None
    hangs_at: str | None = None
    prompts: list[str] = field(default_factory=list)
    asked: list[list[int]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.admission = Admission(self.kv_cache_tokens)
        self.most_in_flight = 0
        self.longest = 0
        self.used = Usage()
        self.dead = False

    @property
    def kv_tokens_in_flight(self) -> int:
        return self.admission.in_flight_tokens

    def shutdown(self) -> None:
        self.dead = True

    def admit(self, tokens: int) -> AbstractAsyncContextManager[None]:
        return self.admission.hold(tokens)

    async def generate(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        on_first_token: Callable[[], None] | None = None,
    ) -> Completion:
        text = self.tokenizer.decode(prompt)
        self.prompts.append(text)
        self.asked.append(list(prompt))
        number = len(self.prompts)
        self.events.append(f"start {number}")
        self.longest = max(self.longest, len(prompt) + sampling.max_tokens)
        self.most_in_flight = max(self.most_in_flight, self.admission.in_flight_tokens)
        await asyncio.sleep(0.001)
        if len(prompt) > self.max_model_len:
            raise RequestRejected(f"{len(prompt)} tokens are more than {self.max_model_len}")
        self._fail(text)
        if on_first_token is not None:
            self.events.append(f"first token {number}")
            on_first_token()
        await asyncio.sleep(0.001)
        self.events.append(f"end {number}")
        answer, logprob = self.answers(text, sampling)
        return Completion(answer, Usage(len(prompt), 0, 3), "stop", logprob)

    def _fail(self, text: str) -> None:
        if self.rejects and self.rejects in text:
            raise RequestRejected(f"refused because of {self.rejects}")
        if self.dies_of and self.dies_of in text:
            self.dead = True
        if self.hangs_at and self.hangs_at in text:
            self.dead = True
            raise EngineHung("the engine made no step in 9 s")
        if self.dead:
            raise EngineDied("the engine died")
