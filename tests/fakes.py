"""Fakes by hand, for testing logic. No claim about speed or answers rests on them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from pipelines.admission import Admission
from pipelines.answer import Completion
from pipelines.documents import Usage
from pipelines.errors import EngineError, RequestRejected
from pipelines.tasks import INSTRUCTION, Sampling
from pipelines.tokens import Tokens


@dataclass
class FakeEngine:
    """An engine that answers at once by a rule, and keeps what it was asked.

    A prompt whose text contains `rejects` is refused; one that contains `dies_of` ends the engine.
    """

    tokens: Tokens
    max_model_len: int = 4096
    kv_tokens: int = 100_000
    step_tokens: int = 10
    sequence_tokens: int = 1
    answers: Callable[[str], str] = lambda prompt: "an answer"
    rejects: str | None = None
    dies_of: str | None = None
    prompts: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.instruction_ids = tuple(self.tokens.encode(INSTRUCTION))
        self.admission = Admission(self.kv_tokens)
        self.most_in_flight = 0

    def admit(self, tokens: int) -> AbstractAsyncContextManager[None]:
        return self.admission.hold(tokens)

    async def generate(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        on_first_token: Callable[[], None] | None = None,
    ) -> Completion:
        text = self.tokens.decode(prompt)
        self.prompts.append(text)
        number = len(self.prompts)
        self.events.append(f"start {number}")
        self.most_in_flight = max(self.most_in_flight, self.admission.in_flight_tokens)
        await asyncio.sleep(0.001)
        self._fail(text)
        if on_first_token is not None:
            self.events.append(f"first token {number}")
            on_first_token()
        await asyncio.sleep(0.001)
        self.events.append(f"end {number}")
        answer = sampling.choices[0] if sampling.choices else self.answers(text)
        return Completion(answer, Usage(len(prompt), 0, 3), "stop")

    def _fail(self, text: str) -> None:
        if self.rejects and self.rejects in text:
            raise RequestRejected(f"refused because of {self.rejects}")
        if self.dies_of and self.dies_of in text:
            raise EngineError("the engine died")
