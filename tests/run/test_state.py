"""Tests of the progress actor, and of a run's state when the actor is late or was restarted."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
import ray

from pipelines.run.cluster import join_cluster, leave_cluster
from pipelines.run.progress import Progress, UnitProgress
from pipelines.run.state import RunState, start_progress_actor

pytestmark = pytest.mark.filterwarnings("ignore")  # ResourceWarning of files that Ray leaves open


@pytest.fixture(scope="module")
def progress_actor() -> Iterator[Any]:
    join_cluster()
    yield start_progress_actor()
    leave_cluster()


def a_unit(answered: int) -> dict[int, UnitProgress]:
    return {1: UnitProgress(10, answered=answered)}


def test_without_a_progress_actor_the_progress_is_empty() -> None:
    assert RunState().progress() == Progress()
    assert RunState().failures() == []


def test_an_actor_that_died_is_restarted_and_later_reports_restore_it(progress_actor: Any) -> None:
    state = RunState(progress_actor=progress_actor)
    progress_actor.report.remote("a", "1", Progress(a_unit(3)))
    assert state.progress().answered == 3
    pid = ray.get(progress_actor.__ray_call__.remote(lambda _: os.getpid()))
    os.kill(pid, signal.SIGKILL)
    # the next report waits until Ray has restarted the actor
    ray.get(progress_actor.report.remote("a", "1", Progress(a_unit(4))), timeout=60)
    assert state.progress().answered == 4


def test_a_restarted_worker_is_one_worker_with_all_its_tokens_and_what_it_has_in_hand(
    progress_actor: Any,
) -> None:
    state = RunState(progress_actor=progress_actor)
    progress_actor.report.remote("a", "1", Progress())
    before = state.progress()
    progress_actor.report.remote("b", "1", Progress(a_unit(3), kv_tokens_in_flight=50, workers=1))
    progress_actor.report.remote(
        "b", "1", Progress(a_unit(4), 7, kv_tokens_in_flight=70, workers=1)
    )
    progress_actor.report.remote(
        "b", "2", Progress(a_unit(1), 5, kv_tokens_in_flight=20, workers=1)
    )
    after = state.progress()
    assert after.prompt_tokens - before.prompt_tokens == 7 + 5
    assert (before.answered, after.answered) == (0, 1)
    assert after.kv_tokens_in_flight - before.kv_tokens_in_flight == 20
    assert after.workers - before.workers == 1


def test_the_latest_progress_is_returned_if_the_actor_does_not_answer(
    progress_actor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = RunState(progress_actor=progress_actor)
    progress_actor.report.remote("a", "1", Progress(a_unit(5)))
    progress_actor.report_failure.remote("no model")
    answered = state.progress().answered
    assert state.failures() == ["no model"]
    monkeypatch.setattr("pipelines.run.state._ACTOR_SECONDS", 0.1)
    busy = progress_actor.__ray_call__.remote(lambda _: time.sleep(3))
    assert state.progress().answered == answered
    assert state.failures() == []
    ray.get(busy)
