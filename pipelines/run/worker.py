"""A worker: one engine, and the path from a unit to its committed part.

Ray Data makes it an actor and calls it with units; several units are in flight at once, so that the
engine never drains at a unit's edge. Knows nothing of the plan or of other workers.
"""

from __future__ import annotations

import asyncio
import gc
import random
import socket
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from pipelines.answering.answer import answer_document
from pipelines.corpus.ids import accounted_hashes, digest_ids
from pipelines.documents import (
    DOC_ID,
    ENGINE_CRASH,
    TIMEOUT,
    Document,
    DocumentResult,
    Problem,
    documents_of,
)
from pipelines.engine.admission import Admission
from pipelines.engine.config import EngineConfig
from pipelines.engine.keeper import EngineSupervisor, SupervisedEngine
from pipelines.engine.vllm_engine import VllmEngine
from pipelines.errors import (
    EngineDied,
    EngineError,
    EngineHung,
    PhifleetError,
    StorageError,
    flatten_errors,
)
from pipelines.ledger.attempts import DEAD_LETTER_AFTER, MAX_ATTEMPTS, Attempt, Attempts
from pipelines.ledger.lease import Lease
from pipelines.ledger.ledger import Ledger, new_staged
from pipelines.ledger.records import Commit, StagedFile, sha256
from pipelines.models.resolve import resolve
from pipelines.run.metrics import EngineMetrics
from pipelines.run.progress import Progress
from pipelines.storage import Storage
from pipelines.tasks.columns import dead_letters_table, part_table
from pipelines.tasks.kinds import TaskSet

# Documents that are being tokenized, as a part of what the engine has in hand; their tokens are
# guessed from their characters.
_READ_AHEAD = 2
_CHARACTERS_PER_TOKEN = 4
# Documents that are in hand at a time at least, however long they are.
_LEAST_DOCUMENTS = 8
_REPORT_SECONDS = 1.0
# Seconds until a refused commit is tried again, and again.
_COMMIT_AGAIN_AFTER = (1.0, 5.0, 20.0)


