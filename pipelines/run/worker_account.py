"""What one worker's process does and uses: its clock, its tokens, and its units in hand.

All of it is running totals of this process. Knows no Ray and no storage.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from pipelines.answering.protocols import Engine
from pipelines.documents import Document, DocumentResult, Usage
from pipelines.engine.keeper import SupervisedEngine
from pipelines.errors import EngineDied, EngineHung
from pipelines.ledger.used import ENGINE_DIED, WATCHDOG, Used, subtract_usage
from pipelines.ledger.worker_records import UnitInHand
from pipelines.run.engine_clock import EngineClock
from pipelines.run.progress import Progress, UnitProgress
from pipelines.tasks.kinds import Completion, Sampling

Meter = Callable[[Usage], None]
"""Called with the tokens of all finished requests whenever they change."""


class MeteredEngine:
    """An engine whose finished requests are counted, for one attempt at a unit.

    Has the attributes of the engine that it wraps; see the protocol `Engine`.
    """

    def __init__(self, engine: Engine, count: Callable[[Usage], None]) -> None:
        self._engine = engine
        self._count = count
        self.kv_cache_tokens = engine.kv_cache_tokens
        self.max_batched_tokens = engine.max_batched_tokens
        self.max_model_len = engine.max_model_len
        self.min_request_tokens = engine.min_request_tokens
        self.block_tokens = engine.block_tokens
        self.answer_lengths = engine.answer_lengths
        self.admit = engine.admit

    async def generate(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        on_first_token: Callable[[], None] | None = None,
    ) -> Completion:
        """Generate as the wrapped engine does, and count the tokens of the completion."""
        completion = await self._engine.generate(prompt, sampling, on_first_token)
        self._count(completion.usage)
        return completion


@dataclass
class AttemptMeter:
    """Counts the documents and the tokens of one attempt at a unit.

    Attributes:
        account: the worker's account, in which the tokens are counted too.
        unit: the documents finished so far.
        used: tokens of all finished requests, those of documents that are not finished included.
        answering: when each document that is being answered was begun, by its id.
    """

    account: WorkerAccount
    unit: UnitProgress
    used: Usage = field(default_factory=Usage)
    answering: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, document: Document) -> Iterator[None]:
        """Count the time of the block as that of a document's answers."""
        self.answering[str(document.doc_id)] = self.account.now()
        try:
            yield
        finally:
            self.answering.pop(str(document.doc_id), None)

    def oldest(self, now: float) -> tuple[str | None, float]:
        """Return the id of the document that is being answered for the longest time, and the
        seconds; None without any."""
        began = min(list(self.answering.items()), key=lambda item: item[1], default=None)
        return (began[0], round(now - began[1], 1)) if began else (None, 0.0)

    def metered(self, engine: SupervisedEngine) -> MeteredEngine:
        """Return the engine with its requests counted here."""
        return MeteredEngine(engine, self._count)

    def _count(self, usage: Usage) -> None:
        self.used += usage
        self.account.count_tokens(usage)

    def waste(self, reason: str) -> None:
        """Count all tokens of the attempt as waste: it has ended without a commit."""
        self.account.clock.waste_tokens(reason, self.used)
        self.used = Usage()

    def waste_beyond(self, results: Sequence[DocumentResult]) -> None:
        """Count the tokens that are not those of the results' answers as waste: in isolation an
        attempt goes on after the death of an engine."""
        usages = (answer.usage for result in results for answer in result.answers)
        answers = sum(usages, Usage())
        self.account.clock.waste_tokens(ENGINE_DIED, subtract_usage(self.used, answers))
        self.used = answers


@dataclass
class WorkerAccount:
    """The running totals of one worker's process.

    Attributes:
        holder: the process's id and what it holds: device, GPUs and CPUs.
        clock: divides its time between its commits.
        progress: its documents and tokens, as the driver shows them.
        tokens: tokens of all finished requests.
        meter: keeps `tokens` where they survive this process; None if nothing does.
    """

    holder: Used = field(default_factory=lambda: Used(worker=uuid.uuid4().hex[:16]))
    now: Callable[[], float] = time.monotonic
    progress: Progress = field(default_factory=lambda: Progress(workers=1))
    tokens: Usage = field(default_factory=Usage)
    meter: Meter | None = None

    def __post_init__(self) -> None:
        self._began = self.now()
        self._attempts: dict[int, AttemptMeter] = {}
        self.clock = EngineClock(self.holder, self.now)

    @property
    def seconds(self) -> float:
        """The seconds since the account was made."""
        return self.now() - self._began

    def died(self, error: EngineDied) -> None:
        """Count the death of an engine that is about to be replaced."""
        self.clock.engine_died(reason_of(error))

    def started(self) -> None:
        """Count the start of an engine."""
        self.clock.engine_started()

    def count_tokens(self, usage: Usage) -> None:
        """Count the tokens of one finished request."""
        self.tokens += usage
        if self.meter is not None:
            self.meter(self.tokens)

    def begin(self, unit: int) -> None:
        """Take a unit in hand."""
        self.clock.unit_began()
        self.progress.units[unit] = UnitProgress(began=self.now())

    def attempt(self, unit: int, documents: int, number: int) -> AttemptMeter:
        """Begin an attempt at a unit in hand: none of its documents is finished."""
        began = self.progress.units[unit].began
        self.progress.units[unit] = UnitProgress(documents, began, number)
        self._attempts[unit] = AttemptMeter(self, self.progress.units[unit])
        return self._attempts[unit]

    def end(self, unit: int, *, committed: bool) -> None:
        """Put a unit down. A committed one is shown until the driver knows of it."""
        self.clock.unit_ended()
        self._attempts.pop(unit, None)
        if committed:
            self.progress.units[unit].committed = self.now()
        else:
            self.progress.units.pop(unit)

    def in_hand(self) -> tuple[UnitInHand, ...]:
        """Return the units that are not committed, the oldest first."""
        units = [
            self._in_hand(number, unit)
            for number, unit in list(self.progress.units.items())
            if unit.committed is None
        ]
        return tuple(sorted(units, key=lambda unit: -unit.seconds))

    def _in_hand(self, number: int, unit: UnitProgress) -> UnitInHand:
        now, meter = self.now(), self._attempts.get(number)
        document, seconds = meter.oldest(now) if meter else (None, 0.0)
        return UnitInHand(
            number,
            unit.rows,
            unit.documents,
            round(now - unit.began, 1),
            unit.attempt,
            document,
            seconds,
        )


def reason_of(error: EngineDied) -> str:
    """Return the reason of the waste of attempts that an engine's death has ended."""
    return WATCHDOG if isinstance(error, EngineHung) else ENGINE_DIED
