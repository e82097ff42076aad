"""`status` and `verify` return typed results; a run's result is that of its manifest."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from here import InProcessRun, in_process_run

import phifleet

pytestmark = pytest.mark.usefixtures("tiny_model")


@pytest.fixture
def run(tmp_path: Path) -> InProcessRun:
    rows = {"doc": ["a", "b"], "text": ["The first text.", None]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    return in_process_run(tmp_path, tmp_path / "a.parquet", tmp_path / "out")


def test_the_result_of_a_run_has_the_manifests_values(run: InProcessRun, tmp_path: Path) -> None:
    result = phifleet.RunResult.of(str(tmp_path / "out"), run())
    assert (result.status, result.done, result.output) == ("done", True, str(tmp_path / "out"))
    assert (result.documents, result.answered, result.dead_letters) == (2, 1, 1)
    assert dict(result.dead_letter_reasons) == {"empty": 1}
    with pytest.raises(FrozenInstanceError):
        result.documents = 3  # type: ignore[misc]


def test_status_and_verify_take_the_job_or_its_output(run: InProcessRun, tmp_path: Path) -> None:
    with pytest.raises(phifleet.OutputError):
        phifleet.status(tmp_path / "out")
    run()
    for target in (tmp_path / "out", tmp_path / "job.yaml", run.prepared.job):
        status = phifleet.status(target)
        assert (status.run, status.status, status.documents_done) == ("here", "done", 2)
        assert phifleet.verify(target).complete
    next((tmp_path / "out/answers").iterdir()).unlink()
    assert not phifleet.verify(tmp_path / "out").complete
