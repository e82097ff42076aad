"""A data set on the Hugging Face hub is read like a directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from corpora import column, read, refused, write, write_lines
from dataset_hub import dataset_hub

from pipelines.corpus.sources import list_input
from pipelines.job.spec import InputSpec

DATASET = "hf://datasets/team/corpus"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory with the files of the data set."""
    with dataset_hub(tmp_path) as url:
        monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": url, "token": False})
        fsspec.get_filesystem_class("hf").clear_instance_cache()
        yield tmp_path
    fsspec.get_filesystem_class("hf").clear_instance_cache()


def test_files_of_a_data_set_are_read(repository: Path) -> None:
    write(repository / "data/train-0.parquet")
    write(repository / "data/train-1.parquet", pa.table({"id": ["d"], "text": ["four"]}))
    (repository / "README.md").write_text("# A data set")
    for path in (DATASET, f"{DATASET}/data", f"{DATASET}/data/*.parquet", f"{DATASET}@main/data"):
        rows = read(path)
        assert sorted(map(str, column(rows, "doc_id"))) == ["a", "b", "c", "d"]
    assert column(read(f"{DATASET}/data/train-1.parquet"), "text") == [b"four"]


def test_lines_of_a_data_set_are_read(repository: Path) -> None:
    write_lines(repository / "a.jsonl", [{"id": "a", "text": "one"}, {"id": "b", "text": "two"}])
    assert column(read(DATASET), "text") == [b"one", b"two"]


def test_a_file_of_another_content_has_another_version(repository: Path) -> None:
    write(repository / "a.parquet")
    before = list_input(InputSpec(path=DATASET)).files
    assert before == list_input(InputSpec(path=DATASET)).files
    write(repository / "a.parquet", pa.table({"id": ["x", "b", "c"], "text": ["1", "2", "3"]}))
    assert before[0].version != list_input(InputSpec(path=DATASET)).files[0].version


def test_a_data_set_that_does_not_exist_is_refused(repository: Path) -> None:
    assert "hf://datasets/team/other" in refused("hf://datasets/team/other")
