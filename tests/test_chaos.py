"""Fault injection runs with quick and real engines on each kind of storage, and their checker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chaos.checker import check
from chaos.disk import SmallDisk
from chaos.grounds import faulty_s3
from chaos.storm import FULL_DISK, Environment, FaultInjector
from fakes_storage import S3Server
from fsspec.implementations.local import LocalFileSystem

pytestmark = pytest.mark.usefixtures("tiny_model")


def inject(environment: Environment, seed: int, faults: int, *only: str) -> None:
    """Make a fault injection run, and check that all its runs are complete."""
    report = FaultInjector(environment, seed, only).run(faults)
    print(report.table())
    assert report.sound
    assert report.faults.total() >= faults
    assert report.total("documents") >= environment.documents
    assert (report.total("changed") > 0) == environment.moving


def test_disturbed_runs_answer_every_document_once(tmp_path: Path) -> None:
    inject(Environment(tmp_path, str(tmp_path / "out"), 60, "quick"), 5, 2)


@pytest.mark.slow
def test_disturbed_runs_follow_a_delta_table(tmp_path: Path) -> None:
    inject(Environment(tmp_path, str(tmp_path / "out"), 60, "quick", moving=True), 7, 2)


@pytest.mark.slow
def test_disturbed_runs_of_the_real_engine(tmp_path: Path) -> None:
    inject(Environment(tmp_path, str(tmp_path / "out"), 150, "real"), 5, 3)


@pytest.mark.slow
def test_runs_on_a_disk_that_fills_up(tmp_path: Path, mount: Callable[..., SmallDisk]) -> None:
    disk = mount("-o", "size=256m")
    inject(Environment(tmp_path, str(disk.where / "out"), 150, "quick", disk=disk), 5, 3, FULL_DISK)


@pytest.mark.slow
def test_disturbed_runs_on_an_s3_server_with_failing_requests(tmp_path: Path, s3: S3Server) -> None:
    with faulty_s3(s3, tmp_path, 150, "quick", share=0.02, seed=5) as environment:
        inject(environment, 5, 4)


def test_the_checker_counts_lost_doubled_unexpected_and_redone_documents(tmp_path: Path) -> None:
    for name in ("answers", "dead_letters"):
        (tmp_path / f"out/{name}").mkdir(parents=True)
    (tmp_path / "out/_run/commits").mkdir(parents=True)
    (tmp_path / "requests").mkdir()
    for unit, docs in enumerate((["paper-0", "paper-1"], ["paper-1", "paper-9"])):
        rows = [{"doc": doc, "edition": 1 + unit} for doc in docs]
        pq.write_table(
            pa.Table.from_pylist(rows), tmp_path / f"out/answers/part-{unit:06d}.parquet"
        )
        record = f'{{"unit": {unit}, "committed_at": "2026-01-01T00:00:0{unit}+00:00"}}'
        (tmp_path / f"out/_run/commits/{unit:06d}.json").write_text(record)
    dead_letters = [
        {"doc_id": "paper-2", "task": None, "reason": "empty"},
        {"doc_id": "paper-0", "task": "topic", "reason": "rejected"},
    ]
    pq.write_table(
        pa.Table.from_pylist(dead_letters), tmp_path / "out/dead_letters/part-000000.parquet"
    )
    at = 1_767_225_600  # the time of the first commit
    (tmp_path / "requests/a").write_text(f"{at - 1} 0\n{at + 2} 0\n{at - 1} 2\n{at + 5} 2\n")
    result = check(
        LocalFileSystem(),
        str(tmp_path / "out"),
        {f"paper-{number}": 1 for number in range(4)},
        tmp_path / "requests",
    )
    assert (result.lost, result.doubled, result.unexpected, result.redone) == (1, 1, 1, 1)
    assert result.stale == 1  # the second occurrence of paper-1
    assert result.dead_letters == {"empty": 1, "rejected": 1}
    assert not result.sound
