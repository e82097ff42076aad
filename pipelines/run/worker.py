"""The worker: a Ray actor that owns one engine and runs units.

Ray Data creates the actor and calls it with units. Several calls run concurrently, so that the
engine is never idle between two units. Knows nothing of the plan or of other workers.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import traceback
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import ray

from pipelines.engine.keeper import EngineSupervisor, SupervisedEngine
from pipelines.engine.vllm_engine import VllmEngine
from pipelines.errors import PhifleetError, flatten_errors
from pipelines.ledger.used import Used
from pipelines.ledger.worker_records import ENDED, WorkerRecord
from pipelines.models.devices import CPU
from pipelines.models.resolve import resolve
from pipelines.run.check_models import load_checks
from pipelines.run.cluster import accelerator_of_this_node
from pipelines.run.metrics import EngineMetrics
from pipelines.run.recorder import Recorder
from pipelines.run.unit_runner import UnitRunner
from pipelines.run.worker_account import WorkerAccount
from pipelines.run.worker_budget import WorkerBudget
from pipelines.run.worker_config import WorkerConfig

_REPORT_SECONDS = 1.0


class Worker:
    """The actor class that Ray Data maps over units."""

    def __init__(self, config: WorkerConfig, progress_actor: Any) -> None:
        """Fetch the models' weights if this node lacks them, and start the engine.

        `progress_actor` is the handle of the run's ProgressActor. Raises ModelError, EngineError,
        after reporting the message to that actor.
        """
        self._progress_actor = progress_actor
        account = WorkerAccount(_holder(config))
        self._recorder = Recorder(config.storage, _identity(config, account.holder.worker), account)
        with self._recorder.starting(), self._failures_reported():
            # the driver's path of the model need not exist on this node
            model = resolve(config.engine.model.name, config.engine.model.revision)
            self._engine_config = replace(config.engine, model=model)
            self._tokenizer = config.tasks.tokenizer
            config = replace(config, checks=load_checks(config.checks))
            supervisor = EngineSupervisor(self.start_engine, account)
        metrics = EngineMetrics({"run": config.run, "pool": config.pool})
        # if Ray restarted this actor, its earlier engine died with the earlier process
        supervisor.restarts = account.holder.restarts
        self._runner = UnitRunner(config, supervisor, metrics, account)
        self._reporter = _Reporter(progress_actor, self._recorder, supervisor, metrics)
        # the tokenizer loads at its first use, which would delay the first prompts
        config.tasks.tokenizer.encode("")
        # objects that libraries made at import stay; collecting them blocks the loop half a second
        gc.freeze()

    def start_engine(self) -> SupervisedEngine:
        """Start an engine on this node. Raises EngineError."""
        return VllmEngine(self._engine_config, self._tokenizer, ray_metrics=True)

    async def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Run the unit of a one-row batch with the columns number, seconds, file, row_group and
        plan.

        Returns a one-row batch: `unit`; `begun`, False if a limit of the job leaves no time for the
        unit; and `commit`, its record as JSON, or "" if it was not begun, or if another worker
        committed it first.
        """
        await self._reporter.start()
        unit = {name: column[0] for name, column in batch.items()}
        number = int(unit["number"])
        if not self._reporter.budget.begin(number, float(unit["seconds"])):
            return {"unit": [number], "begun": [False], "commit": [""]}
        with self._failures_reported(), self._reporter.budget.in_hand(number):
            commit = await self._runner.run(
                number, str(unit["file"]), int(unit["row_group"]), str(unit["plan"])
            )
        await self._reporter.report()
        return {
            "unit": [number],
            "begun": [True],
            "commit": [commit.to_json().decode() if commit else ""],
        }

    def __del__(self) -> None:
        """Write the last version of the record. Ray calls it when it ends the actor in an orderly
        way."""
        if recorder := getattr(self, "_recorder", None):
            recorder.end(ENDED)

    @contextmanager
    def _failures_reported(self) -> Iterator[None]:
        """Report each error of the block to the driver, through the progress actor, and re-raise:
        Ray may report only that the worker died."""
        try:
            yield
        except* Exception as errors:
            for error in flatten_errors(errors):
                expected = isinstance(error, PhifleetError)
                message = str(error) if expected else "".join(traceback.format_exception(error))
                ray.get(self._progress_actor.report_failure.remote(message))
            raise


def _was_restarted() -> bool:
    context = ray.get_runtime_context()
    # outside of an actor, as in tests, the context refuses to say
    return context.get_actor_id() is not None and bool(context.was_current_actor_reconstructed)


def _holder(config: WorkerConfig) -> Used:
    """Return a new id for this process, and what it holds."""
    return Used(
        worker=uuid.uuid4().hex[:16],
        device=accelerator_of_this_node() if config.gpus else CPU.name,
        gpus=config.gpus,
        cpus=config.cpus,
        restarts=int(_was_restarted()),
    )


def _identity(config: WorkerConfig, life: str) -> WorkerRecord:
    # Ray keeps an actor's id when it restarts the actor
    worker = ray.get_runtime_context().get_actor_id() or ""
    generation = config.lease.generation
    return WorkerRecord(life, worker, generation, config.pool, socket.gethostname())


class _Reporter:
    """Sends a worker's progress to the progress actor, every second while the event loop runs."""

    def __init__(
        self,
        progress_actor: Any,
        recorder: Recorder,
        supervisor: EngineSupervisor,
        metrics: EngineMetrics,
    ) -> None:
        self._progress_actor = progress_actor
        self._recorder = recorder
        self._account = recorder.account
        self._supervisor = supervisor
        self._metrics = metrics
        # Ray keeps an actor's id when it restarts the actor
        self._worker = ray.get_runtime_context().get_actor_id()
        self._task: asyncio.Task[None] | None = None
        self.budget = WorkerBudget(recorder.account)

    async def start(self) -> None:
        """Begin to report. The first call returns when the driver's allowance is known."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
            await self.report()

    async def _run(self) -> None:
        while True:
            await self.report()
            await asyncio.sleep(_REPORT_SECONDS)

    async def report(self) -> None:
        engine = self._supervisor.engine
        kv_tokens = engine.kv_tokens_in_flight, engine.kv_cache_tokens
        progress = self._account.progress
        progress.note_engine(self._account.tokens, kv_tokens, self._supervisor.restarts)
        progress.note_record(self._recorder.record())
        progress.forget_committed(self._account.now())
        self._metrics.in_flight(engine.kv_tokens_in_flight)
        life = self._account.holder.worker
        allowance = await self._progress_actor.report.remote(self._worker, life, progress)
        self.budget.restate(allowance)
