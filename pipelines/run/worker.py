"""The worker: a Ray actor that owns one engine and runs units.

Ray Data creates the actor and calls it with units. Several calls run concurrently, so that the
engine is never idle between two units. Knows nothing of the plan or of other workers.
"""

from __future__ import annotations

import asyncio
import gc
import time
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
from pipelines.models.resolve import resolve
from pipelines.run.check_models import load_checks
from pipelines.run.metrics import EngineMetrics
from pipelines.run.progress import Progress
from pipelines.run.unit_runner import UnitRunner
from pipelines.run.worker_config import WorkerConfig

_REPORT_SECONDS = 1.0


class Worker:
    """The actor class that Ray Data maps over units.

    Attributes:
        engine_start_seconds: seconds that the constructor took.
    """

    def __init__(self, config: WorkerConfig, progress_actor: Any) -> None:
        """Fetch the models' weights if this node lacks them, and start the engine.

        `progress_actor` is the handle of the run's ProgressActor. Raises ModelError, EngineError,
        after reporting the message to that actor.
        """
        started = time.monotonic()
        self._progress_actor = progress_actor
        with self._failures_reported():
            # the driver's path of the model need not exist on this node
            model = resolve(config.engine.model.name, config.engine.model.revision)
            self._engine_config = replace(config.engine, model=model)
            self._tokenizer = config.tasks.tokenizer
            config = replace(config, checks=load_checks(config.checks))
            supervisor = EngineSupervisor(self.start_engine)
        metrics = EngineMetrics({"run": config.run, "pool": config.pool})
        # if Ray restarted this actor, its earlier engine died with the earlier process
        supervisor.restarts = int(_was_restarted())
        self._runner = UnitRunner(config, supervisor, metrics)
        self._reporter = _Reporter(progress_actor, self._runner.progress, supervisor, metrics)
        # the tokenizer loads at its first use, which would delay the first prompts
        config.tasks.tokenizer.encode("")
        # objects that libraries made at import stay; collecting them blocks the loop half a second
        gc.freeze()
        self.engine_start_seconds = time.monotonic() - started

    def start_engine(self) -> SupervisedEngine:
        """Start an engine on this node. Raises EngineError."""
        return VllmEngine(self._engine_config, self._tokenizer, ray_metrics=True)

    async def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Run the unit of a one-row batch with the columns number, file, row_group and plan.

        Returns a one-row batch: `unit`; `committed`, False if another worker committed it first;
        `started` and `ended` in Unix seconds; `engine_start_seconds` of this worker.
        """
        self._reporter.start()
        unit = {name: column[0] for name, column in batch.items()}
        started = time.time()
        with self._failures_reported():
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
    return bool(ray.get_runtime_context().was_current_actor_reconstructed)


class _Reporter:
    """Sends a worker's progress to the progress actor, every second while the event loop runs."""

    def __init__(
        self,
        progress_actor: Any,
        progress: Progress,
        supervisor: EngineSupervisor,
        metrics: EngineMetrics,
    ) -> None:
        self._progress_actor = progress_actor
        self._progress = progress
        self._supervisor = supervisor
        self._metrics = metrics
        # Ray keeps an actor's id when it restarts the actor; the process id of ours changes
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
        in_flight = self._supervisor.engine.kv_tokens_in_flight
        self._progress.note_engine(self._supervisor.used, in_flight, self._supervisor.restarts)
        self._metrics.in_flight(in_flight)
        await self._progress_actor.report.remote(self._worker, self._life, self._progress)
