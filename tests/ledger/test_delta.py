"""The Delta table of a run has every committed document once, whatever happens at the finish."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from fakes_storage import S3Server
from here import InProcessRun, in_process_run

from jobs.cli import main
from pipelines.errors import Fenced, OutputError, SpecError
from pipelines.ledger.delta_types import delta_schema
from pipelines.ledger.verify import verify
from pipelines.models.resolve import Model
from pipelines.storage import Storage

pytestmark = pytest.mark.usefixtures("tiny_model")

# Kills itself before the first change of storage that begins with the last argument.
KILLED_RUN = """
import os, signal, sys
from pathlib import Path
from test_delta import run_of
def die(change):
    if change.startswith(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
run_of(Path(sys.argv[1])).observed_by(die)()
"""


class Killed(BaseException):
    """Simulates the death of the process. No Exception, so that the run cannot handle it."""


def add_documents(directory: Path, name: str, *docs: str) -> None:
    """Add a file to the corpus; a document whose name ends in `-` has no text."""
    (directory / "corpus").mkdir(exist_ok=True)
    texts = pa.array([None if doc.endswith("-") else "Words." for doc in docs], pa.string())
    table = pa.table({"doc": list(docs), "text": texts})
    pq.write_table(table, directory / f"corpus/{name}.parquet")


def run_of(directory: Path, output: str = "out", **options: Any) -> InProcessRun:
    options = {"table": "delta", **options}
    where = output if "://" in output else directory / output
    return in_process_run(directory, directory / "corpus", where, **options)


def documents(output: str | Path) -> list[str]:
    """Return the documents that a reader of the Delta table gets."""
    table = pa.table(deltalake.DeltaTable(f"{output}/answers").to_pyarrow_table())
    return sorted(table.column("doc").to_pylist())


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    add_documents(tmp_path, "first", "a", "b", "c-")
    return tmp_path


def test_the_parts_become_a_table_and_later_ones_are_appended(directory: Path) -> None:
    assert run_of(directory)()["table"] == {"format": "delta", "version": 0}
    assert documents(directory / "out") == ["a", "b"]
    assert run_of(directory)()["table"]["version"] == 0
    add_documents(directory, "second", "d", "e-")
    assert run_of(directory)()["table"]["version"] == 1
    table = deltalake.DeltaTable(str(directory / "out/answers"))
    assert documents(directory / "out") == ["a", "b", "d"]
    table.load_as_version(0)
    assert len(table.file_uris()) == 2
    log = directory / "out/answers/_delta_log"
    assert [path.name for path in sorted(log.iterdir())] == [f"{n:020d}.json" for n in range(2)]
    assert verify(Storage(str(directory / "out"))).complete


def test_a_table_below_the_corpus_is_not_read_as_documents(directory: Path) -> None:
    for version, name in enumerate("de"):
        add_documents(directory, name, name)
        assert run_of(directory, "corpus/out")()["table"]["version"] == version
    assert documents(directory / "corpus/out") == ["a", "b", "d", "e"]


def test_without_the_key_there_is_no_table(directory: Path) -> None:
    assert "table" not in run_of(directory, table=None)()
    assert not (directory / "out/answers/_delta_log").exists()


def steps_of(directory: Path) -> dict[int, str]:
    """Return the changes that the finish of a run with a table makes, by their number among all
    changes of the run."""
    changes: list[str] = []
    run_of(directory, "undisturbed").observed_by(changes.append)()
    first = changes.index(f"create answers/_delta_log/{0:020d}.json")
    return {number: changes[number] for number in range(first - 1, len(changes))}


def at_step(step: int, act: Callable[[], object]) -> Callable[[str], None]:
    """Return a function for `observed_by` that calls `act` before the change number `step`."""
    before = count()

    def on_change(_: str) -> None:
        if next(before) == step:
            act()

    return on_change


def test_a_run_that_dies_at_any_step_of_the_finish_commits_each_part_once(directory: Path) -> None:
    def die() -> None:
        raise Killed

    for step, change in steps_of(directory).items():
        output = f"out-{step}"
        with pytest.raises(Killed):
            run_of(directory, output).observed_by(at_step(step, die))()
        assert run_of(directory, output)()["table"]["version"] == 0
        assert documents(directory / output) == ["a", "b"], change
        assert verify(Storage(str(directory / output))).complete, change


def test_two_drivers_at_the_finish_commit_each_part_once(directory: Path) -> None:
    for step, change in steps_of(directory).items():
        (directory / "corpus/more.parquet").unlink(missing_ok=True)
        output = f"out-{step}"

        def take_over(output: str = output) -> None:
            add_documents(directory, "more", "d")
            run_of(directory, output)()

        with suppress(Fenced):
            run_of(directory, output).observed_by(at_step(step, take_over))()
        run_of(directory, output)()
        assert documents(directory / output) == ["a", "b", "d"], change
        assert verify(Storage(str(directory / output))).complete, change


@pytest.mark.parametrize("change", ["create answers/_delta_log", "write manifest.json"])
def test_a_process_that_is_killed_around_the_commit_commits_each_part_once(
    directory: Path, change: str
) -> None:
    program = [sys.executable, "-c", KILLED_RUN, str(directory), change]
    done = subprocess.run(program, cwd=Path(__file__).parent, env=_environment(), timeout=200)
    assert done.returncode == -signal.SIGKILL
    committed = (directory / "out/answers/_delta_log").exists()
    assert committed == (change == "write manifest.json")
    assert run_of(directory)()["table"]["version"] == 0
    assert documents(directory / "out") == ["a", "b"]


def _environment() -> dict[str, str]:
    paths = [str(Path(__file__).parents[1]), *sys.path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def test_a_table_that_was_compacted_gets_new_parts_only(directory: Path) -> None:
    run_of(directory)()
    table = deltalake.DeltaTable(str(directory / "out/answers"))
    table.optimize.compact()
    table.delete("doc = 'a'")
    add_documents(directory, "second", "d")
    run_of(directory)()
    assert documents(directory / "out") == ["b", "d"]


def test_a_table_of_the_parts_that_someone_else_made_is_continued(directory: Path) -> None:
    run_of(directory, table=None)()
    deltalake.convert_to_deltalake(str(directory / "out/answers"))
    assert run_of(directory)()["table"]["version"] == 1
    assert documents(directory / "out") == ["a", "b"]


def test_a_table_of_other_files_is_refused_before_an_engine_starts(directory: Path) -> None:
    run_of(directory, table=None)()
    deltalake.write_deltalake(str(directory / "out/answers"), pa.table({"x": [1]}))
    add_documents(directory, "second", "d")
    run = run_of(directory)
    with pytest.raises(OutputError, match=r"a Delta table that phifleet did not write; it has the"):
        run()
    assert run.engines == []


def test_verify_reports_a_table_that_is_gone(directory: Path) -> None:
    run_of(directory)()
    Storage(str(directory / "out")).remove("answers/_delta_log")
    (problem,) = verify(Storage(str(directory / "out"))).problems
    assert problem.startswith("answers/_delta_log: the Delta table lacks parts; run the job again")


@pytest.mark.slow
def test_the_table_is_committed_once_in_a_bucket(directory: Path, s3: S3Server) -> None:
    output = f"{s3.new_bucket()}/out"
    for version, name in enumerate("de"):
        add_documents(directory, name, name)
        assert run_of(directory, output)()["table"]["version"] == version
    storage = Storage(output)
    local = directory / "copy/answers"
    for name in storage.filesystem.find(storage.path("answers")):
        target = directory / "copy" / name.removeprefix(f"{storage.root}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(storage.filesystem.cat_file(name))
    assert documents(local.parent) == ["a", "b", "d", "e"]


def test_columns_that_delta_would_change_are_refused_by_name_before_an_engine_starts(
    directory: Path,
) -> None:
    table = pq.read_table(directory / "corpus/first.parquet")
    table = table.append_column("n", pa.array([3, 1, 2], pa.time64("us")))
    pq.write_table(table, directory / "corpus/first.parquet")
    run = run_of(directory, input={"keep_columns": ["n"]})
    with pytest.raises(SpecError, match=r"cannot have these columns:\n  n: time64\[us\]\n"):
        run()
    assert run.engines == []


def test_types_of_delta_are_kept_and_others_are_refused() -> None:
    inner = pa.struct([("when", pa.timestamp("us", "Europe/Berlin")), ("d", pa.date32())])
    kept = pa.schema(
        [("a", pa.map_(pa.string(), pa.list_(inner))), ("b", pa.large_string()), ("c", pa.int8())]
    )
    converted = delta_schema(kept)
    assert converted.field("a").type.item_type.value_type.field("when").type == pa.timestamp(
        "us", "UTC"
    )
    refused = pa.schema(
        [("a", pa.list_(pa.null())), ("b", pa.struct([("t", pa.timestamp("ns"))])), ("B", inner)]
    )
    with pytest.raises(SpecError) as error:
        delta_schema(refused)
    lines = error.value.message.splitlines()[1:-1]
    assert lines == [
        "  B: differs from b only in case", "  a.item: null", "  b.t: timestamp[ns]",
    ]  # fmt: skip


def test_a_missing_package_is_reported_before_anything_starts(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = directory / "job.yaml"
    source: dict[str, Any] = {
        "input": {"path": str(directory / "corpus")},
        "output": {"path": str(directory / "out"), "table": "delta"},
        "tasks": [{"name": "summary", "kind": "summarize"}],
    }
    job.write_text(yaml.safe_dump(source))
    monkeypatch.setitem(sys.modules, "deltalake", None)
    assert main(["run", str(job)]) == 2
    assert "run pip install 'phifleet[delta]'" in capsys.readouterr().err
    assert not (directory / "out").exists()


def test_the_fingerprint_does_not_count_the_table(directory: Path, tiny_model: Model) -> None:
    with_table, without = (run_of(directory, table=table) for table in ("delta", None))
    assert with_table.prepared.fingerprint == without.prepared.fingerprint
