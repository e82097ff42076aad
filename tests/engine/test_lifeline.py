"""An engine's processes end with the process that uses them, however that ends."""

from __future__ import annotations

import copy
import ctypes
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from leftovers import engines_of, none_after

from pipelines.engine.lifeline import Lifeline
from pipelines.models.resolve import Model

CLIENT = Path(__file__).parents[1] / "engine_client.py"
MARK = "CLIENT_OF"
LIMIT_SECONDS = 300
# Within which an engine is to be gone: where it starts, it imports vLLM first.
ENDS_WITHIN, ENDS_STARTING_WITHIN = 10, 60


@pytest.fixture
def client(tiny_model: Model, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, CLIENT, tmp_path / "started"], stdout=log, stderr=log,
            env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", MARK: str(tmp_path)},
        )  # fmt: skip
    yield process
    process.kill()
    process.wait()
    for each in engines_of(MARK, str(tmp_path)):
        each.kill()


def await_moment(client: subprocess.Popen[bytes], moment: Callable[[], bool], log: Path) -> None:
    until = time.monotonic() + LIMIT_SECONDS
    while not moment():
        assert client.poll() is None and time.monotonic() < until, log.read_text()[-3000:]
        time.sleep(0.05)


def test_an_engine_waits_for_a_client_that_is_stopped_and_ends_with_one_that_is_killed(
    client: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    await_moment(client, (tmp_path / "started").exists, tmp_path / "log")
    processes = engines_of(MARK, str(tmp_path))
    assert len(processes) == 2
    client.send_signal(signal.SIGSTOP)
    time.sleep(2)
    assert all(each.is_running() for each in processes)
    # also one that hangs
    for each in processes:
        each.suspend()
    client.kill()
    assert none_after(ENDS_WITHIN, lambda: engines_of(MARK, str(tmp_path))) == []


def test_an_engine_that_starts_ends_with_a_client_that_is_killed(
    client: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    await_moment(client, lambda: engines_of(MARK, str(tmp_path)) != [], tmp_path / "log")
    # it has been told what it is to run
    time.sleep(1)
    client.kill()
    assert none_after(ENDS_STARTING_WITHIN, lambda: engines_of(MARK, str(tmp_path))) == []


TIED = """
import ctypes, multiprocessing
from pipelines.engine.lifeline import Lifeline
from pipelines.models.resolve import Model

def look(pipe, *lifelines):
    told = ctypes.c_int()
    ctypes.CDLL(None).prctl(2, ctypes.byref(told))  # PR_GET_PDEATHSIG
    pipe.send(told.value)

if __name__ == "__main__":
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    for lifelines in ((), (Lifeline(),)):
        context.Process(target=look, args=(there, *lifelines)).start()
        print(here.recv())
"""


def test_a_process_is_tied_to_its_parent_where_a_lifeline_arrives(tmp_path: Path) -> None:
    path = tmp_path / "tied.py"
    path.write_text(TIED)
    done = subprocess.run([sys.executable, path], capture_output=True, text=True)
    assert done.stdout.split() == ["0", f"{signal.SIGKILL:d}"], done.stderr


def test_a_lifeline_that_is_copied_changes_nothing_in_its_own_process() -> None:
    lifeline = Lifeline()
    before = death_signal()
    for copied in (copy.deepcopy(lifeline), pickle.loads(pickle.dumps(lifeline))):  # noqa: S301
        assert copied.compute_hash() == lifeline.compute_hash()
    assert death_signal() == before


def death_signal() -> int:
    told = ctypes.c_int()
    ctypes.CDLL(None).prctl(2, ctypes.byref(told))  # PR_GET_PDEATHSIG
    return told.value
