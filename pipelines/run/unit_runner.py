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
from pipelines.errors import EngineError, Fenced, StorageError
from pipelines.ledger.attempts import MAX_ATTEMPTS, Attempt, Attempts
from pipelines.ledger.records import Commit
from pipelines.ledger.used import FAILED, FENCED, LOST_RACE
from pipelines.run.answerer import DocumentAnswerer, EngineLost, UnitResults
from pipelines.run.committing import AnsweredUnit, Committer, UnitRows
from pipelines.run.isolation import IsolatedReader
from pipelines.run.metrics import EngineMetrics
from pipelines.run.progress import Progress
from pipelines.run.revising import Reviser
from pipelines.run.worker_account import AttemptMeter, WorkerAccount, reason_of
from pipelines.run.worker_config import WorkerConfig
from pipelines.storage import Storage


class UnitRunner:
    """Runs the units of one worker; several calls of `run` may be in progress at a time.

    `metrics` is None if no metrics are recorded. `account` counts what the worker does; it must be
    the observer of `supervisor`, for the time of the engines' starts. Without one, the worker has a
    new account whose engine has just started.

    Attributes:
        account: the running totals of this worker.
    """

    def __init__(
        self,
        config: WorkerConfig,
        supervisor: EngineSupervisor,
        metrics: EngineMetrics | None,
        account: WorkerAccount | None = None,
    ) -> None:
        if account is None:
            account = WorkerAccount()
            account.started()
        self.account = account
        self._config = config
        self._supervisor = supervisor
        self._metrics = metrics
        self._attempts = Attempts(config.storage, config.lease.generation)
        self._answerer = DocumentAnswerer(config.tasks, supervisor, metrics, config.checks)
        self._isolated = IsolatedReader(self._answerer, supervisor, self._attempts, config.tasks)
        committer = Reviser if config.redoing else Committer
        self._committer = committer(config, account.clock)

    @property
    def progress(self) -> Progress:
        """Running totals of this worker, for display."""
        return self.account.progress

    async def run(self, number: int, file: str, row_group: int, plan: str) -> Commit | None:
        """Answer the documents of one unit, commit the unit and publish its files; return the
        commit, or None if another worker committed the unit first.

        If the engine dies, the unit starts again with the next engine. Raises Fenced, EngineError,
        StorageError.

        Args:
            number: the unit's number.
            file: the Parquet file with the unit's rows, a name below OUTPUT.
            row_group: the unit's row group in the file.
            plan: digest of the plan that the unit belongs to.
        """
        self.account.begin(number)
        committed = None
        try:
            rows = await asyncio.to_thread(_read_rows, self._config.storage, file, row_group)
            committed = await self._run(UnitRows(number, plan, rows))
        finally:
            self.account.end(number, committed=committed is not None)
        return committed

    async def _run(self, unit: UnitRows) -> Commit | None:
        documents = documents_of(unit.rows)
        while True:
            started = time.monotonic()
            attempt = await asyncio.to_thread(self._begin, unit.number)
            meter = self.account.attempt(unit.number, len(documents), attempt.number)
            try:
                answered = await self._answer(attempt, documents, meter)
                if isinstance(answered, EngineLost):
                    # the attempt's record stays: it counts towards isolation
                    continue
                meter.waste_beyond(answered.documents)
                seconds = time.monotonic() - started
                committed = await asyncio.to_thread(
                    self._committer.commit, AnsweredUnit(unit, answered.documents, seconds)
                )
            except Exception as error:
                meter.waste(FENCED if isinstance(error, Fenced) else FAILED)
                # errors that end the run are not the fault of a document
                with suppress(StorageError):
                    await asyncio.to_thread(self._attempts.end, attempt, committed=False)
                raise
            await asyncio.to_thread(self._attempts.end, attempt, committed=True)
            if committed is None:
                meter.waste(LOST_RACE)
            elif self._metrics:
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
        self, attempt: Attempt, documents: Sequence[Document], meter: AttemptMeter
    ) -> UnitResults | EngineLost:
        """Answer a unit's documents. If the result is EngineLost, the engine has been replaced."""
        if attempt.isolated:
            return await self._isolated.answer(attempt, documents, meter)
        async with self._supervisor.shared() as engine:
            answered = await self._answerer.answer(documents, engine, meter)
            if isinstance(answered, EngineLost):
                meter.waste(reason_of(answered.error))
                # before the block ends: no other unit may get exclusive access to a dead engine
                await self._supervisor.replace(engine, answered.error)
            return answered


def _read_rows(storage: Storage, file: str, row_group: int) -> pa.Table:
    with storage.open(file) as handle:
        return pq.ParquetFile(handle).read_row_group(row_group)
