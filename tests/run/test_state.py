"""The board of the workers' progress: no run fails of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
import ray

from pipelines.run.cluster import join_cluster, leave_cluster
from pipelines.run.progress import Progress
from pipelines.run.state import RunState, start_progress_actor

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own, of files that it leaves open


@pytest.fixture(scope="module")
def board() -> Iterator[Any]:
    join_cluster()
    yield start_progress_actor()
    leave_cluster()


def test_before_there_is_a_board_nothing_is_known() -> None:
    assert RunState().progress() == Progress()
    assert RunState().failures() == []


def test_a_board_that_died_is_there_again_with_what_workers_report_then(board: Any) -> None:
    state = RunState(progress_actor=board)
    board.report.remote("a", "1", Progress(answered=3))
    assert state.progress().answered == 3
    pid = ray.get(board.__ray_call__.remote(lambda _: os.getpid()))
    os.kill(pid, signal.SIGKILL)
    # a worker's next report waits until the board is there
    ray.get(board.report.remote("a", "1", Progress(answered=4)), timeout=60)
    assert state.progress().answered == 4


def test_a_worker_that_was_started_again_is_one_worker_with_all_that_it_did(board: Any) -> None:
    state = RunState(progress_actor=board)
    before = state.progress()
    board.report.remote("b", "1", Progress(answered=3, kv_tokens_in_flight=50, workers=1))
    board.report.remote("b", "1", Progress(answered=4, kv_tokens_in_flight=70, workers=1))
    board.report.remote("b", "2", Progress(answered=1, kv_tokens_in_flight=20, workers=1))
    after = state.progress()
    assert after.answered - before.answered == 4 + 1
    assert after.kv_tokens_in_flight - before.kv_tokens_in_flight == 20
    assert after.workers - before.workers == 1


def test_of_a_board_that_does_not_answer_the_last_is_known(
    board: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = RunState(progress_actor=board)
    board.report.remote("a", "1", Progress(answered=5))
    board.report_failure.remote("no model")
    answered = state.progress().answered
    assert state.failures() == ["no model"]
    monkeypatch.setattr("pipelines.run.state._ACTOR_SECONDS", 0.1)
    busy = board.__ray_call__.remote(lambda _: time.sleep(3))
    assert state.progress().answered == answered
    assert state.failures() == []
    ray.get(busy)
