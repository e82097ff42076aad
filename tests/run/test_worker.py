"""Tests that a worker reports to the driver why it fails: Ray may report only that it died."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from fakes import FakeEngine, tasks_of

from pipelines.engine.config import EngineConfig
from pipelines.errors import EngineError
from pipelines.job.task_specs import SummarizeTask
from pipelines.ledger.lease import take_lease
from pipelines.models.resolve import Model
from pipelines.run.cluster import join_cluster, leave_cluster
from pipelines.run.state import RunState, start_progress_actor
from pipelines.run.worker import Worker
from pipelines.run.worker_config import WorkerConfig
from pipelines.storage import Storage
from pipelines.text.tokens import ChatTokenizer

pytestmark = pytest.mark.filterwarnings("ignore")  # ResourceWarning of files that Ray leaves open


class WithoutMemory(Worker):
    def start_engine(self) -> FakeEngine:
        raise EngineError("the engine did not start: out of memory")


class Defective(Worker):
    def start_engine(self) -> FakeEngine:
        raise ZeroDivisionError("a defect")


@pytest.fixture(scope="module")
def _cluster() -> Iterator[None]:
    join_cluster()
    yield
    leave_cluster()


@pytest.fixture
def progress_actor(_cluster: None) -> Any:
    return start_progress_actor()


@pytest.fixture
def config(tmp_path: Path, tiny_model: Model, tiny_tokenizer: ChatTokenizer) -> WorkerConfig:
    storage = Storage(str(tmp_path))
    return WorkerConfig(
        run="test",
        pool="short",
        storage=storage,
        lease=take_lease(storage),
        engine=EngineConfig(tiny_model, 4096, gpu=False),
        tasks=tasks_of((SummarizeTask(name="summary"),), tiny_model, tiny_tokenizer),
        id_column="key",
        metadata={},
    )


def test_the_message_of_an_expected_error_reaches_the_driver(
    config: WorkerConfig, progress_actor: Any
) -> None:
    with pytest.RaisesGroup(EngineError):
        WithoutMemory(config, progress_actor)
    state = RunState(progress_actor=progress_actor)
    assert state.failures() == ["the engine did not start: out of memory"]


def test_an_unexpected_error_reaches_the_driver_with_its_traceback(
    config: WorkerConfig, progress_actor: Any
) -> None:
    with pytest.RaisesGroup(ZeroDivisionError):
        Defective(config, progress_actor)
    (failure,) = ray.get(progress_actor.failures.remote())
    assert failure.startswith("Traceback")
    assert failure.rstrip().endswith("ZeroDivisionError: a defect")
