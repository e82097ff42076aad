"""Timestamps that Spark and others store as INT96, and dates in Spark's old calendar."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import column, read, refused

SPARK = {"org.apache.spark.version": "4.2.0", "org.apache.spark.sql.parquet.row.metadata": "{}"}
OLD_SPARK = {"org.apache.spark.sql.parquet.row.metadata": "{}"}
YEARS = [datetime(year, 1, 2, 3, 4, 5, 678901) for year in (1, 1600, 1970, 2300, 9999)]


def int96(path: Path, metadata: dict[str, str], values: pa.Array) -> Path:
    table = pa.table({"id": range(len(values)), "text": ["t"] * len(values), "x": values})
    options = {"use_deprecated_int96_timestamps": True, "store_schema": False}
    with pq.ParquetWriter(path, table.schema, **options) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(metadata)
    return path


def test_timestamps_of_spark_keep_their_value_and_are_of_utc(tmp_path: Path) -> None:
    path = int96(tmp_path / "in.parquet", SPARK, pa.array(YEARS, pa.timestamp("us")))
    assert pq.ParquetFile(path).schema.column(2).physical_type == "INT96"
    rows = read(path, "x")
    assert rows.schema.field("kept.x").type == pa.timestamp("us", "UTC")
    assert column(rows, "kept.x") == [year.replace(tzinfo=UTC) for year in YEARS]


def test_timestamps_of_others_have_no_zone(tmp_path: Path) -> None:
    path = int96(tmp_path / "in.parquet", {}, pa.array(YEARS, pa.timestamp("us")))
    rows = read(path, "x")
    assert rows.schema.field("kept.x").type == pa.timestamp("us")
    assert column(rows, "kept.x") == YEARS


def test_nested_timestamps_of_spark_have_the_zone_too(tmp_path: Path) -> None:
    kind = pa.struct(
        [
            ("n", pa.int64()),
            ("at", pa.list_(pa.timestamp("us"))),
            ("by", pa.map_(pa.string(), pa.timestamp("us"))),
        ]
    )
    value = {"n": 1, "at": [YEARS[0], None], "by": [("a", YEARS[4])]}
    path = int96(tmp_path / "in.parquet", SPARK, pa.array([value, None], kind))
    utc = [year.replace(tzinfo=UTC) for year in YEARS]
    expected = {"n": 1, "at": [utc[0], None], "by": [("a", utc[4])]}
    assert column(read(path, "x"), "kept.x") == [expected, None]


@pytest.mark.parametrize("nested", [False, True])
def test_nanoseconds_of_int96_are_refused(tmp_path: Path, nested: bool) -> None:
    values = pa.array([None, 1_000, 1_001], pa.timestamp("ns"))
    if nested:
        values = pa.StructArray.from_arrays([values], names=["at"])
    path = int96(tmp_path / "in.parquet", {}, values)
    assert read(path).num_rows == 3
    expected = f"{path}: column 'x' has timestamps (INT96) with nanoseconds, which other tools"
    assert refused(path, "x").startswith(expected)


@pytest.mark.parametrize("metadata", [OLD_SPARK, SPARK | {"org.apache.spark.legacyINT96": ""}])
def test_old_dates_in_the_old_calendar_of_spark_are_refused(
    tmp_path: Path, metadata: dict[str, str]
) -> None:
    for old, new in (
        (date(1582, 1, 1), date(1970, 1, 1)),
        (YEARS[1], YEARS[2]),
    ):
        path = int96(tmp_path / "in.parquet", metadata, pa.array([new, None]))
        assert read(path, "x").num_rows == 2
        int96(path, metadata, pa.array([None, old]))
        assert "column 'x' has dates before 1900-01-01 in the old calendar" in refused(path, "x")
