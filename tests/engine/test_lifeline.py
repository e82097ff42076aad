"""Tests that an engine's processes end with the process that uses them, however that ends."""

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
# Seconds within which an engine must end; one that is starting imports vLLM first.
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
    for engine_process in engines_of(MARK, str(tmp_path)):
        engine_process.kill()


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
    assert all(p.is_running() for p in processes)
    # stopped processes must end too
    for engine_process in processes:
        engine_process.suspend()
    client.kill()
    assert none_after(ENDS_WITHIN, lambda: engines_of(MARK, str(tmp_path))) == []


def test_an_engine_that_starts_ends_with_a_client_that_is_killed(
    client: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    await_moment(client, lambda: engines_of(MARK, str(tmp_path)) != [], tmp_path / "log")
    # until it has received its configuration
    time.sleep(1)
    client.kill()
    assert none_after(ENDS_STARTING_WITHIN, lambda: engines_of(MARK, str(tmp_path))) == []


UNPICKLING = """
import ctypes, multiprocessing
from pipelines.engine.lifeline import Lifeline
from pipelines.models.resolve import Model

def send_death_signal(pipe, *lifelines):
    number = ctypes.c_int()
    ctypes.CDLL(None).prctl(2, ctypes.byref(number))  # PR_GET_PDEATHSIG
    pipe.send(number.value)

if __name__ == "__main__":
    receiver, sender = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    for lifelines in ((), (Lifeline(),)):
        context.Process(target=send_death_signal, args=(sender, *lifelines)).start()
        print(receiver.recv())
"""


def test_a_process_that_unpickles_a_lifeline_gets_a_death_signal(tmp_path: Path) -> None:
    path = tmp_path / "unpickling.py"
    path.write_text(UNPICKLING)
    done = subprocess.run([sys.executable, path], capture_output=True, text=True)
    assert done.stdout.split() == ["0", f"{signal.SIGKILL:d}"], done.stderr


def test_copying_a_lifeline_in_its_own_process_sets_no_death_signal() -> None:
    lifeline = Lifeline()
    before = death_signal()
    for copied in (copy.deepcopy(lifeline), pickle.loads(pickle.dumps(lifeline))):  # noqa: S301
        assert copied.compute_hash() == lifeline.compute_hash()
    assert death_signal() == before


def death_signal() -> int:
    """Return the signal that the kernel sends this process when its parent ends, or 0."""
    number = ctypes.c_int()
    ctypes.CDLL(None).prctl(2, ctypes.byref(number))  # PR_GET_PDEATHSIG
    return number.value
