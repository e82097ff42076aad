"""Answers documents with one engine and counts the results.

Knows tasks, engines and meters; nothing of units' numbers, storage or Ray.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipelines.answering.answer import answer_document
from pipelines.checks.checking import NO_CHECKS, AnswerChecks
from pipelines.documents import Document, DocumentResult, Problem
from pipelines.engine.admission import Admission
from pipelines.engine.keeper import EngineSupervisor, SupervisedEngine
from pipelines.errors import EngineDied, flatten_errors
from pipelines.run.metrics import EngineMetrics
from pipelines.run.worker_account import AttemptMeter
from pipelines.tasks.kinds import TaskSet

# Documents are tokenized before the engine admits them. Their tokens together, estimated from their
# characters, are limited to this multiple of the KV cache.
_READ_AHEAD = 2
_CHARACTERS_PER_TOKEN = 4
# Documents in flight at least, however long they are.
_MIN_DOCUMENTS = 8


@dataclass(frozen=True, slots=True)
class UnitResults:
    """One result for each document of a unit, in the unit's order."""

    documents: Sequence[DocumentResult]


@dataclass(frozen=True, slots=True)
class EngineLost:
    """The engine died or hung before all documents were answered: none of their results counts.

    `error` is EngineHung if the watchdog killed the engine.
    """

    error: EngineDied


class DocumentAnswerer:
    """Answers documents and counts them in the meter of an attempt and in metrics.

    `metrics` is None if no metrics are recorded. `checks` are applied to all answers.
    """

    def __init__(
        self,
        tasks: TaskSet,
        supervisor: EngineSupervisor,
        metrics: EngineMetrics | None,
        checks: AnswerChecks = NO_CHECKS,
    ) -> None:
        self._tasks = tasks
        self._supervisor = supervisor
        self._metrics = metrics
        self._checks = checks
        engine = supervisor.engine
        self._reading = Admission(engine.kv_cache_tokens * _READ_AHEAD)
        self._min_tokens = len(tasks.all) * engine.min_request_tokens

    async def answer(
        self, documents: Sequence[Document], engine: SupervisedEngine, meter: AttemptMeter
    ) -> UnitResults | EngineLost:
        """Answer documents concurrently with `engine`, and return a result for each.

        The documents and their tokens are counted in `meter`. If the engine dies, return
        EngineLost: the documents already answered are subtracted again, because all must be
        answered again; their tokens are not.
        """
        answers: list[asyncio.Task[DocumentResult]] = []
        try:
            async with asyncio.TaskGroup() as group:
                answers += [
                    group.create_task(self._answer_one(document, engine, meter))
                    for document in documents
                ]
            return UnitResults([answer.result() for answer in answers])
        except* EngineDied as errors:
            error = flatten_errors(errors)[0]
        for answer in answers:
            if not answer.cancelled() and answer.exception() is None:
                meter.unit.uncount(answer.result())
        return EngineLost(error)

    def record_dead_letter(
        self, document: Document, problem: Problem, meter: AttemptMeter
    ) -> DocumentResult:
        """Count a document that gets no answer because of `problem` in the meter and the metrics,
        and return its result, without the text. Sends nothing to an engine.

        Call it in isolation, for a document on which engines or workers died.
        """
        attempts = meter.unit.attempt
        result = _count(DocumentResult(document, problem=problem, attempts=attempts), meter)
        if self._metrics:
            self._metrics.document(result)
        return result

    async def _answer_one(
        self, document: Document, engine: SupervisedEngine, meter: AttemptMeter
    ) -> DocumentResult:
        estimated_tokens = len(document.text or "") // _CHARACTERS_PER_TOKEN
        # a longer one is read chunk by chunk, while others keep the engine busy
        max_tokens = self._reading.capacity_tokens // _MIN_DOCUMENTS
        async with self._reading.hold(min(max_tokens, max(estimated_tokens, self._min_tokens))):
            started = time.monotonic()
            with meter.timed(document):
                result = await answer_document(
                    document, self._tasks, meter.metered(engine), checks=self._checks
                )
        if result.answered:
            self._supervisor.record_answer()
        counted = _count(result, meter)
        if self._metrics:
            self._metrics.document(result, time.monotonic() - started)
        return counted


def _count(result: DocumentResult, meter: AttemptMeter) -> DocumentResult:
    """Count a result, and return it without the document's text, to free the memory."""
    meter.unit.count(result)
    return replace(result, document=replace(result.document, text=None))
