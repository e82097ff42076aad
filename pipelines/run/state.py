"""The state of a run as its driver shows it, and the Ray actor that collects workers' progress.

For display and metrics only: no run fails because the actor is late or gone.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipelines.corpus.files import SourceFile
from pipelines.corpus.not_read import NotRead
from pipelines.run.progress import Progress, total

_ACTOR_SECONDS = 10
_LOGGER = logging.getLogger(__name__)
Value = TypeVar("Value")


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class ProgressActor:
    """The Ray actor that keeps each worker's latest progress and the failures that they report.

    If its process dies, Ray restarts it without state. Workers report running totals, so that their
    next reports restore their progress; failures, and the totals of worker processes that have
    ended, are lost.
    """

    def __init__(self) -> None:
        self._workers: dict[str, tuple[str, Progress]] = {}
        self._ended = Progress()
        self._failures: list[str] = []

    def report(self, worker: str, life: str, progress: Progress) -> None:
        """Record a worker's progress since the start of its process.

        Args:
            worker: the worker's actor id.
            life: an id of the worker's process. If Ray restarts the worker, the id changes and its
                totals begin at zero; those of the earlier process stay counted.
            progress: running totals of that process.
        """
        earlier_life, earlier = self._workers.get(worker, (life, progress))
        if earlier_life != life:
            # its documents stay counted; it reserves no tokens, and is the same worker
            earlier.workers = earlier.kv_tokens_in_flight = 0
            self._ended = total((self._ended, earlier))
        self._workers[worker] = (life, progress)

    def report_failure(self, message: str) -> None:
        """Record `message`, the reason why a worker fails: Ray may report to the driver only that
        the worker died."""
        self._failures.append(message)

    def failures(self) -> list[str]:
        """Return the messages of failed workers, first to last."""
        return self._failures

    def read(self) -> Progress:
        """Return the sum of all workers' progress."""
        return total((self._ended, *(progress for _, progress in self._workers.values())))


def start_progress_actor() -> Any:
    """Start a ProgressActor on this node, so that it does not depend on another node; return its
    handle."""
    node_id = ray.get_runtime_context().get_node_id()
    this_node = NodeAffinitySchedulingStrategy(node_id, soft=True)
    return ProgressActor.options(scheduling_strategy=this_node).remote()  # type: ignore[attr-defined]


@dataclass
class RunState:
    """The state of a run for display. The run writes it; other threads read it.

    Attributes:
        phase: the current step, as text for people.
        documents: documents of all units; while the corpus is indexed, those indexed so far.
        tokens_to_run: prompt tokens of the units that this session has to run.
        documents_before: documents of units that were committed before this session.
        units: number of units.
        units_done: number of committed units.
        spans: parts of the corpus to index.
        spans_done: parts of the corpus that are indexed.
        undivided_files: large new compressed files, each of which one CPU indexes.
        files_not_read: the files below `input.path` that are not read, by reason.
        skipped_files: for each input file that was skipped, why it cannot be read.
        progress_actor: the handle of the run's ProgressActor, or None before there is one.
    """

    phase: str = "starting"
    documents: int = 0
    tokens_to_run: int = 0
    documents_before: int = 0
    units: int = 0
    units_done: int = 0
    spans: int = 0
    spans_done: int = 0
    undivided_files: list[SourceFile] = field(default_factory=list)
    files_not_read: NotRead = field(default_factory=NotRead)
    skipped_files: list[str] = field(default_factory=list)
    progress_actor: Any = None
    _latest: Progress = field(default_factory=Progress, init=False)

    def progress(self) -> Progress:
        """Return the sum of all workers' progress, or the last known sum if the progress actor does
        not answer within 10 seconds or is not started yet."""
        self._latest = self._call("read", self._latest)
        return self._latest

    def failures(self) -> list[str]:
        """Return the messages of failed workers, or an empty list if the progress actor does not
        answer within 10 seconds."""
        none: list[str] = []
        return self._call("failures", none)

    def _call(self, method: str, default: Value) -> Value:
        if self.progress_actor is None:
            return default
        try:
            value: Value = ray.get(
                getattr(self.progress_actor, method).remote(), timeout=_ACTOR_SECONDS
            )
        except ray.exceptions.RayError as error:
            _LOGGER.warning(
                "the progress actor did not answer %r: %s. The run continues; its progress may be "
                "shown late",
                method,
                error,
            )
            return default
        return value
