"""Checks of OUTPUT and the input leave nothing behind."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from here import in_process_run

from pipelines.doctor.checks import Status
from pipelines.doctor.places import check_input, check_output
from pipelines.job.spec import InputSpec
from pipelines.storage import Storage


def test_a_new_output_can_be_used_and_stays_absent(storage: Storage) -> None:
    check = check_output(storage.url)
    assert check.status is Status.OK
    assert "it is free for a new run" in check.detail
    assert not storage.exists("")
    assert storage.names("_run") == []


def test_an_output_with_a_run_is_recognized(tmp_path: Path, tiny_model: object) -> None:
    pq.write_table(pa.table({"doc": ["a"], "text": ["A text."]}), tmp_path / "a.parquet")
    run = in_process_run(tmp_path, tmp_path / "a.parquet", tmp_path / "out")
    run()
    before = sorted(path.name for path in (tmp_path / "out").rglob("*"))
    assert "it contains a run" in check_output(str(tmp_path / "out")).detail
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == before


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("{}/full", "contains thesis.docx, but no phifleet run"),
        ("{}/file", "cannot"),
        ("sftp://host/x", "cannot guarantee"),
        ("s3://", "the URL has no bucket"),
    ],
)
def test_an_output_that_cannot_be_used_fails_with_the_reason(
    tmp_path: Path, url: str, words: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.docx").write_text("years")
    (tmp_path / "file").write_text("no directory")
    check = check_output(url.format(tmp_path))
    assert (check.status, words in check.detail) == (Status.FAILED, True), check
    assert "output.path" in check.remedy


def test_an_input_is_listed_and_its_first_file_is_read(tmp_path: Path) -> None:
    for name in ("a", "b"):
        pq.write_table(pa.table({"id": [name], "text": ["x"]}), tmp_path / f"{name}.parquet")
    (tmp_path / "notes.csv").write_text("id,text")
    check = check_input(InputSpec(path=str(tmp_path)), str(tmp_path / "out"))
    assert check.status is Status.OK
    assert "2 files" in check.detail and "a.parquet can be read" in check.detail
    assert "notes.csv" in check.detail


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"path": "nowhere"}, "no file of Parquet"),
        ({"text_column": "body"}, "no column 'body'"),
    ],
)
def test_an_input_that_cannot_be_read_fails_with_the_reason(
    tmp_path: Path, spec: dict[str, str], words: str
) -> None:
    pq.write_table(pa.table({"id": ["1"], "text": ["x"]}), tmp_path / "a.parquet")
    wanted = InputSpec.model_validate({"path": str(tmp_path), **spec})
    check = check_input(wanted, str(tmp_path / "out"))
    assert (check.status, words in check.detail) == (Status.FAILED, True), check
    assert check.remedy


def test_a_damaged_first_file_fails(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    check = check_input(InputSpec(path=str(tmp_path)), str(tmp_path / "out"))
    assert (check.status, "a.parquet" in check.detail) == (Status.FAILED, True)
