"""The clean-up of a run, and its stop by signals or by fencing: without Ray, on a real store."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fakes_storage import S3Server
from here import ObservedStorage

from jobs.control import (
    CleanUp,
    Interruption,
    Stopped,
    in_background,
    stop_on_fencing,
    stop_on_signals,
)
from pipelines.errors import ClusterError, EngineError, Fenced, PhifleetError
from pipelines.ledger.attempts import ATTEMPTS, Attempts
from pipelines.ledger.lease import Lease, take_lease
from pipelines.storage import Storage

FAILURES = [Fenced("fenced"), ClusterError("no CPU"), EngineError("died"), ValueError("a bug")]


@dataclass
class RecordedCleanUp:
    """The clean-up of a run that holds a lease and one attempt, and the steps it has taken."""

    storage: Storage
    log: Path
    steps: list[str] = field(default_factory=list)
    leave_error: Exception | None = None
    report_error: Exception | None = None

    def __post_init__(self) -> None:
        lease = take_lease(self.storage)
        Attempts(self.storage, lease.generation).begin(0)
        observed = ObservedStorage(self.storage.url, self._observe)
        self.log.write_text("lines of the log")
        self.clean_up = CleanUp(self._leave, self.log, self, Lease(observed, lease.generation))

    def print_stopped(self, stopped: Stopped) -> None:
        if self.report_error:
            raise self.report_error
        self.steps.append(f"report {stopped}")

    def print_log_not_stored(self, log: Path, error: PhifleetError) -> None:
        self.steps.append(f"report that the log stays at {log}: {type(error).__name__}")

    def _leave(self) -> None:
        self.steps.append("leave the cluster")
        if self.leave_error:
            raise self.leave_error

    def _observe(self, change: str) -> None:
        self.steps.append(change.partition(f"{ATTEMPTS}/")[0])

    def run(self, error: BaseException | None = None) -> None:
        with self.clean_up.at_end():
            if error:
                raise error


REMOVE_ATTEMPT, STORE_LOG = "remove ", "write _run/log"


@pytest.fixture
def recorded(s3: S3Server, tmp_path: Path) -> RecordedCleanUp:
    return RecordedCleanUp(Storage(f"{s3.new_bucket()}/out"), tmp_path / "log")


def test_after_success_the_cluster_is_left_and_then_the_log_stored(
    recorded: RecordedCleanUp,
) -> None:
    recorded.run()
    assert recorded.steps == ["leave the cluster", STORE_LOG]
    assert recorded.storage.read("_run/log") == b"lines of the log"


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_after_an_error_the_attempts_of_this_driver_are_ended_too(
    error: Exception, recorded: RecordedCleanUp
) -> None:
    with pytest.raises(type(error)) as raised:
        recorded.run(error)
    assert raised.value is error
    assert recorded.steps == ["leave the cluster", REMOVE_ATTEMPT, STORE_LOG]
    assert recorded.storage.names(ATTEMPTS) == []


def test_a_stop_is_reported_before_the_cluster_is_left(recorded: RecordedCleanUp) -> None:
    with pytest.raises(Stopped):
        recorded.run(Stopped("SIGTERM"))
    assert recorded.steps == ["report SIGTERM", "leave the cluster", REMOVE_ATTEMPT, STORE_LOG]


def test_the_log_is_stored_though_the_cluster_cannot_be_left(recorded: RecordedCleanUp) -> None:
    recorded.leave_error = RuntimeError("Ray is gone")
    with pytest.raises(RuntimeError, match="Ray is gone") as raised:
        recorded.run(Stopped("SIGINT"))
    assert isinstance(raised.value.__context__, Stopped)
    # workers may still run, so their attempts count
    assert recorded.steps == ["report SIGINT", "leave the cluster", STORE_LOG]


def test_the_cluster_is_left_though_the_stop_cannot_be_reported(
    recorded: RecordedCleanUp,
) -> None:
    recorded.report_error = BrokenPipeError("the terminal is closed")
    with pytest.raises(BrokenPipeError):
        recorded.run(Stopped("SIGINT"))
    assert recorded.steps == ["leave the cluster", REMOVE_ATTEMPT, STORE_LOG]


def test_the_log_of_a_fenced_driver_is_not_stored(recorded: RecordedCleanUp) -> None:
    take_lease(recorded.storage)
    recorded.run()
    notice = f"report that the log stays at {recorded.log}: Fenced"
    assert recorded.steps == ["leave the cluster", notice]


def test_a_run_without_a_lease_only_leaves_the_cluster(recorded: RecordedCleanUp) -> None:
    recorded.clean_up.lease = None
    with pytest.raises(ClusterError):
        recorded.run(ClusterError("Ray did not start"))
    assert recorded.steps == ["leave the cluster"]


def test_the_log_of_a_local_output_is_there_already(tmp_path: Path) -> None:
    recorded = RecordedCleanUp(Storage(str(tmp_path / "out")), tmp_path / "log")
    recorded.run()
    assert recorded.steps == ["leave the cluster"]


def test_computing_in_background_gives_the_result_or_the_error() -> None:
    with in_background(lambda: threading.current_thread()) as thread:
        assert thread.result() is not threading.current_thread()
    with in_background(lambda: 1 // 0) as failed, pytest.raises(ZeroDivisionError):
        failed.result()


def test_the_end_of_the_block_does_not_wait_for_the_background() -> None:
    released = threading.Event()
    with in_background(lambda: released.wait(30)) as future:
        pass
    assert not future.done()
    released.set()
    assert future.result()


@pytest.fixture
def leases(tmp_path: Path) -> Iterator[Callable[[], Lease]]:
    storage = Storage(str(tmp_path / "out"))
    yield lambda: take_lease(storage)


def test_a_second_driver_stops_the_first_with_fenced(leases: Callable[[], Lease]) -> None:
    mine = leases()
    with (
        pytest.raises(Fenced, match="generation 2"),
        stop_on_signals(),
        stop_on_fencing(mine, poll_seconds=0.01),
    ):
        leases()
        time.sleep(30)


def test_a_signal_stops_a_driver_that_is_not_fenced_with_stopped(
    leases: Callable[[], Lease],
) -> None:
    with (
        pytest.raises(Stopped, match="SIGTERM"),
        stop_on_signals(),
        stop_on_fencing(leases(), poll_seconds=0.01),
    ):
        signal.raise_signal(signal.SIGTERM)


def test_the_lease_is_not_watched_after_the_block(leases: Callable[[], Lease]) -> None:
    with stop_on_fencing(leases(), poll_seconds=0.01):
        pass
    assert "lease" not in {thread.name for thread in threading.enumerate()}


def test_the_handlers_of_before_are_restored() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Stopped, match="SIGINT"), stop_on_signals():
        signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_second_request_to_stop_ends_the_process_at_once() -> None:
    program = """
