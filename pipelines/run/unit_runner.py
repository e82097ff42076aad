"""Runs one unit: reads its rows, answers its documents, commits the results.

Works with any engine and without Ray. Knows nothing of the plan or of other workers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.corpus.texts import documents_of
from pipelines.documents import Document
from pipelines.engine.keeper import EngineSupervisor
from pipelines.errors import EngineError, StorageError
from pipelines.ledger.attempts import MAX_ATTEMPTS, Attempt, Attempts
from pipelines.run.answerer import DocumentAnswerer, EngineLost, UnitResults
from pipelines.run.committing import AnsweredUnit, Committer, UnitRows
from pipelines.run.isolation import IsolatedReader
from pipelines.run.metrics import EngineMetrics
from pipelines.run.progress import Progress
from pipelines.run.worker_config import WorkerConfig
from pipelines.storage import Storage


class UnitRunner:
    """Runs the units of one worker; several calls of `run` may be in progress at a time.

    `metrics` is None if no metrics are recorded.

    Attributes:
        progress: running totals of this worker's documents.
    """

    def __init__(
        self, config: WorkerConfig, supervisor: EngineSupervisor, metrics: EngineMetrics | None
    ) -> None:
        self._config = config
        self._supervisor = supervisor
        self._metrics = metrics
        self._attempts = Attempts(config.storage, config.lease.generation)
        self._answerer = DocumentAnswerer(config.tasks, supervisor, metrics)
        self._isolated = IsolatedReader(self._answerer, supervisor, self._attempts, config.tasks)
        self._committer = Committer(config)
        self.progress: Progress = self._answerer.progress

    async def run(self, number: int, file: str, row_group: int, plan: str) -> bool:
        """Answer the documents of one unit, commit the unit and publish its files; return True, or
        False if another worker committed it first.

        If the engine dies, the unit starts again with the next engine. Raises Fenced, EngineError,
        StorageError.

        Args:
            number: the unit's number.
            file: the Parquet file with the unit's rows, a name below OUTPUT.
            row_group: the unit's row group in the file.
            plan: digest of the plan that the unit belongs to.
        """
        rows = await asyncio.to_thread(_read_rows, self._config.storage, file, row_group)
        unit = UnitRows(number, plan, rows)
        documents = documents_of(rows)
        while True:
            started = time.monotonic()
            attempt = await asyncio.to_thread(self._begin, number)
            try:
                answered = await self._answer(attempt, documents)
                if isinstance(answered, EngineLost):
                    # the attempt's record stays: it counts towards isolation
                    continue
                seconds = time.monotonic() - started
                committed = await asyncio.to_thread(
                    self._committer.commit, AnsweredUnit(unit, answered.documents, seconds)
                )
            except Exception:
                # errors that end the run are not the fault of a document
                with suppress(StorageError):
                    await asyncio.to_thread(self._attempts.end, attempt, committed=False)
                raise
            await asyncio.to_thread(self._attempts.end, attempt, committed=True)
            if committed and self._metrics:
                self._metrics.unit(seconds)
            return committed

    def _begin(self, number: int) -> Attempt:
        attempt = self._attempts.begin(number)
        if attempt.own_before >= MAX_ATTEMPTS:
            raise EngineError(
                f"unit {number}: the worker or its engine died in {attempt.own_before} attempts of "
                f"this run, and {MAX_ATTEMPTS} is the limit. Check the run's log and the nodes' "
                "kernel logs for out-of-memory kills, and remove the cause"
            )
        return attempt

    async def _answer(
        self, attempt: Attempt, documents: Sequence[Document]
    ) -> UnitResults | EngineLost:
        """Answer a unit's documents. If the result is EngineLost, the engine has been replaced."""
        if attempt.isolated:
            return await self._isolated.answer(attempt, documents)
        async with self._supervisor.shared() as engine:
            answered = await self._answerer.answer(documents, engine)
            if isinstance(answered, EngineLost):
                # before the block ends: no other unit may get exclusive access to a dead engine
                await self._supervisor.replace(engine, answered.error)
            return answered


def _read_rows(storage: Storage, file: str, row_group: int) -> pa.Table:
    with storage.open(file) as handle:
        return pq.ParquetFile(handle).read_row_group(row_group)
