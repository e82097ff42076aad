"""A simulated engine with a small KV cache, which preempts requests as vLLM does when it is full.

Counts steps, prefilled tokens and preemptions; the time of a pass follows from them. Its requests
are numbers of tokens; there is no model.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.answering.answer_lengths import AnswerLengths
from pipelines.answering.shares import Shares
from pipelines.engine.admission import Admission
from pipelines.tasks.kinds import Question, Sampling

# Prefilling so many tokens takes as long as one step of decoding.
_PREFILL_PER_STEP = 100
# Turns of the event loop until everything that a step caused has happened.
_TURNS = 20


@dataclass(frozen=True)
class Asked:
    """A question about a passage: its tokens, the limit of its answer and the answer's length."""

    text: str
    tokens: int
    limit: int
    answer: int


@dataclass(frozen=True)
class Paper:
    """A passage of `tokens` tokens and the questions about it."""

    tokens: int
    asked: Sequence[Asked]


@dataclass(eq=False)
class _Running:
    paper: Paper
    asked: Asked
    done: asyncio.Future[None]
    generated: int = 0

    @property
    def own_tokens(self) -> int:
        return self.asked.tokens + self.generated


@dataclass
class TightEngine:
    """Runs requests while its KV cache has room, the earliest first, and preempts the latest.

    A prefix is lost as soon as no running request uses it. `whole_limits` makes it admit as if all
    answers were as long as their limits, until the last answer about a passage ends.
    """

    kv_cache_tokens: int
    whole_limits: bool = False
    min_request_tokens: int = 1
    block_tokens: int = 1
    answer_lengths: AnswerLengths = field(default_factory=AnswerLengths)
    steps: int = 0
    prefilled: int = 0
    preemptions: int = 0
    use: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._admission = Admission(self.kv_cache_tokens)
        self._running: list[_Running] = []
        self._waiting: deque[_Running] = deque()

    @property
    def seconds(self) -> float:
        """The time of all steps so far, in steps of decoding."""
        return self.steps + self.prefilled / _PREFILL_PER_STEP

    async def read_all(self, papers: Sequence[Paper]) -> None:
        """Answer all questions about all passages."""
        async with asyncio.TaskGroup() as group:
            reading = [group.create_task(self._read(paper)) for paper in papers]
            while not all(task.done() for task in reading):
                for _ in range(_TURNS):
                    await asyncio.sleep(0)
                self._step()
        assert self._admission.in_flight_tokens == 0

    async def _read(self, paper: Paper) -> None:
        questions = [
            (Question(asked.text, (), Sampling(asked.limit)), paper.tokens + asked.tokens)
            for asked in paper.asked
        ]
        engine: Any = self
        shares = Shares(engine, paper.tokens, questions)
        async with self._admission.hold(shares.count) as hold, asyncio.TaskGroup() as group:

            async def ask(number: int, asked: Asked) -> None:
                request = _Running(paper, asked, asyncio.get_running_loop().create_future())
                self._waiting.append(request)
                await request.done
                if not self.whole_limits:
                    self.answer_lengths.record(asked.text, asked.answer)
                    hold.shrink(shares.close(number))

            for number, asked in enumerate(paper.asked):
                group.create_task(ask(number, asked))

    @property
    def _used(self) -> int:
        prefixes = {id(request.paper): request.paper.tokens for request in self._running}
        return sum(prefixes.values()) + sum(request.own_tokens for request in self._running)

    def _step(self) -> None:
        preempted = False
        for request in tuple(self._running):
            while request in self._running and self._used + 1 > self.kv_cache_tokens:
                victim = self._running.pop()
                self._waiting.appendleft(victim)
                self.preemptions += 1
                self.answer_lengths.back_off()
                preempted = True
            if request in self._running:
                request.generated += 1
        while self._waiting and not preempted and self._starts(self._waiting[0]):
            self._waiting.popleft()
        self.steps += 1
        self.use.append(self._used / self.kv_cache_tokens)
        for request in [r for r in self._running if r.generated >= r.asked.answer]:
            self._running.remove(request)
            request.done.set_result(None)

    def _starts(self, request: _Running) -> bool:
        """Prefill a waiting request if it fits, and return whether it did."""
        shared = any(other.paper is request.paper for other in self._running)
        needed = request.own_tokens + (0 if shared else request.paper.tokens)
        if self._used + needed > self.kv_cache_tokens:
            return False
        self.prefilled += needed
        self._running.append(request)
        return True
