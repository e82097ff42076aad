"""Handwritten fakes for tests of logic; speed and quality of answers are not tested with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from pipelines.answering.answer_lengths import AnswerLengths
from pipelines.documents import Usage
from pipelines.engine.admission import Admission, Hold
from pipelines.errors import EngineDied, EngineHung, RequestRejected
from pipelines.job.spec import LongDocuments
from pipelines.job.task_specs import TaskSpec
from pipelines.models.resolve import Model
from pipelines.run.prepared import prepare_tasks
from pipelines.tasks.kinds import Completion, Sampling, TaskSet
from pipelines.text.tokens import ChatTokenizer

Rule = Callable[[str, Sampling], tuple[str, float | None]]
"""Returns the answer to a prompt's text, and its log-probability if it is a choice."""


def an_answer(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
    """Return the first choice if the sampling has choices, else "an answer"."""
    return (sampling.choices[0] if sampling.choices else "an answer"), None


def tasks_of(
    specs: Sequence[TaskSpec], model: Model, tokens: ChatTokenizer, **long_documents: object
) -> TaskSet:
    """Return tasks prepared for a model; `long_documents` are keys of that job file section."""
    return prepare_tasks(specs, LongDocuments.model_validate(long_documents), model, tokens)


@dataclass
class FakeEngine:
    """An engine that answers at once by the rule `answers`, and records its prompts.

    A prompt longer than `max_model_len`, or whose text contains `rejects`, is rejected as by vLLM.
    With `cuts`, an answer that has more tokens than its limit, or than the context leaves, is cut
    off as by vLLM. After a prompt that contains `dies_of`, the engine is dead; one that contains
    `hangs_at` ends it as the watchdog does. `prompts` and `asked` are the prompts as text and ids,
    `limits` the token limits of their answers, `events` the starts and ends of requests in order,
    `longest` the maximum length of a prompt with its answer in tokens, and `most_in_flight` the
    maximum of admitted tokens.
    """

    tokenizer: ChatTokenizer
    max_model_len: int = 4096
    kv_cache_tokens: int = 100_000
    max_batched_tokens: int = 10
    min_request_tokens: int = 1
    block_tokens: int = 16
    answers: Rule = an_answer
    cuts: bool = False
    rejects: str | None = None
    dies_of: str | None = None
    hangs_at: str | None = None
    prompts: list[str] = field(default_factory=list)
    asked: list[list[int]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.admission = Admission(self.kv_cache_tokens)
        self.answer_lengths = AnswerLengths()
        self.most_in_flight = 0
        self.longest = 0
        self.used = Usage()
        self.dead = False

    @property
    def kv_tokens_in_flight(self) -> int:
        """Return the tokens admitted at present."""
        return self.admission.in_flight_tokens

    def shutdown(self) -> None:
        """End the engine."""
        self.dead = True

    def admit(self, tokens: int | Callable[[], int]) -> AbstractAsyncContextManager[Hold]:
        """Hold `tokens` of the KV cache during the block, waiting until they are free."""
        return self.admission.hold(tokens)

    async def generate(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        on_first_token: Callable[[], None] | None = None,
    ) -> Completion:
        """Record the prompt, and return the rule's answer to it.

        Raises RequestRejected, EngineDied or EngineHung as described in the class.
        """
        text = self.tokenizer.decode(prompt)
        self.prompts.append(text)
        self.asked.append(list(prompt))
        self.limits.append(sampling.max_tokens)
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
        ids = self.tokenizer.encode(answer)
        limit = min(sampling.max_tokens, self.max_model_len - len(prompt))
        if self.cuts and len(ids) > limit:
            cut_off = self.tokenizer.decode_output(ids[:limit])
            return Completion(cut_off, Usage(len(prompt), 0, limit), "length", logprob)
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
