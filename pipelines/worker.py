"""A worker: one engine, and the path from a unit to its committed part.

Ray Data makes it an actor and calls it with units; several units are in flight at once, so that the
engine never drains at a unit's edge. Knows nothing of the plan or of other workers.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from pipelines.admission import Admission
from pipelines.answer import Engine, answer_document
from pipelines.columns import errors_table, part_table
from pipelines.documents import DOC_ID, Document, Outcome, documents_of
from pipelines.engine import EngineConfig, VllmEngine
from pipelines.errors import PhifleetError
from pipelines.lease import Lease
from pipelines.ledger import STAGING, Commit, Ledger, StagedFile, sha256
from pipelines.metrics import WorkerMetrics
from pipelines.models import resolve
from pipelines.progress import Progress
from pipelines.storage import Storage
from pipelines.tasks import Tasks

# Documents that are being tokenized, as a part of what the engine has in hand; their tokens are
# guessed from their characters.
_READ_AHEAD = 2
_CHARACTERS_PER_TOKEN = 4
# Documents that are in hand at a time at least, however long they are.
_LEAST_DOCUMENTS = 8
_REPORT_SECONDS = 1.0


@dataclass(frozen=True)
class WorkerConfig:
    """All that a worker needs to know. `metadata` goes into every part's file metadata."""

    run: str
    pool: str
    storage: Storage
    lease: Lease
    engine: EngineConfig
    tasks: Tasks
    id_column: str
    metadata: Mapping[str, str]


class Worker:
    """The actor class that Ray Data maps over units. `board` is the progress actor's handle."""

    def __init__(self, config: WorkerConfig, board: Any) -> None:
        started = time.monotonic()
        self._board = board
        with self._told():
            # the model lies elsewhere, or not yet anywhere, on another node
            model = resolve(config.engine.model.name, config.engine.model.revision)
            engine = VllmEngine(
                replace(config.engine, model=model), config.tasks.tokens, ray_metrics=True
            )
        metrics = WorkerMetrics(config.run, config.pool)
        self._runner = UnitRunner(config, engine, metrics)
        # Ray starts a dead actor again; then the engine before this one died with it
        self._runner.progress.restarts = int(_was_restarted())
        self._reporter = _Reporter(board, self._runner.progress, engine, metrics)
        # made at its first use, which is not to be when the engine waits for prompts
        config.tasks.tokens.encode("")
        # what the engine's libraries made at import stays; walking it stops the loop half a second
        gc.freeze()
        self.engine_start_seconds = time.monotonic() - started

    async def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Run the unit of a one-row batch (number, file, row_group); return how it went."""
        self._reporter.start()
        unit = {name: column[0] for name, column in batch.items()}
        started = time.time()
        with self._told():
            committed = await self._runner.run(
                int(unit["number"]), str(unit["file"]), int(unit["row_group"])
            )
        await self._reporter.report()
        return {
            "unit": [int(unit["number"])],
            "committed": [committed],
            "started": [started],
            "ended": [time.time()],
            "engine_start_seconds": [self.engine_start_seconds],
        }

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell the driver why, before an error of ours leaves this worker."""
        try:
            yield
        except* PhifleetError as errors:
            for error in _leaves(errors):
                ray.get(self._board.fail.remote(str(error)))
            raise


def _was_restarted() -> bool:
    return bool(ray.get_runtime_context().was_current_actor_reconstructed)


def _leaves(group: BaseExceptionGroup[PhifleetError]) -> list[PhifleetError]:
    """The errors of a group of groups, each once."""
    nested = [_leaves(e) if isinstance(e, BaseExceptionGroup) else [e] for e in group.exceptions]
    return [leaf for leaves in nested for leaf in leaves]


