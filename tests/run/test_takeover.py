"""Tests of a second driver that acquires the lease while the first hangs: each document is answered
once, and the first ends with an error that names the second."""

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
    """Two runs of a job: the first driver was stopped by SIGSTOP and continued after the second had
    finished. `before` are the commit records at that stop, by name."""

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


def test_the_second_run_finishes_and_every_document_is_answered_once(taken_over: TakenOver) -> None:
    assert taken_over.second.returncode == 0, taken_over.second.stderr
    assert phifleet("verify", taken_over.directory / "out").returncode == 0
    ids = pq.read_table(taken_over.directory / "out/answers").column("doc").to_pylist()
    assert len(ids) == len(set(ids)) == taken_over.documents


def test_commits_of_the_first_run_stay(taken_over: TakenOver) -> None:
    after = commits(taken_over.directory)
    assert {name: after[name] for name in taken_over.before} == taken_over.before


def test_the_first_run_ends_with_3_and_names_the_newer_driver(taken_over: TakenOver) -> None:
    assert taken_over.first_code == 3
    assert "took over as generation 2" in taken_over.first_errors
    assert "Traceback" not in taken_over.first_errors


@pytest.mark.slow
@pytest.mark.parametrize("store", ["local", "s3"])
def test_of_two_drivers_five_seconds_apart_the_newer_one_finishes(
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
    code, result, errors = ended(first)
    assert (code, result["status"]) == (3, "failed")
    assert "took over as generation 2" in errors
    code, result, errors = ended(second)
    assert (code, result["status"]) == (0, "done"), errors
    assert phifleet("verify", output).returncode == 0
    filesystem, root = fsspec.core.url_to_fs(output)
    assert check(filesystem, root, run.editions, run.diary).sound
