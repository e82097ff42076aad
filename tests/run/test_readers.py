"""Every common reader of Parquet gets each committed document of OUTPUT/answers once, with the same
values: of a finished run, of one that was killed midway, and beside the log of a Delta table.

`pytest -s -m slow tests/run/test_readers.py` prints the table. Readers that the project does not
need itself are in requirements/formats.txt.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scripted
from fakes import FakeEngine
from here import in_process_run

from pipelines.models.resolve import Model
from pipelines.tasks.kinds import Sampling
from pipelines.text.tokens import ChatTokenizer

pytestmark = pytest.mark.slow

DOCUMENTS = 50
TASKS = [
    {"name": "summary", "kind": "summarize", "max_words": 20},
    {"name": "topic", "kind": "classify", "labels": ["red", "green"]},
    {"name": "topics", "kind": "classify", "labels": ["red", "green"], "multiple": True},
    {"name": "owner", "kind": "ask", "question": "What is the owner?"},
    {
        "name": "facts",
        "kind": "extract",
        "fields": {
            "owner": "string",
            "size": "number",
            "count": "integer",
            "released": "date",
            "open": "boolean",
            "tags": ["string"],
            "maker": {"name": "string", "city": "string"},
        },
    },
    {"name": "note", "kind": "write", "prompt": "Write a line."},
]
RAY_PROGRAM = """
import json, sys, ray
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
print()
print(json.dumps(ray.data.read_parquet(sys.argv[1]).take_all(), default=str))
"""
Rows = list[dict[str, Any]]
Reader = Callable[[str], Rows]


class Killed(BaseException):
    """Simulates the death of the process. No Exception, so that the run cannot handle it."""


def text_of(number: int) -> str | None:
    """Return the text of a document: none for some, no facts or a form that fails for others."""
    if number % 10 == 9:
        return None
    if number % 10 == 8:
        return f"Text #{number}# states nothing."
    broken = scripted.BROKEN_ALWAYS if number % 10 == 7 else ""
    return (
        f"{broken} Text #{number}#. The topic is red. The owner is Zoë {number}. The size is "
        f"{number}.5. The count is {number}. The released is 2024-02-{number % 28 + 1:02}. "
        f"The open is true. The tags is a{number}. The tags is b. The maker name is M. The maker "
        "city is C."
    )


def answer(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
    """Answer a prompt: with all labels that may be given, or as `scripted.read` does."""
    if sampling.labels:
        return json.dumps(list(sampling.labels)), None
    return scripted.read(prompt, sampling)


def corpus_in(directory: Path) -> Path:
    numbers = range(DOCUMENTS)
    table = pa.table(
        {
            "doc": [f"d{number}" for number in numbers],
            "text": pa.array([text_of(number) for number in numbers], pa.string()),
            "title": pa.array([f"Title {n}" if n % 3 else None for n in numbers], pa.string()),
            "year": pa.array([2000 + n if n % 4 else None for n in numbers], pa.int64()),
            "at": pa.array([datetime(2024, 1, 1, n % 24) for n in numbers], pa.timestamp("us")),
            "words": pa.array([["a", str(n)] for n in numbers], pa.list_(pa.string())),
        }
    )
    pq.write_table(table, directory / "corpus.parquet")
    return directory / "corpus.parquet"


def output_of(
    directory: Path, tokenizer: ChatTokenizer, table: str | None = None, commits: int | None = None
) -> Path:
    """Run a job over the corpus into a new OUTPUT; kill the run after a number of commits."""
    seen: list[str] = []

    def die(change: str) -> None:
        if change.startswith("create _run/commits/"):
            seen.append(change)
        if len(seen) == commits:
            raise Killed

    run = in_process_run(
        directory,
        corpus_in(directory),
        directory / "out",
        table=table,
        make_engine=lambda: FakeEngine(tokenizer, answers=answer),
        input={"keep_columns": ["title", "year", "at", "words"]},
        tasks=TASKS,
    )
    if commits is None:
        run()
    else:
        with pytest.raises(Killed):
            run.observed_by(die)()
    return directory / "out"


@pytest.fixture(scope="module", params=["finished", "midway", "delta"])
def output(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_model: Model,
    tiny_tokenizer: ChatTokenizer,
) -> Path:
    directory = tmp_path_factory.mktemp(request.param)
    commits = 21 if request.param == "midway" else None
    table = "delta" if request.param == "delta" else None
    return output_of(directory, tiny_tokenizer, table, commits)


def read_pyarrow(answers: str) -> Rows:
    rows: Rows = pq.read_table(answers).to_pylist()
    return rows


def read_pandas(answers: str) -> Rows:
    import pandas as pd

    return [
        {str(name): value for name, value in row.items()}
        for row in pd.read_parquet(answers).to_dict("records")
    ]


def read_duckdb(pattern: str) -> Rows:
    import duckdb

    table = duckdb.connect().execute("FROM read_parquet($1)", [pattern]).fetchall
    names = duckdb.connect().execute("DESCRIBE FROM read_parquet($1)", [pattern]).fetchall()
    return [dict(zip([name[0] for name in names], row, strict=True)) for row in table()]


def read_polars(answers: str) -> Rows:
    import polars

    rows: Rows = polars.read_parquet(answers).to_dicts()
    return rows


def read_daft(answers: str) -> Rows:
    import daft

    rows: Rows = daft.read_parquet(answers).to_pylist()
    return rows


def read_spark(answers: str) -> Rows:
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.memory", "1g")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.session.timeZone", "UTC")
        .getOrCreate()
    )
    return [row.asDict(recursive=True) for row in session.read.parquet(answers).collect()]


def read_chdb(answers: str) -> Rows:
    import chdb

    query = f"SELECT * FROM file('{answers}/*.parquet', Parquet)"  # noqa: S608
    lines = str(chdb.query(query, "JSONEachRow")).splitlines()
    return [json.loads(line) for line in lines]


def read_datasets(answers: str) -> Rows:
    import datasets

    where = {"data_files" if "*" in answers else "data_dir": answers}
    with tempfile.TemporaryDirectory() as cache:
        table = datasets.load_dataset("parquet", **where, split="train", cache_dir=cache)
        return [dict(row) for row in table]


def read_ray(answers: str) -> Rows:
    """Read in a process of its own, with which Ray ends."""
    done = subprocess.run(
        [sys.executable, "-c", RAY_PROGRAM, answers], capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr
    rows: Rows = json.loads(done.stdout.splitlines()[-1])
    return rows


READERS: Mapping[str, tuple[str, Reader]] = {
    "pyarrow": ("pyarrow", read_pyarrow),
    "pandas": ("pandas", read_pandas),
    "duckdb, answers/*.parquet": ("duckdb", lambda path: read_duckdb(f"{path}/*.parquet")),
    "duckdb, answers/**/*.parquet": ("duckdb", lambda path: read_duckdb(f"{path}/**/*.parquet")),
    "polars": ("polars", read_polars),
    "polars, answers/**/*.parquet": ("polars", lambda path: read_polars(f"{path}/**/*.parquet")),
    "daft": ("daft", read_daft),
    "daft, answers/**/*.parquet": ("daft", lambda path: read_daft(f"{path}/**/*.parquet")),
    "Spark": ("pyspark", read_spark),
    "chdb": ("chdb", read_chdb),
    "datasets": ("datasets", read_datasets),
    "Ray Data": ("ray", read_ray),
}


def read_delta(answers: str) -> Rows:
    import deltalake

    rows: Rows = deltalake.DeltaTable(answers).to_pyarrow_dataset().to_table().to_pylist()
    return rows


def read_delta_by_polars(answers: str) -> Rows:
    import polars

    rows: Rows = polars.read_delta(answers).to_dicts()
    return rows


def read_delta_by_daft(answers: str) -> Rows:
    import daft

    rows: Rows = daft.read_deltalake(answers).to_pylist()
    return rows


# These take no directory that also has the log of a Delta table, and say so.
_REFUSING_A_LOG = ("polars", "datasets")
DELTA_READERS: Mapping[str, tuple[str, Reader]] = {
    "deltalake": ("deltalake", read_delta),
    "polars.read_delta": ("polars", read_delta_by_polars),
    "daft.read_deltalake": ("daft", read_delta_by_daft),
}


def plain(value: Any) -> Any:
    """Return a value as JSON has it, whatever classes a reader uses for it."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        fields = {name: plain(item) for name, item in value.items()}
        return fields if any(item is not None for item in fields.values()) else None
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value] or None
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(" ")
    if isinstance(value, date):
        return value.isoformat()
    # a missing number, as pandas has it
    return None if value != value or value == [] else value


