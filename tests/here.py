"""Runs of a job in this process: the real planner, workers and ledger, and a fake engine.

Without Ray a run takes moments, and its storage can be made to tell of each change before it makes
it: there a test can kill the run, or let another take it over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
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
# Every document that is read is a unit.
_LEAST_UNIT_SECONDS = 1e-9
OnChange = Callable[[str], None]


@dataclass(frozen=True)
class ObservedStorage(Storage):
    """A storage that tells what it is about to change."""

    tell: OnChange

    def write(self, name: str, data: bytes) -> None:
        self.tell(f"write {name}")
        super().write(name, data)

    def create(self, name: str, data: bytes) -> bool:
        self.tell(f"create {name}")
        return super().create(name, data)

    def copy(self, source: str, target: str) -> None:
        self.tell(f"copy to {target}")
        super().copy(source, target)

    def remove(self, name: str) -> None:
        self.tell(f"remove {name}")
        super().remove(name)

    def remove_matching(self, directory: str, gone: Callable[[str], bool]) -> None:
        self.tell(f"clear {directory}")
        super().remove_matching(directory, gone)

    def _put(self, finished: Path, name: str) -> None:
        self.tell(f"put {name}")
        super()._put(finished, name)


@dataclass
class InProcessRun(BatchRun):
    """A run whose units are answered here, one after the other."""

    make_engine: Callable[[], FakeEngine] | None = None
    engines: list[FakeEngine] = field(default_factory=list)

    def observed_by(self, tell: OnChange) -> InProcessRun:
        """The same run, whose storage tells what it is about to change."""
        self.storage = ObservedStorage(self.storage.url, tell)
        self.ledger = Ledger(self.storage)
        return self

    def __call__(self) -> dict[str, Any]:
        """From the claim to the end. Raises PhifleetError."""
        return self.execute(ONE_MACHINE, self.claim(ONE_MACHINE))

    @property
    def prompts(self) -> list[str]:
        return [prompt for engine in self.engines for prompt in engine.prompts]

    def _run(self, left: Sequence[Unit], seat: EngineResources) -> None:
        asyncio.run(self._answer(left, seat))

    async def _answer(self, left: Sequence[Unit], seat: EngineResources) -> None:
        keeper = EngineSupervisor(self._start)
        runner = UnitRunner(self._worker_config(left, seat), keeper, None)
        for unit in left:
            await runner.run(unit.number, unit.file, unit.row_group, self._plans[unit.number])

    def _start(self) -> FakeEngine:
        made = self.make_engine or (lambda: FakeEngine(self.prepared.tasks.tokenizer))
        self.engines.append(made())
        return self.engines[-1]


def in_process_run(
    directory: Path,
    corpus: str | Path,
    output: str | Path,
    *,
    make_engine: Callable[[], FakeEngine] | None = None,
    skip_bad_files: bool = False,
    **job: Mapping[str, Any],
) -> InProcessRun:
    """A run over a corpus with an id column `doc`; `job` has more of the job file's keys."""
    source: dict[str, Any] = {
        "name": "here",
        "input": {"path": str(corpus), "id_column": "doc", **job.pop("input", {})},
        "output": {"path": str(output)},
        "model": {"name": "tiny-random"},
        "tasks": [{"name": "summary", "kind": "summarize", "max_words": 4}],
        "limits": {"max_dead_letter_fraction": 1.0},
        **job,
    }
    path = directory / "job.yaml"
    path.write_text(yaml.safe_dump(source))
    prepared = prepare_job(load_job(path, []))
    return InProcessRun(prepared, _LEAST_UNIT_SECONDS, skip_bad_files, make_engine=make_engine)
