"""The state of a run as its driver shows it, and the Ray actor that collects workers' progress.

For display and metrics only: no run fails because the actor is late or gone.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipelines.corpus.files import SourceFile
from pipelines.corpus.not_read import NotRead
from pipelines.corpus.units import Unit
from pipelines.ledger.records import Commit
from pipelines.run.books import Books
from pipelines.run.limits import Allowance, RunLimits
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
        self._allowance: Allowance | None = None

    def allow(self, allowance: Allowance) -> None:
        """Record what each worker may still do, for the answers to its next reports."""
        self._allowance = allowance

    def report(self, worker: str, life: str, progress: Progress) -> Allowance | None:
        """Record a worker's progress since the start of its process, and return what it may do;
        None if this actor does not know.

        Args:
            worker: the worker's actor id.
            life: an id of the worker's process. If Ray restarts the worker, the id changes and its
                totals begin at zero; those of the earlier process stay counted.
            progress: running totals of that process.
        """
        earlier_life, earlier = self._workers.get(worker, (life, progress))
        if earlier_life != life:
            # its tokens stay counted; it has nothing in hand, and is the same worker
            earlier.workers = earlier.kv_tokens_in_flight = earlier.kv_cache_tokens = 0
            earlier.units = {}
            self._ended = total((self._ended, earlier))
        self._workers[worker] = (life, progress)
        return self._allowance

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
        documents_done: documents of committed units.
        tokens: prompt tokens of all units, as planned.
        tokens_done: those of committed units.
        seconds_done: the planned engine time of committed units, in seconds.
        units: number of units.
        units_done: number of committed units.
        left: the units that are not committed, by number.
        books: the sums over commits.
        spans: parts of the corpus to index.
        spans_done: parts of the corpus that are indexed.
        index_seconds: seconds that indexing took.
        undivided_files: large new compressed files, each of which one CPU indexes.
        files_not_read: the files below `input.path` that are not read, by reason.
        skipped_files: for each input file that was skipped, why it cannot be read.
        retried: the dead letters that are asked again, by reason; None if that was not requested.
        progress_actor: the handle of the run's ProgressActor, or None before there is one.
        limits: the job's limits on its cluster, None before they are known.
        generation: that of the driver's lease, 0 before it has one.
    """

    phase: str = "starting"
    documents: int = 0
    documents_done: int = 0
    tokens: int = 0
    tokens_done: int = 0
    seconds_done: float = 0.0
    units: int = 0
    units_done: int = 0
    left: dict[int, Unit] = field(default_factory=dict)
    books: Books = field(default_factory=Books)
    spans: int = 0
    spans_done: int = 0
    index_seconds: float = 0.0
    undivided_files: list[SourceFile] = field(default_factory=list)
    files_not_read: NotRead = field(default_factory=NotRead)
    skipped_files: list[str] = field(default_factory=list)
    retried: Mapping[str, int] | None = None
    progress_actor: Any = None
    limits: RunLimits | None = None
    generation: int = 0
    _latest: Progress = field(default_factory=Progress, init=False)

    def plan(self, units: Sequence[Unit], committed: Collection[int]) -> list[Unit]:
        """Set the totals to those of all planned units, and return the ones that are not
        committed."""
        remaining = [unit for unit in units if unit.number not in committed]
        self.left = {unit.number: unit for unit in remaining}
        self.documents = sum(unit.rows for unit in units)
        self.documents_done = self.documents - sum(unit.rows for unit in remaining)
        self.tokens = sum(unit.prompt_tokens for unit in units)
        self.tokens_done = self.tokens - sum(unit.prompt_tokens for unit in remaining)
        done = [unit for unit in units if unit.number not in self.left]
        self.seconds_done = sum(unit.seconds for unit in done)
        self.units = len(units)
        self.units_done = len(units) - len(remaining)
        return remaining

    def note_commit(self, commit: Commit) -> None:
        """Count the commit of a unit."""
        self.books.add(commit)
        if unit := self.left.pop(commit.unit, None):
            self.units_done += 1
            self.documents_done += unit.rows
            self.tokens_done += unit.prompt_tokens
            self.seconds_done += unit.seconds

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

    def allow(self, allowance: Allowance) -> None:
        """State to the workers what each of them may do."""
        self._call("allow", None, allowance)

    def _call(self, method: str, default: Value, *arguments: Any) -> Value:
        # a thread that is late must not start another Ray
        if self.progress_actor is None or not ray.is_initialized():
            return default
        try:
            value: Value = ray.get(
                getattr(self.progress_actor, method).remote(*arguments), timeout=_ACTOR_SECONDS
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