@dataclass(frozen=True)
class WorkerConfig:
    """All that a worker needs to know. `metadata` goes into every part's file metadata."""

    run: str
    pool: str
    storage: Storage
    lease: Lease
    engine: EngineConfig
    tasks: TaskSet
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
            self._engine_config = replace(config.engine, model=model)
            self._tokens = config.tasks.tokenizer
            keeper = EngineSupervisor(self.start_engine)
        metrics = EngineMetrics({"run": config.run, "pool": config.pool})
        # Ray starts a dead actor again; then the engine before this one died with it
        keeper.restarts = int(_was_restarted())
        self._runner = UnitRunner(config, keeper, metrics)
        self._reporter = _Reporter(board, self._runner.progress, keeper, metrics)
        # made at its first use, which is not to be when the engine waits for prompts
        config.tasks.tokenizer.encode("")
        # what the engine's libraries made at import stays; walking it stops the loop half a second
        gc.freeze()
        self.engine_start_seconds = time.monotonic() - started

    def start_engine(self) -> SupervisedEngine:
        """Raises EngineError."""
        return VllmEngine(self._engine_config, self._tokens, ray_metrics=True)

    async def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Run the unit of a one-row batch (number, file, row_group, plan); return how it went."""
        self._reporter.start()
        unit = {name: column[0] for name, column in batch.items()}
        started = time.time()
        with self._told():
            committed = await self._runner.run(
                int(unit["number"]), str(unit["file"]), int(unit["row_group"]), str(unit["plan"])
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
        """Tell the driver why, before an error leaves this worker."""
        try:
            yield
        except* Exception as errors:
            for error in flatten_errors(errors):
                ours = isinstance(error, PhifleetError)
                told = str(error) if ours else "".join(traceback.format_exception(error))
                ray.get(self._board.fail.remote(told))
            raise


def _was_restarted() -> bool:
    return bool(ray.get_runtime_context().was_current_actor_reconstructed)


@dataclass(frozen=True)
class _Work:
    """A unit that is being answered: its number, the digest of its plan, and its rows."""

    number: int
    plan: str
    rows: pa.Table


class UnitRunner:
    """Answers the documents of units and commits them, with any engine."""

    def __init__(
        self, config: WorkerConfig, keeper: EngineSupervisor, metrics: EngineMetrics | None
    ) -> None:
        self.progress = Progress(workers=1)
        self._config = config
        self._keeper = keeper
        self._metrics = metrics
        self._columns = [task.column for task in config.tasks.all]
        self._ledger = Ledger(config.storage)
        self._attempts = Attempts(config.storage, config.lease.generation)
        self._reading = Admission(keeper.engine.kv_cache_tokens * _READ_AHEAD)
        self._least_tokens = len(self._columns) * keeper.engine.min_request_tokens

    async def run(self, number: int, file: str, row_group: int, plan: str) -> bool:
        """Answer one unit of a plan, stage its part, commit and publish it; begin anew where the
        engine dies.

        Returns False where another worker committed it first. Raises Fenced, EngineError,
        StorageError.
        """
        rows = await asyncio.to_thread(_read_rows, self._config.storage, file, row_group)
        work = _Work(number, plan, rows)
        documents = documents_of(rows)
        while True:
            started = time.monotonic()
            attempt = await asyncio.to_thread(self._begin, number)
            try:
                outcomes = await self._outcomes(attempt, documents)
                if outcomes is None:
                    # the record stays, for it was in vain
                    continue
                seconds = time.monotonic() - started
                committed = await asyncio.to_thread(self._commit, work, outcomes, seconds)
            except Exception:
                # no document is to blame for what ends this run
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
                f"unit {number}: {attempt.own_before} attempts of this run died with their "
                "workers, whatever they read; see what the log and the system say of them"
            )
        return attempt

    async def _outcomes(
        self, attempt: Attempt, documents: Sequence[Document]
    ) -> list[DocumentResult] | None:
        """What became of a unit's documents, None where the engine died: there is another now."""
        if attempt.isolated:
            async with self._keeper.exclusive():
                return await self._read_carefully(attempt, documents)
        done: list[DocumentResult] = []
        async with self._keeper.shared() as engine:
            try:
                async with asyncio.TaskGroup() as group:
                    asked = [
                        group.create_task(self._answer(document, engine, done))
                        for document in documents
                    ]
                return [task.result() for task in asked]
            except* EngineDied as errors:
                died = flatten_errors(errors)[0]
            for outcome in done:
                self.progress.uncount(outcome)
            await self._keeper.replace(engine, died)
        return None

    async def _read_carefully(
        self, attempt: Attempt, documents: Sequence[Document]
    ) -> list[DocumentResult]:
        """A document at a time, those first that were in hand when somebody died."""
        suspects_first = sorted(
            range(len(documents)), key=lambda place: -attempt.deaths_by_position.get(place, 0)
        )
        outcomes = {
            place: await self._read_alone(attempt, place, documents[place])
            for place in suspects_first
        }
        return [outcomes[place] for place in range(len(documents))]

    async def _read_alone(self, attempt: Attempt, place: int, document: Document) -> DocumentResult:
        deaths = attempt.deaths_by_position.get(place, 0)
        if deaths >= DEAD_LETTER_AFTER:
            message = f"{deaths} workers died while they read this document alone"
            return self._left_out(document, Problem(ENGINE_CRASH, message), attempt)
        engine = await self._keeper.living()
        await asyncio.to_thread(self._attempts.record_document, attempt, place, document.doc_id)
        try:
            return await self._answer(document, engine, [])
        except* EngineDied as errors:
            died = flatten_errors(errors)[0]
        try:
            await self._keeper.replace(engine, died)
            await self._probe()
        except EngineError as error:
            # whoever looks into it begins with this document
            raise EngineError(
                f"{error.message}\nThe last document that one died of: {document.source} row "
                f"{document.row}, id {document.doc_id!r}"
            ) from error
        reason = TIMEOUT if isinstance(died, EngineHung) else ENGINE_CRASH
        message = f"{died.message} while it read this document alone"
        return self._left_out(document, Problem(reason, message), attempt)

    async def _probe(self) -> None:
        """See that an engine answers at all, before a document is blamed for the death of another.
        Raises EngineError where one after the other does not."""
        tasks = self._config.tasks
        asked = tasks.all[0].question
        prompt = tasks.tokenizer.build_prompt(
            tasks.prompts.document_prefix(()).token_ids, asked.token_ids
        )
        while True:
            engine = await self._keeper.living()
            try:
                async with engine.admit(len(prompt)):
                    await engine.generate(prompt, replace(asked.sampling, max_tokens=1))
                return
            except EngineDied as error:
                died = error
            await self._keeper.replace(engine, died)

    def _left_out(self, document: Document, problem: Problem, attempt: Attempt) -> DocumentResult:
        outcome = self._count(DocumentResult(document, problem=problem, attempts=attempt.number))
        if self._metrics:
            self._metrics.document(outcome)
        return outcome

    async def _answer(
        self, document: Document, engine: SupervisedEngine, done: list[DocumentResult]
    ) -> DocumentResult:
        guessed = len(document.text or "") // _CHARACTERS_PER_TOKEN
        # a longer one is read chunk by chunk, while others keep the engine busy
        most = self._reading.capacity_tokens // _LEAST_DOCUMENTS
        async with self._reading.hold(min(most, max(guessed, self._least_tokens))):
            started = time.monotonic()
            outcome = await answer_document(document, self._config.tasks, engine)
        if outcome.answered:
            self._keeper.record_answer()
        done.append(self._count(outcome))
        if self._metrics:
            self._metrics.document(outcome, time.monotonic() - started)
        return done[-1]

    def _count(self, outcome: DocumentResult) -> DocumentResult:
        """The outcome without its text, which is needed no more."""
        self.progress.count(outcome)
        return replace(outcome, document=replace(outcome.document, text=None))

    def _commit(self, work: _Work, outcomes: Sequence[DocumentResult], seconds: float) -> bool:
        """Commit with patience: the answers have cost an engine's time, and a store may recover."""
        for pause in _COMMIT_AGAIN_AFTER:
            try:
                return self._commit_once(work, outcomes, seconds)
            except StorageError:
                # spread, for all workers were refused at once
                time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
        return self._commit_once(work, outcomes, seconds)

    def _commit_once(self, work: _Work, outcomes: Sequence[DocumentResult], seconds: float) -> bool:
        self._config.lease.check()
        record = self._stage(work, outcomes, seconds)
        if not self._ledger.commit(record):
            self._ledger.discard(record)
            return False
        self._ledger.publish(record)
        return True

    def _stage(self, work: _Work, outcomes: Sequence[DocumentResult], seconds: float) -> Commit:
        config = self._config
        part = part_table(work.rows, outcomes, self._columns, config.id_column)
        letters = [letter for outcome in outcomes for letter in outcome.dead_letters()]
        errors = dead_letters_table(letters, work.rows.schema.field(DOC_ID).type)
        usages = [answer.usage for outcome in outcomes for answer in outcome.answers]
        answered = sum(outcome.answered for outcome in outcomes)
        return Commit(
            unit=work.number,
            plan=work.plan,
            ids=digest_ids(accounted_hashes(part, errors)),
            rows=len(outcomes),
            answered=answered,
            dead_letters=len(outcomes) - answered,
            reasons=dict(Counter(letter.problem.reason for letter in letters)),
            part=self._write("part", work.number, part),
            errors=self._write("errors", work.number, errors),
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
        name = new_staged(kind, number)
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
        self, board: Any, progress: Progress, keeper: EngineSupervisor, metrics: EngineMetrics
    ) -> None:
        self._board = board
        self._progress = progress
        self._keeper = keeper
        self._metrics = metrics
        # the same when Ray has started it again
        self._worker = ray.get_runtime_context().get_actor_id()
        self._life = uuid.uuid4().hex
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while True:
            await self.report()
            await asyncio.sleep(_REPORT_SECONDS)

    async def report(self) -> None:
        in_flight = self._keeper.engine.kv_tokens_in_flight
        self._progress.note_engine(self._keeper.used, in_flight, self._keeper.restarts)
        self._metrics.in_flight(in_flight)
        await self._board.report.remote(self._worker, self._life, self._progress)
