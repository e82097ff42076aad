"""A run from joining the cluster to its clean-up, without Ray: a fake cluster, a real ledger, and
a fake engine in this process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from here import ONE_MACHINE, in_process_run
from rich.console import Console

from jobs.control import Stopped, stop_on_signals
from jobs.hosts import WatchRay, ending_process
from jobs.run import execute
from jobs.summary import RunPrinter
from phifleet.host import raise_when_ray_dies
from pipelines.errors import ClusterError, EngineError, Fenced, ModelError
from pipelines.ledger.attempts import ATTEMPTS, Attempts
from pipelines.ledger.lease import take_lease
from pipelines.run.batch import BatchRun
from pipelines.run.cluster import Cluster
from pipelines.run.output_state import Claim
from pipelines.run.ports import free_port
from pipelines.run.screen import Screen

pytestmark = pytest.mark.usefixtures("tiny_model")


class FakeCluster:
    """A cluster of one machine; `on_join` is called in place of Ray's start."""

    def __init__(self, on_join: Callable[[], object] = lambda: None) -> None:
        self._on_join = on_join
        self.joined = self.left = 0

    def join_cluster(self) -> Cluster:
        self.joined += 1
        self._on_join()
        return ONE_MACHINE

    def leave_cluster(self) -> None:
        self.left += 1

    def metrics_addresses(self) -> list[str]:
        return ["http://10.0.0.1:8080/metrics"]


@dataclass
class ScriptedRun(BatchRun):
    """A run that claims OUTPUT, begins an attempt at a unit, and then calls `work`."""

    work: Callable[[], object] = lambda: None

    def execute(self, cluster: Cluster, claim: Claim) -> dict[str, Any]:
        Attempts(self.storage, claim.lease.generation).begin(0)
        self.work()
        raise AssertionError("the work returned")


@dataclass
class Driver:
    """Calls `execute` with a run, and records what it prints, and the exit codes that it asks for
    unless it has another `watch_ray`."""

    run: BatchRun
    log: Path
    cluster: FakeCluster = field(default_factory=FakeCluster)
    exit_codes: list[int] = field(default_factory=list)
    printed: StringIO = field(default_factory=StringIO)
    results: StringIO = field(default_factory=StringIO)
    watch_ray: WatchRay | None = None

    def __call__(self, prepare: Callable[[], BatchRun] | None = None) -> dict[str, Any]:
        screen = Screen(Console(file=self.printed, width=200), self.results)
        printer = RunPrinter(screen, self.run.prepared.spec, as_json=True)
        prepare = prepare or (lambda: self.run)
        watch_ray = self.watch_ray or ending_process(self.exit_codes.append)
        return execute(prepare, self.cluster, printer, self.log, watch_ray)

    def working(self, work: Callable[[], object]) -> Driver:
        """Return this driver with a run that does `work` instead of its units."""
        return replace(self, run=ScriptedRun(self.run.prepared, work=work))


def raises(error: BaseException) -> Callable[[], object]:
    def fail() -> None:
        raise error

    return fail


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    (tmp_path / "corpus").mkdir()
    rows = {"doc": ["a", "b"], "text": ["The first text.", "The second text."]}
    pq.write_table(pa.table(rows), tmp_path / "corpus/a.parquet")
    return Driver(in_process_run(tmp_path, tmp_path / "corpus", tmp_path / "out"), tmp_path / "log")


def test_a_run_joins_and_leaves_the_cluster_and_returns_the_manifest(driver: Driver) -> None:
    manifest = driver()
    assert (manifest["status"], manifest["answered"]) == ("done", 2)
    assert (driver.cluster.joined, driver.cluster.left) == (1, 1)
    assert driver.exit_codes == []
    assert "http://10.0.0.1:8080/metrics" in driver.printed.getvalue()


@pytest.mark.parametrize(
    "error",
    [Fenced("fenced"), ClusterError("no CPU"), EngineError("died"), ValueError("a bug")],
    ids=lambda error: type(error).__name__,
)
def test_a_run_that_fails_leaves_the_cluster_once_and_no_attempt(
    error: Exception, driver: Driver
) -> None:
    with pytest.raises(type(error)) as raised:
        driver.working(raises(error))()
    assert raised.value is error
    assert driver.cluster.left == 1
    assert driver.run.storage.names(ATTEMPTS) == []
    assert driver.exit_codes == []