def normal(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row for comparison. The year is a number, which pandas reads as a float if any is
    missing; a moment has no fraction here, which some readers print; and an empty list or
    struct equals a missing one, because ClickHouse has no missing lists and structs."""
    row = plain(row)
    year = None if row["year"] is None else int(row["year"])
    return {**row, "year": year, "at": str(row["at"]).replace("T", " ").partition(".")[0]}


def expected_rows(output: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of all parts that commits name, each part read by itself, by document."""
    commits = sorted((output / "_run/commits").glob("*.json"))
    parts = [json.loads(path.read_text()) for path in commits]
    names = [f"part-{record['unit']:06d}.parquet" for record in parts if record["part"]]
    tables = [pq.ParquetFile(output / "answers" / name).read() for name in names]
    return {row["doc"]: normal(row) for table in tables for row in table.to_pylist()}


def differences(rows: Rows, expected: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield how rows differ from the expected ones."""
    got = [row["doc"] for row in rows]
    if len(got) != len(set(got)):
        yield f"{len(got) - len(set(got))} documents twice"
    if set(got) != set(expected):
        yield f"{len(set(got))} documents, not {len(expected)}"
    for row in map(normal, rows):
        right = expected.get(row["doc"], row)
        for name in right:
            if row.get(name) != right[name]:
                yield f"{row['doc']}.{name}: {row.get(name)!r}, not {right[name]!r}"


@pytest.mark.parametrize("name", READERS)
def test_a_reader_gets_every_committed_document_once(output: Path, name: str) -> None:
    package, read = READERS[name]
    answers = f"{output}/answers"
    if name in _REFUSING_A_LOG and (output / "answers/_delta_log").exists():
        answers = f"{output}/answers/*.parquet"
    check_reader(name, package, read, output, answers)


@pytest.mark.parametrize("output", ["delta"], indirect=True)
@pytest.mark.parametrize("name", DELTA_READERS)
def test_a_reader_of_delta_tables_gets_every_committed_document_once(
    output: Path, name: str
) -> None:
    package, read = DELTA_READERS[name]
    check_reader(name, package, read, output, f"{output}/answers")


def check_reader(name: str, package: str, read: Reader, output: Path, answers: str) -> None:
    """Compare what a reader returns with the parts, and print a row of the table."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} (requirements/formats.txt) is not installed")
    expected = expected_rows(output)
    problems = list(differences(read(answers), expected))
    case = output.parent.name.rstrip("0123456789")
    verdict = "right" if not problems else f"WRONG: {problems[:3]}"
    print(f"\n| {name} | {case} | {len(expected)} documents | {verdict} |")
    assert not problems


def test_the_cases_are_those_that_are_meant(output: Path) -> None:
    rows = expected_rows(output)
    midway = output.parent.name.startswith("midway")
    assert (output / "manifest.json").exists() != midway
    assert (10 < len(rows) < 45) if midway else (len(rows) == 45)
    assert rows["d7"]["facts"]["_answer"]["status"] != "ok" and rows["d7"]["facts"]["owner"] is None
    assert rows["d1"]["facts"]["maker"] == {"name": "M", "city": "C"}
    assert rows["d1"]["owner"]["_evidence"][0]["text"] == "The owner is Zoë 1."
    assert (output / "answers/_delta_log").exists() == output.parent.name.startswith("delta")
