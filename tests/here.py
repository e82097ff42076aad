"""Runs a job within the test's process: the real planner, worker and ledger with a fake engine.

Without Ray a run takes less than a second. A test can be notified before each change of storage,
and stop the run there, or let another driver acquire its lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from fakes import FakeEngine

from pipelines.corpus.units import Unit
from pipelines.engine.keeper import EngineSupervisor
from pipelines.job.spec import load_job
from pipelines.ledger.ledger import Ledger
from pipelines.run.batch import BatchRun
from pipelines.run.cluster import Cluster, EngineResources
from pipelines.run.prepared import prepare_job
from pipelines.run.unit_runner import UnitRunner
from pipelines.storage import Storage

ONE_MACHINE = Cluster(cpus=2, gpus=0, accelerator=None)
# So short that each document becomes a unit of its own.
_LEAST_UNIT_SECONDS = 1e-9
OnChange = Callable[[str], None]


@dataclass(frozen=True)
class ObservedStorage(Storage):
    """A storage that calls `on_change` before each change, with for example "write NAME"."""

    on_change: OnChange

    def write(self, name: str, data: bytes) -> None:
        self.on_change(f"write {name}")
        super().write(name, data)

    def create(self, name: str, data: bytes) -> bool:
        self.on_change(f"create {name}")
        return super().create(name, data)

    def copy(self, source: str, target: str) -> None:
        self.on_change(f"copy to {target}")
        super().copy(source, target)

    def remove(self, name: str) -> None:
        self.on_change(f"remove {name}")
        super().remove(name)

    def remove_matching(self, directory: str, matches: Callable[[str], bool]) -> None:
        self.on_change(f"clear {directory}")
        super().remove_matching(directory, matches)

    def _put(self, finished: Path, name: str) -> None:
        self.on_change(f"put {name}")
        super()._put(finished, name)


@dataclass
class InProcessRun(BatchRun):
    """A run that answers its units in this process, one after the other.

    `make_engine` creates its engines, by default `FakeEngine`; `engines` are those created.
    """

    make_engine: Callable[[], FakeEngine] | None = None
    engines: list[FakeEngine] = field(default_factory=list)

    def observed_by(self, on_change: OnChange) -> InProcessRun:
        """Call `on_change` before each change of the run's storage, and return the run."""
        self.storage = ObservedStorage(self.storage.url, on_change)
        self.ledger = Ledger(self.storage)
        return self

    def __call__(self) -> dict[str, Any]:
        """Claim and execute the run, and return its manifest. Raises PhifleetError."""
        return self.execute(ONE_MACHINE, self.claim(ONE_MACHINE))

    @property
    def prompts(self) -> list[str]:
        """Return the prompts that all engines received, in order."""
        return [prompt for engine in self.engines for prompt in engine.prompts]

    def _run(self, units: Sequence[Unit], resources: EngineResources) -> None:
        asyncio.run(self._answer(units, resources))

    async def _answer(self, units: Sequence[Unit], resources: EngineResources) -> None:
        supervisor = EngineSupervisor(self._start)
        runner = UnitRunner(self._worker_config(units, resources), supervisor, None)
        for unit in units:
            await runner.run(unit.number, unit.file, unit.row_group, self._plans[unit.number])

    def _start(self) -> FakeEngine:
        make = self.make_engine or (lambda: FakeEngine(self.prepared.tasks.tokenizer))
        self.engines.append(make())
        return self.engines[-1]


def in_process_run(
    directory: Path,
    corpus: str | Path,
    output: str | Path,
    *,
    make_engine: Callable[[], FakeEngine] | None = None,
    skip_bad_files: bool = False,
    table: str | None = None,
    **job: Any,
) -> InProcessRun:
    """Return a run over a corpus whose id column is `doc`. `table` is `output.table`, and `job` are
    further sections of the job file."""
    source: dict[str, Any] = {
        "name": "here",
        "input": {"path": str(corpus), "id_column": "doc", **job.pop("input", {})},
        "output": {"path": str(output), "table": table},
        "model": {"name": "tiny-random"},
        "tasks": [{"name": "summary", "kind": "summarize", "max_words": 4}],
        "limits": {"max_dead_letter_fraction": 1.0},
        **job,
    }
    path = directory / "job.yaml"
    path.write_text(yaml.safe_dump(source))
    prepared = prepare_job(load_job(path, []))
    return InProcessRun(prepared, _LEAST_UNIT_SECONDS, skip_bad_files, make_engine=make_engine)
