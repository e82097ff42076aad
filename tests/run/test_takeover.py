"""A second run takes over from one that hangs: each document is answered once, and the first, when
it wakes, is told who took over."""

from __future__ import annotations

import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest
from chaos.checker import check
from fakes_storage import S3Server
from quick import QuickRun, ended
from runs import LIMIT_SECONDS, await_commits, commits, corpus_of, job_file, phifleet, start

from pipelines.models.resolve import Model


@dataclass
class TakenOver:
    """A driver that was stopped by SIGSTOP, and continued after another had done its job."""

    directory: Path
    documents: int
    before: dict[str, bytes]
    second: subprocess.CompletedProcess[str]
    first_code: int
    first_errors: str


@pytest.fixture(scope="module")
def taken_over(tiny_model: Model, tmp_path_factory: pytest.TempPathFactory) -> TakenOver:
    directory = tmp_path_factory.mktemp("taken-over")
    (directory / "corpus").mkdir()
    documents = corpus_of(directory / "corpus/a.parquet", range(3), longest=9_000)
    job = job_file(directory)
    first = start(job, directory / "stderr")
    await_commits(first, directory, 1)
    first.send_signal(signal.SIGSTOP)
    before = commits(directory)
    second = phifleet("run", job, "--json", "--unit-seconds", "1")
    first.send_signal(signal.SIGCONT)
    first.communicate(timeout=LIMIT_SECONDS)
    errors = (directory / "stderr").read_text()
    return TakenOver(directory, documents, before, second, first.returncode, errors)


def test_the_second_run_ends_well_and_every_document_is_there_once(taken_over: TakenOver) -> None:
    assert taken_over.second.returncode == 0, taken_over.second.stderr
    assert phifleet("verify", taken_over.directory / "out").returncode == 0
    ids = pq.read_table(taken_over.directory / "out").column("doc").to_pylist()
    assert len(ids) == len(set(ids)) == taken_over.documents


def test_what_the_first_had_committed_stays(taken_over: TakenOver) -> None:
    after = commits(taken_over.directory)
    assert {name: after[name] for name in taken_over.before} == taken_over.before


def test_the_first_ends_with_3_and_says_who_took_over(taken_over: TakenOver) -> None:
    assert taken_over.first_code == 3
    assert "took over as generation 2" in taken_over.first_errors
    assert "Traceback" not in taken_over.first_errors


@pytest.mark.slow
@pytest.mark.parametrize("store", ["local", "s3"])
def test_of_two_drivers_five_seconds_apart_the_newer_finishes(
    store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    output = str(tmp_path / "out")
    if store == "s3":
        server: S3Server = request.getfixturevalue("s3")
        output = f"{server.new_bucket()}/out"
    run = QuickRun(tmp_path, output, documents=2_000)
    first = run.start()
    time.sleep(5)
    second = run.start()
    code, told, errors = ended(first)
    assert (code, told["status"]) == (3, "failed")
    assert "took over as generation 2" in errors
    code, told, errors = ended(second)
    assert (code, told["status"]) == (0, "done"), errors
    assert phifleet("verify", output).returncode == 0
    filesystem, root = fsspec.core.url_to_fs(output)
    assert check(filesystem, root, run.papers, run.diary).sound
