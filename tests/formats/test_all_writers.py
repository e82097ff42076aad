"""Files and tables of every common writer: the same documents are read from each, exactly.

`pytest -s -m slow tests/formats/test_all_writers.py` prints the table. Writers that the project
does not need itself are in requirements/formats.txt.
"""

from __future__ import annotations

import datetime
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import column, read
from written_rows import COLUMNS, ROWS, UTC, changed, rows

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

Writer = Callable[[Path, Path], Path | str]
WRITERS: dict[str, Writer] = {}


def writer(function: Writer) -> Writer:
    """Add a writer to the table. It gets the path of a file with the rows, and a directory to write
    to, and returns the path to read."""
    WRITERS[function.__name__] = function
    return function


def package(name: str) -> Any:
    """Return a package, or skip the test."""
    try:
        return importlib.import_module(name)
    except ImportError:
        pytest.skip(f"{name.partition('.')[0]} (requirements/formats.txt) is not installed")


@writer
def pyarrow(source: Path, target: Path) -> Path:
    pq.write_table(rows(), target / "a.parquet", row_group_size=2)
    return target


@writer
def pyarrow_hive_partitions(source: Path, target: Path) -> Path:
    import pyarrow.dataset as ds

    partitions = ds.partitioning(pa.schema([("open", pa.bool_())]), flavor="hive")
    ds.write_dataset(rows(), target, format="parquet", partitioning=partitions)
    return target


@writer
def pandas(source: Path, target: Path) -> Path:
    import pandas as pd

    table = rows().to_pandas(types_mapper=pd.ArrowDtype)
    table.to_parquet(target / "a.parquet")
    return target


@writer
def fastparquet(source: Path, target: Path) -> Path:
    # it has no 64-bit integers with nulls, booleans with nulls nor dates
    frame = rows().drop_columns(["n", "open", "day"]).to_pandas()
    package("fastparquet").write(str(target / "a.parquet"), frame, stats=False)
    return target


@writer
def duckdb(source: Path, target: Path) -> Path:
    import duckdb

    duckdb.sql(f"COPY (FROM '{source}') TO '{target}/a.parquet' (FORMAT parquet)")
    return target


@writer
def duckdb_partitions(source: Path, target: Path) -> Path:
    import duckdb

    options = "FORMAT parquet, PARTITION_BY (day), OVERWRITE_OR_IGNORE"
    duckdb.sql(f"COPY (FROM '{source}') TO '{target}' ({options})")
    return target


@writer
def polars(source: Path, target: Path) -> Path:
    package("polars").read_parquet(source).write_parquet(target / "a.parquet")
    return target


@writer
def daft(source: Path, target: Path) -> Path:
    package("daft").read_parquet(str(source)).write_parquet(str(target))
    return target


@writer
def datasets(source: Path, target: Path) -> Path:
    made = package("datasets").Dataset.from_parquet(str(source), cache_dir=str(target / ".cache"))
    made.to_parquet(str(target / "a.parquet"))
    return target / "a.parquet"


@writer
def chdb(source: Path, target: Path) -> Path:
    query = f"FROM file('{source}', Parquet) SELECT *"
    package("chdb").query(f"{query} INTO OUTFILE '{target}/a.parquet' FORMAT Parquet")
    return target


@writer
def ray_data(source: Path, target: Path) -> Path:
    import ray

    ray.init(num_cpus=1, include_dashboard=False, ignore_reinit_error=True)
    ray.data.from_arrow(rows()).write_parquet(str(target))
    return target


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    builder = package("pyspark.sql").SparkSession.builder.master("local[1]")
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse")),
    }
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    yield session
    session.stop()


@pytest.mark.parametrize("kind", ["INT96", "TIMESTAMP_MICROS"])
def test_spark(kind: str, spark: Any, tmp_path: Path) -> None:
    pq.write_table(rows(), tmp_path / "source.parquet")
    spark.conf.set("spark.sql.parquet.outputTimestampType", kind)
    frame = spark.read.parquet(str(tmp_path / "source.parquet"))
    frame.write.parquet(str(tmp_path / "plain"))
    frame.write.partitionBy("open").parquet(str(tmp_path / "parts"))
    assert_same(tmp_path / "plain")
    assert_same(tmp_path / "parts")


@writer
def delta_append(source: Path, target: Path) -> Path:
    for row in ROWS:
        package("deltalake").write_deltalake(str(target), rows([row]), mode="append")
    return target


