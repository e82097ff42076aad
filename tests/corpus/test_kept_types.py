"""Kept columns of every type: written with types that other tools read, each value exactly."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from corpora import column, read, refused, write, write_lines

from pipelines.corpus.conversion import convert
from pipelines.corpus.kept_types import UnsupportedType, written_type

UUID = uuid.UUID("f81d4fae-7dec-11d0-a765-00a0c91e6bf6")
US = pa.timestamp("us")
UTC_TIME = pa.timestamp("us", "UTC")
NOON = datetime(2024, 1, 31, 12, 0, 0, 123456)

LEAVES = [
    (pa.int8(), -7, pa.int8(), -7),
    (pa.uint8(), 255, pa.int32(), 255),
    (pa.uint16(), 2**16 - 1, pa.int32(), 2**16 - 1),
    (pa.uint32(), 2**32 - 1, pa.int64(), 2**32 - 1),
    (pa.uint64(), 2**64 - 1, pa.decimal128(20, 0), Decimal(2**64 - 1)),
    (pa.float16(), 1.5, pa.float32(), 1.5),
    (pa.float64(), 0.1, pa.float64(), 0.1),
    (pa.bool_(), True, pa.bool_(), True),
    (pa.bool8(), 1, pa.bool_(), True),
    (pa.decimal32(5, 2), Decimal("1.25"), pa.decimal128(5, 2), Decimal("1.25")),
    (pa.decimal256(30, 2), Decimal("1.25"), pa.decimal128(30, 2), Decimal("1.25")),
    (pa.decimal256(76, 9), Decimal("0.000000001"), pa.string(), "0.000000001"),
    (pa.uuid(), UUID.bytes, pa.string(), str(UUID)),
    (pa.json_(), '{"a": 1}', pa.string(), '{"a": 1}'),
    (pa.string_view(), "é", pa.string(), "é"),
    (pa.large_string(), "é", pa.string(), "é"),
    (pa.binary_view(), b"\xff", pa.binary(), b"\xff"),
    (pa.large_binary(), b"\xff", pa.binary(), b"\xff"),
    (pa.binary(2), b"\x00\xff", pa.binary(2), b"\x00\xff"),
    (pa.date32(), date(1, 1, 1), pa.date32(), date(1, 1, 1)),
    (pa.date64(), date(9999, 12, 31), pa.date32(), date(9999, 12, 31)),
    (pa.time32("ms"), time(1, 2, 3, 4000), pa.time64("us"), time(1, 2, 3, 4000)),
    (pa.time64("ns"), time(1, 2, 3, 4), pa.time64("us"), time(1, 2, 3, 4)),
    (pa.timestamp("s"), datetime(1, 1, 1), US, datetime(1, 1, 1)),
    (pa.timestamp("ms"), datetime(9999, 12, 31), US, datetime(9999, 12, 31)),
    (pa.timestamp("us"), NOON, US, NOON),
    (pa.timestamp("ns"), NOON, US, NOON),
    (pa.timestamp("ns", "+00:00"), NOON, UTC_TIME, NOON.replace(tzinfo=UTC)),
    (pa.duration("us"), timedelta(days=1), pa.duration("us"), timedelta(days=1)),
    (pa.dictionary(pa.int8(), pa.string()), "x", pa.string(), "x"),
    (pa.null(), None, pa.string(), None),
]


def kept(path: Path, values: pa.Array) -> pa.ChunkedArray:
    table = pa.table({"id": range(len(values)), "text": ["t"] * len(values), "x": values})
    return read(write(path / "in.parquet", table), "x").column("kept.x")


@pytest.mark.parametrize(("kind", "value", "written", "expected"), LEAVES)
def test_values_are_written_exactly_with_types_that_others_read(
    tmp_path: Path, kind: pa.DataType, value: object, written: pa.DataType, expected: object
) -> None:
    column = kept(tmp_path, pa.array([value, None], kind))
    assert column.type == written
    assert column.to_pylist() == [expected, None]


@pytest.mark.parametrize(("kind", "value", "written", "expected"), LEAVES)
def test_values_within_nested_types_are_written_likewise(
    kind: pa.DataType, value: object, written: pa.DataType, expected: object
) -> None:
    # as arrays: pa.array makes no dictionaries or extension values within other types
    leaves = pa.array([value, None, value], kind)
    struct = pa.StructArray.from_arrays([leaves], names=["a"], mask=pa.array([False, True, False]))
    offsets, null = pa.array([0, 2, 2, 3], pa.int32()), pa.array([False, True, False])
    lists = pa.ListArray.from_arrays(offsets, struct, mask=null)
    keys = pa.array(["k", "l", "m"])
    map_type = pa.map_(pa.string(), struct.type)
    maps = pa.MapArray.from_arrays(offsets, keys, struct, map_type, mask=null)
    rows = [[{"a": expected}, None], None, [{"a": expected}]]
    entries = [[("k", {"a": expected}), ("l", None)], None, [("m", {"a": expected})]]
    inner = pa.struct([("a", pa.null() if pa.types.is_null(kind) else written)])
    for array, to, values in (
        (lists, pa.list_(inner), rows),
        (maps, pa.map_(pa.string(), inner), entries),
    ):
        assert written_type(pa.field("x", array.type)) == to
        assert convert(array, to).to_pylist() == values
        assert convert(array.slice(2), to).to_pylist() == values[2:]


@pytest.mark.parametrize(
    "kind",
    [
        pa.large_list(pa.uint8()),
        pa.list_view(pa.uint8()),
        pa.large_list_view(pa.uint8()),
        pa.list_(pa.uint8(), 2),
    ],
)
def test_every_kind_of_list_becomes_a_plain_one(tmp_path: Path, kind: pa.DataType) -> None:
    column = kept(tmp_path, pa.array([[1, None], None, [3, 4]], kind))
    assert column.type == pa.list_(pa.int32())
    assert column.to_pylist() == [[1, None], None, [3, 4]]


def test_a_written_type_is_written_as_itself() -> None:
    for _, _, written, _ in LEAVES:
        assert written_type(pa.field("x", written)) == written


def test_field_ids_of_tables_are_not_carried_into_nested_types() -> None:
    inner = pa.field("a", pa.int64(), nullable=False, metadata={"PARQUET:field_id": "7"})
    written = written_type(pa.field("x", pa.struct([inner])))
    assert written.field("a").metadata is None


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        (pa.timestamp("ns"), 1, "1970-01-01 00:00:00.000000001"),
        (pa.time64("ns"), 1001, "00:00:00.000001001"),
        (pa.timestamp("ms"), 2**60, "1152921504606846976"),
        (pa.list_(pa.timestamp("ns")), [1], "["),
    ],
)
def test_a_value_that_cannot_be_kept_exactly_is_refused_with_its_place(
    tmp_path: Path, kind: pa.DataType, value: object, shown: str
) -> None:
    table = pa.table({"id": [1, 2], "text": ["t", "u"], "x": pa.array([None, value], kind)})
    path = write(tmp_path / "in.parquet", table)
    message = refused(path, "x")
    assert message.startswith(f"{path}: row 1: column 'x' has the value ")
    assert shown in message
    assert "would" in message
    assert message.endswith("Convert the column to strings, or to a type that holds fewer digits")


def test_intervals_and_variants_of_duckdb_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    duckdb.connect().execute(
        f"COPY (SELECT 1 AS id, 't' AS text, INTERVAL 1 MONTH AS x, {{'a': 1}}::VARIANT AS v) "
        f"TO '{path}'"
    )
    assert refused(path, "x").startswith(f"{path}: column 'x' has the type of intervals")
    assert refused(path, "v").startswith(f"{path}: column 'v' has the type Variant")
    assert read(path).num_rows == 1


def test_types_that_only_pandas_reads_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    frame = pd.DataFrame({"id": [1], "text": ["t"], "x": pd.period_range("2024", periods=1)})
    frame.to_parquet(path)
    assert "column 'x' has the type pandas.period, which only pandas can read" in refused(path, "x")


def test_unions_are_refused() -> None:
    with pytest.raises(UnsupportedType):
        written_type(pa.field("x", pa.dense_union([pa.field("a", pa.int8())])))


def test_types_that_widen_exactly_agree(tmp_path: Path) -> None:
    for name, kind in (("a", pa.int8()), ("b", pa.uint32()), ("c", pa.null()), ("d", pa.int32())):
        table = pa.table({"id": [name], "text": ["t"], "x": pa.array([None], kind)})
        write(tmp_path / f"{name}.parquet", table)
    rows = read(tmp_path, "x")
    assert rows.schema.field("kept.x").type == pa.int64()
    nested = [pa.array([[{"a": 1}]], pa.list_(pa.struct([("a", kind)]))) for kind in
              (pa.float32(), pa.float64())]  # fmt: skip
    for name, values in zip("ab", nested, strict=True):
        write(tmp_path / f"{name}.parquet", pa.table({"id": [name], "text": ["t"], "x": values}))
    for name in "cd":
        (tmp_path / f"{name}.parquet").unlink()
    assert column(read(tmp_path, "x"), "kept.x") == [[{"a": 1.0}], [{"a": 1.0}]]


def test_a_column_without_values_has_strings(tmp_path: Path) -> None:
    lines = [{"id": 1, "text": "t", "x": None, "y": [], "z": {"a": None}}]
    rows = read(write_lines(tmp_path / "in.jsonl", lines), "x", "y", "z")
    assert rows.schema.field("kept.x").type == pa.string()
    assert rows.schema.field("kept.y").type == pa.list_(pa.string())
    assert rows.schema.field("kept.z").type == pa.struct([("a", pa.string())])
    assert column(rows, "kept.z") == [{"a": None}]