class UnitRunner:
    """Answers the documents of units and commits them, with any engine."""

    def __init__(self, config: WorkerConfig, engine: Engine, metrics: WorkerMetrics | None) -> None:
        self.progress = Progress(workers=1)
        self._config = config
        self._engine = engine
        self._metrics = metrics
        self._columns = [task.column for task in config.tasks.each]
        self._ledger = Ledger(config.storage)
        self._reading = Admission(engine.kv_tokens * _READ_AHEAD)
        self._least_tokens = len(self._columns) * engine.sequence_tokens

    async def run(self, number: int, file: str, row_group: int) -> bool:
        """Answer one unit, stage its part, commit and publish it.

        Returns False where another worker committed it first. Raises Fenced, EngineError,
        StorageError.
        """
        started = time.monotonic()
        rows = await asyncio.to_thread(_read_rows, self._config.storage, file, row_group)
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(self._answer(doc)) for doc in documents_of(rows)]
        outcomes = [task.result() for task in asked]
        seconds = time.monotonic() - started
        committed = await asyncio.to_thread(self._commit, number, rows, outcomes, seconds)
        if committed and self._metrics:
            self._metrics.unit(seconds)
        return committed

    async def _answer(self, document: Document) -> Outcome:
        guessed = len(document.text or "") // _CHARACTERS_PER_TOKEN
        # a longer one is read chunk by chunk, while others keep the engine busy
        most = self._reading.capacity_tokens // _LEAST_DOCUMENTS
        async with self._reading.hold(min(most, max(guessed, self._least_tokens))):
            started = time.monotonic()
            outcome = await answer_document(document, self._config.tasks, self._engine)
        self.progress.count(outcome)
        if self._metrics:
            self._metrics.document(outcome, time.monotonic() - started)
        return replace(outcome, document=replace(document, text=None))

    def _commit(
        self, number: int, rows: pa.Table, outcomes: Sequence[Outcome], seconds: float
    ) -> bool:
        self._config.lease.check()
        record = self._stage(number, rows, outcomes, seconds)
        if not self._ledger.commit(record):
            self._ledger.discard(record)
            return False
        self._ledger.publish(record)
        return True

    def _stage(
        self, number: int, rows: pa.Table, outcomes: Sequence[Outcome], seconds: float
    ) -> Commit:
        config = self._config
        part = part_table(rows, outcomes, self._columns, config.id_column)
        letters = [letter for outcome in outcomes for letter in outcome.dead_letters()]
        errors = errors_table(letters, rows.schema.field(DOC_ID).type)
        usages = [answer.usage for outcome in outcomes for answer in outcome.answers]
        answered = sum(outcome.answered for outcome in outcomes)
        return Commit(
            unit=number,
            rows=len(outcomes),
            answered=answered,
            dead_letters=len(outcomes) - answered,
            reasons=dict(Counter(letter.problem.reason for letter in letters)),
            part=self._write("part", number, part),
            errors=self._write("errors", number, errors),
            prompt_tokens=sum(usage.prompt_tokens for usage in usages),
            cached_prompt_tokens=sum(usage.cached_prompt_tokens for usage in usages),
            output_tokens=sum(usage.output_tokens for usage in usages),
            seconds=round(seconds, 3),
            host=socket.gethostname(),
            committed_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )

    def _write(self, kind: str, number: int, table: pa.Table) -> StagedFile | None:
        if table.num_rows == 0:
            return None
        described = table.replace_schema_metadata(dict(self._config.metadata))
        name = f"{STAGING}/{kind}-{number:06d}-{uuid.uuid4().hex}.parquet"
        with self._config.storage.new_file(name) as path:
            pq.write_table(described, path, compression="zstd")
            data = path.read_bytes()
            return StagedFile(name, table.num_rows, len(data), sha256(data))


def _read_rows(storage: Storage, file: str, row_group: int) -> pa.Table:
    with storage.open(file) as handle:
        return pq.ParquetFile(handle).read_row_group(row_group)


class _Reporter:
    """Sends a worker's progress to the board, every second while the event loop runs."""

    def __init__(
        self, board: Any, progress: Progress, engine: VllmEngine, metrics: WorkerMetrics
    ) -> None:
        self._board = board
        self._progress = progress
        self._engine = engine
        self._metrics = metrics
        self._name = uuid.uuid4().hex
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while True:
            await self.report()
            await asyncio.sleep(_REPORT_SECONDS)

    async def report(self) -> None:
        in_flight = self._engine.kv_tokens_in_flight
        self._progress.note_engine(self._engine.used, in_flight)
        self._metrics.in_flight(in_flight)
        await self._board.report.remote(self._name, self._progress)