def test_a_run_is_fenced_by_a_second_driver(driver: Driver) -> None:
    def wait_for_signal() -> None:
        take_lease(driver.run.storage)
        threading.Event().wait(30)

    with pytest.raises(Fenced, match="generation 2"), stop_on_signals():
        driver.working(wait_for_signal)()
    assert driver.cluster.left == 1
    assert "stopped by" not in driver.printed.getvalue()


def test_a_signal_during_the_work_stops_it_and_says_how_to_resume(driver: Driver) -> None:
    with pytest.raises(Stopped, match="SIGINT"), stop_on_signals():
        driver.working(lambda: signal.raise_signal(signal.SIGINT))()
    assert driver.cluster.left == 1
    assert driver.run.storage.names(ATTEMPTS) == []
    assert "stopped by SIGINT. Committed work is kept" in driver.printed.getvalue()


def test_a_signal_between_rays_start_and_the_claim_of_output_stops_the_run(
    driver: Driver,
) -> None:
    released = threading.Event()

    def prepare() -> BatchRun:
        released.wait(30)
        raise AssertionError("the run continued after the signal")

    driver.cluster = FakeCluster(
        lambda: threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
    )
    try:
        with pytest.raises(Stopped, match="SIGTERM"), stop_on_signals():
            driver(prepare)
    finally:
        released.set()
    assert driver.cluster.left == 1
    assert "stopped by SIGTERM" in driver.printed.getvalue()


def test_a_run_that_cannot_be_prepared_claims_nothing(driver: Driver) -> None:
    error = ModelError("the model does not exist")

    def prepare() -> BatchRun:
        raise error

    with pytest.raises(ModelError) as raised:
        driver(prepare)
    assert raised.value is error
    assert driver.cluster.left == 1
    assert driver.run.ledger.job() is None


def test_a_run_whose_port_is_in_use_fails_before_it_claims_output(
    driver: Driver, tmp_path: Path
) -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104  # as for metrics
        port = server.getsockname()[1]
        driver.run = in_process_run(
            tmp_path, tmp_path / "corpus", tmp_path / "out", metrics={"port": port}
        )
        with pytest.raises(ClusterError, match=rf"metrics\.port: cannot listen on port {port}: "):
            driver()
    assert driver.run.ledger.job() is None


def test_a_run_whose_raylet_died_ends_the_process_with_4_and_the_reason(
    driver: Driver, tmp_path: Path
) -> None:
    program = tmp_path / "raylet"
    shutil.copy("/bin/sleep", program)
    raylet = subprocess.Popen([program, "60"])

    def work() -> None:
        # longer than until the process was seen
        time.sleep(2)
        raylet.kill()
        raylet.wait()
        raise EngineError("no answer")

    with pytest.raises(EngineError):
        driver.working(work)()
    assert driver.exit_codes == [4]
    error = json.loads(driver.results.getvalue())["error"]
    assert (
        "Ray's process raylet on this machine died" in error and error in driver.printed.getvalue()
    )


def test_the_port_of_a_runs_metrics_is_free_after_the_run(driver: Driver, tmp_path: Path) -> None:
    port = free_port()
    for output in ("first", "second"):
        driver.run = in_process_run(
            tmp_path, tmp_path / "corpus", tmp_path / output, metrics={"port": port}
        )
        assert driver()["status"] == "done"
    assert f"http://127.0.0.1:{port}/metrics" in driver.printed.getvalue()


def test_a_run_whose_raylet_died_can_raise_the_reason_instead(
    driver: Driver, tmp_path: Path
) -> None:
    program = tmp_path / "raylet"
    shutil.copy("/bin/sleep", program)
    raylet = subprocess.Popen([program, "60"])

    def wait_for_ray() -> None:
        # longer than until the process was seen
        time.sleep(2)
        raylet.kill()
        raylet.wait()
        threading.Event().wait(60)

    driver.watch_ray = raise_when_ray_dies
    with pytest.raises(ClusterError, match="raylet on this machine died"), stop_on_signals():
        driver.working(wait_for_ray)()
    assert (driver.cluster.left, driver.exit_codes) == (1, [])
    assert driver.run.storage.names(ATTEMPTS) == []
