"""Readers of OUTPUT/answers see committed documents only, and an older layout is refused."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from here import in_process_run

from jobs.cli import main
from pipelines.models.resolve import Model
from pipelines.storage import Storage

DOCUMENTS = [f"d{number}" for number in range(4)]


@pytest.fixture
def corpus(tmp_path: Path, tiny_model: Model) -> Path:
    """Return a corpus of four documents, the last of which is a dead letter."""
    texts = pa.array(["Some words."] * 3 + [None], pa.string())
    pq.write_table(pa.table({"doc": DOCUMENTS, "text": texts}), tmp_path / "corpus.parquet")
    return tmp_path / "corpus.parquet"


def parquet_files(output: Path) -> list[str]:
    """Return the names below OUTPUT that a glob of Parquet files finds, hidden ones too."""
    return sorted(str(path.relative_to(output)) for path in output.rglob("*.parquet*"))


def test_at_every_step_of_a_run_only_published_files_look_like_data(
    tmp_path: Path, corpus: Path
) -> None:
    output = tmp_path / "out"
    seen: list[list[str]] = []
    in_process_run(tmp_path, corpus, output).observed_by(
        lambda _: seen.append(parquet_files(output))
    )()
    published = parquet_files(output)
    assert published == [
        *(f"answers/part-00000{unit}.parquet" for unit in range(3)),
        "dead_letters/part-000003.parquet",
    ]
    # each step adds at most one of them
    assert seen[0] == [] and len({len(names) for names in seen}) == len(published) + 1
    assert all(set(names) <= set(published) for names in seen)
    assert sorted(path.name for path in output.iterdir() if path.is_file()) == ["manifest.json"]
    glob = f"{output}/**/*.parquet"
    query = "SELECT count(*) FROM read_parquet($1, union_by_name = true)"
    assert duckdb.connect().execute(query, [glob]).fetchall() == [(len(DOCUMENTS),)]


def test_no_temporary_file_lies_among_the_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, seen, replace = Storage(str(tmp_path)), list[list[str]](), os.replace
    storage.write("_run/staging/part-000000-a", b"part")

    def watched(source: Path, target: str) -> None:
        seen.append([path.name for path in (tmp_path / "answers").iterdir()])
        replace(source, target)

    monkeypatch.setattr("os.replace", watched)
    for _ in range(2):
        storage.copy("_run/staging/part-000000-a", "answers/part-000000.parquet")
    assert seen == [[], ["part-000000.parquet"]]


def test_the_answers_of_a_run_are_the_input_of_another(tmp_path: Path, corpus: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    in_process_run(tmp_path, corpus, first, input={"keep_columns": ["text"]})()
    manifest = in_process_run(tmp_path, first / "answers", second)()
    assert (manifest["documents"], manifest["answered"]) == (3, 3)


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """Return an OUTPUT in the layout of older versions."""
    names = ("part-000000.parquet", "_errors/part-000000.parquet", "_manifest.json")
    for name in (*names, "_run/units.parquet", "_run/job.json"):
        Storage(str(tmp_path / "older")).write(name, b"{}")
    return tmp_path / "older"


@pytest.mark.parametrize("command", ["run", "status", "verify"])
def test_an_output_in_the_older_layout_is_refused(
    older: Path, corpus: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    job = corpus.parent / "job.yaml"
    tasks = [{"name": "summary", "kind": "summarize"}]
    source = {"input": {"path": str(corpus)}, "output": {"path": str(older)}, "tasks": tasks}
    job.write_text(yaml.safe_dump(source))
    before = sorted(older.rglob("*"))
    assert main([command, str(job if command == "run" else older)]) == 2
    message = capsys.readouterr().err
    assert "was written by an older version of phifleet: it has _run/units.parquet" in message
    assert "set output.path to a new directory" in message
    assert sorted(older.rglob("*")) == before