import signal, time
from jobs.control import Stopped, stop_on_signals
with stop_on_signals():
    try:
        signal.raise_signal(signal.SIGTERM)
    except Stopped:
        signal.raise_signal(signal.SIGTERM)
        print("continues", flush=True)
        time.sleep(1.1)
        signal.raise_signal(signal.SIGTERM)
        print("never", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "continues\n")


def test_an_error_of_another_thread_is_raised_in_the_main_thread() -> None:
    interruption = Interruption()
    error = ClusterError("Ray died")
    threading.Timer(0.1, interruption.interrupt, [error]).start()
    with pytest.raises(ClusterError) as raised, stop_on_signals(), interruption.raised():
        threading.Event().wait(30)
    assert raised.value is error


def test_an_error_can_be_raised_from_the_main_thread_too() -> None:
    interruption = Interruption()
    with pytest.raises(ClusterError), stop_on_signals(), interruption.raised():
        interruption.interrupt(ClusterError("Ray died"))
        raise AssertionError("the block continued")


def test_a_signal_during_an_interruptible_block_still_stops_it() -> None:
    with pytest.raises(Stopped), stop_on_signals(), Interruption().raised():
        signal.raise_signal(signal.SIGTERM)


def test_a_second_signal_calls_what_the_caller_has_chosen() -> None:
    calls: list[str] = []
    with pytest.raises(Stopped), stop_on_signals(again=lambda number: calls.append(number.name)):
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            time.sleep(1.1)  # a signal within a second is the same request
            signal.raise_signal(signal.SIGINT)
    assert calls == ["SIGINT"]


def test_in_another_thread_fencing_interrupts_nothing(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    lease = take_lease(storage)
    take_lease(storage)
    ended: list[str] = []

    def work() -> None:
        with stop_on_fencing(lease, poll_seconds=0.01):
            time.sleep(0.2)
        ended.append("the block")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended == ["the block"]