@writer
def delta_overwrite(source: Path, target: Path) -> Path:
    deltalake = package("deltalake")
    deltalake.write_deltalake(str(target), rows([changed(row) for row in ROWS]))
    deltalake.write_deltalake(str(target), rows(), mode="overwrite")
    return target


@writer
def delta_delete_optimise_vacuum_checkpoint(source: Path, target: Path) -> Path:
    deltalake = package("deltalake")
    deltalake.write_deltalake(str(target), rows([("gone", *changed(ROWS[0])[1:])]))
    delta_append(source, target)
    table = deltalake.DeltaTable(str(target))
    table.delete("id = 'gone'")
    table.optimize.compact()
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    table.create_checkpoint()
    return target


@writer
def delta_update_by_merge(source: Path, target: Path) -> Path:
    deltalake = package("deltalake")
    deltalake.write_deltalake(str(target), rows([changed(row) for row in ROWS[:2]]))
    merge = deltalake.DeltaTable(str(target)).merge(
        rows(), "s.id = t.id", source_alias="s", target_alias="t"
    )
    merge.when_matched_update_all().when_not_matched_insert_all().execute()
    return target


@writer
def delta_partitions(source: Path, target: Path) -> Path:
    package("deltalake").write_deltalake(str(target), rows(), partition_by=["day", "open", "at"])
    return target


def _iceberg(target: Path, first: pa.Table) -> Any:
    catalog = package("pyiceberg.catalog.memory").InMemoryCatalog(
        "writers", warehouse=f"file://{target}"
    )
    catalog.create_namespace("db")
    table = catalog.create_table("db.t", first.schema)
    table.append(first)
    return table


def _root(table: Any) -> Path:
    return Path(table.location().removeprefix("file://"))


@writer
def iceberg_append(source: Path, target: Path) -> Path:
    table = _iceberg(target, rows(ROWS[:2]))
    table.append(rows(ROWS[2:]))
    return _root(table)


@writer
def iceberg_overwrite_and_delete(source: Path, target: Path) -> Path:
    table = _iceberg(target, rows([changed(row) for row in ROWS]))
    table.overwrite(rows([*ROWS, ("gone", *changed(ROWS[0])[1:])]))
    table.delete("id = 'gone'")
    return _root(table)


@writer
def iceberg_renamed_column(source: Path, target: Path) -> Path:
    table = _iceberg(target, rows(ROWS[:2]).rename_columns({"text": "body", "n": "text"}))
    for old, new in (("text", "n"), ("body", "text")):
        with table.update_schema() as update:
            update.rename_column(old, new)
    table.append(rows(ROWS[2:]))
    return _root(table)


@writer
def iceberg_partitions(source: Path, target: Path) -> Path:
    table = _iceberg(target, rows(ROWS[:1]))
    with table.update_spec() as update:
        update.add_identity("day")
    table.append(rows(ROWS[1:]))
    return _root(table)


@pytest.mark.parametrize("name", WRITERS)
def test_rows_ids_texts_and_kept_values_are_right(name: str, tmp_path: Path) -> None:
    source, target = tmp_path / "source.parquet", tmp_path / "written"
    pq.write_table(rows(), source)
    target.mkdir()
    assert_same(WRITERS[name](source, target), name)


def assert_same(path: Path | str, name: str = "spark") -> None:
    """Compare the corpus at a path with ROWS."""
    kept = [each for each in COLUMNS[2:] if name != "fastparquet" or each in ("price", "at")]
    actual = read(path, *kept)
    texts = [bytes(text).decode() for text in actual.column("text").to_pylist()]
    values = [[normal(v) for v in column(actual, f"kept.{each}")] for each in kept]
    found = sorted(zip(column(actual, "doc_id"), texts, *values, strict=True), key=str)
    places = [COLUMNS.index(each) for each in kept]
    expected = [(row[0], row[1], *(row[place] for place in places)) for row in ROWS]
    assert found == sorted(expected, key=str)
    print(f"{name:42} rows, ids, texts and {len(kept)} kept columns right")


def normal(value: Any) -> Any:
    """Return a value as in ROWS: partitions of paths are texts, and some writers keep no zone."""
    if value in ("true", "false"):
        return value == "true"
    if isinstance(value, str):
        return datetime.date.fromisoformat(value)
    if isinstance(value, datetime.datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return datetime.datetime.fromtimestamp(0, UTC) + (
            aware - datetime.datetime(1970, 1, 1, tzinfo=UTC)
        )
    return value
