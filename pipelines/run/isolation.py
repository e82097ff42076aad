"""Isolation: answers a unit one document at a time, to find the document that crashes engines.

A unit is isolated after two attempts without a commit (`Attempt.isolated`). Each document is
recorded on storage before it is sent to the engine, so that an attempt that dies with its worker
leaves the name of the document behind. Knows nothing of parts, commits or Ray.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from pipelines.documents import ENGINE_CRASH, TIMEOUT, Document, DocumentResult, Problem
from pipelines.engine.keeper import EngineSupervisor, SupervisedEngine
from pipelines.errors import EngineDied, EngineError, EngineHung
from pipelines.ledger.attempts import DEAD_LETTER_AFTER, Attempt, Attempts
from pipelines.run.answerer import DocumentAnswerer, EngineLost, UnitResults
from pipelines.run.worker_account import AttemptMeter
from pipelines.tasks.kinds import TaskSet


class IsolatedReader:
    """Answers the documents of a unit one after the other, with exclusive use of the engine."""

    def __init__(
        self,
        answerer: DocumentAnswerer,
        supervisor: EngineSupervisor,
        attempts: Attempts,
        tasks: TaskSet,
    ) -> None:
        self._answerer = answerer
        self._supervisor = supervisor
        self._attempts = attempts
        self._tasks = tasks

    async def answer(
        self, attempt: Attempt, documents: Sequence[Document], meter: AttemptMeter
    ) -> UnitResults:
        """Answer all documents of the unit, and return a result for each, in their order.

        Starts with the documents that were in flight when earlier attempts died. A document is
        recorded as a dead letter if the engine crashes on it (`engine_crash`) or hangs at it
        (`timeout`), or, without being sent again, if it was in flight when two earlier attempts
        died (`engine_crash`). Documents and tokens are counted in `meter`. Waits for exclusive
        access to the engine. Raises EngineError if engines crash on a test prompt too, or do not
        start; StorageError.
        """
        async with self._supervisor.exclusive():
            results = {
                position: await self._answer_one(attempt, position, documents[position], meter)
                for position in _suspects_first(attempt, len(documents))
            }
        return UnitResults([results[position] for position in range(len(documents))])

    async def _answer_one(
        self, attempt: Attempt, position: int, document: Document, meter: AttemptMeter
    ) -> DocumentResult:
        deaths = attempt.deaths_by_position.get(position, 0)
        if deaths >= DEAD_LETTER_AFTER:
            message = f"{deaths} workers died while they read only this document"
            problem = Problem(ENGINE_CRASH, message)
            return self._answerer.record_dead_letter(document, problem, meter)
        engine = await self._supervisor.running_engine()
        await asyncio.to_thread(self._attempts.record_document, attempt, position, document.doc_id)
        answered = await self._answerer.answer([document], engine, meter)
        if isinstance(answered, EngineLost):
            problem = await self._blame(document, engine, answered.error, meter)
            return self._answerer.record_dead_letter(document, problem, meter)
        return answered.documents[0]

    async def _blame(
        self, document: Document, dead: SupervisedEngine, died: EngineDied, meter: AttemptMeter
    ) -> Problem:
        """Return the problem of a document on which the engine died, once the next engine has
        answered a test prompt. Raises EngineError if no engine does."""
        try:
            await self._supervisor.replace(dead, died)
            await self._probe(meter)
        except EngineError as error:
            raise EngineError(
                f"{error.message}\nNo engine has answered a test prompt since one died while it "
                f"read {document.source} row {document.row}, id {document.doc_id!r}"
            ) from error
        reason = TIMEOUT if isinstance(died, EngineHung) else ENGINE_CRASH
        return Problem(reason, f"{died.message} while it read only this document")

    async def _probe(self, meter: AttemptMeter) -> None:
        """Send a test prompt without a document to the engine, and to its replacements if it dies,
        until one answers. Raises EngineError if too many in a row die."""
        question = self._tasks.all[0].question
        prompt = self._tasks.tokenizer.build_prompt(
            self._tasks.prompts.document_prefix(()).token_ids, question.token_ids
        )
        sampling = replace(question.sampling, max_tokens=1)
        while True:
            engine = await self._supervisor.running_engine()
            try:
                async with engine.admit(len(prompt)):
                    await meter.metered(engine).generate(prompt, sampling)
                return
            except EngineDied as error:
                died = error
            await self._supervisor.replace(engine, died)


def _suspects_first(attempt: Attempt, documents: int) -> list[int]:
    """Return the positions of a unit's documents, most deaths of earlier attempts first."""
    return sorted(
        range(documents), key=lambda position: -attempt.deaths_by_position.get(position, 0)
    )
