"""Ids of every type: how they are written, and that they join back to the input exactly."""

from __future__ import annotations

import uuid
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import column, job, read, refused, write, write_lines

from pipelines.corpus.files import list_files
from pipelines.corpus.id_types import IdKind
from pipelines.corpus.ids import hash_ids
from pipelines.corpus.layout import Layout
from pipelines.corpus.rows import open_corpus

UUIDS = [uuid.UUID(int=5), uuid.UUID("F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6")]
AS_IT_IS, DIGITS = "i.id", "CAST(i.id AS VARCHAR)"
WHOLE = "CAST(CAST(i.id AS DECIMAL(38, 0)) AS VARCHAR)"
HEX = "lower(hex(i.id))"


def ids_table(ids: pa.Array) -> pa.Table:
    return pa.table({"id": ids, "text": [f"text {row}" for row in range(len(ids))]})


def kind_of(path: Path) -> IdKind:
    spec = job(path)
    return open_corpus(spec, list_files(spec.path)).layout.id_kind


def decimals(kind: pa.DataType, *values: str) -> pa.Array:
    return pa.array([Decimal(value) for value in values], kind)


@pytest.mark.parametrize(
    ("ids", "written", "kind", "key"),
    [
        (pa.array([-7, 8], pa.int8()), [-7, 8], IdKind.INTEGER, AS_IT_IS),
        (pa.array([2**32 - 1, 0], pa.uint32()), [2**32 - 1, 0], IdKind.INTEGER, AS_IT_IS),
        (pa.array([2**64 - 1, 7], pa.uint64()), [str(2**64 - 1), "7"], IdKind.DIGITS, DIGITS),
        (decimals(pa.decimal128(38, 0), "9" * 38, "-1"), ["9" * 38, "-1"], IdKind.DIGITS, DIGITS),
        (decimals(pa.decimal128(12, 2), "7.00", "100"), ["7", "100"], IdKind.DIGITS, WHOLE),
        (decimals(pa.decimal32(5, 1), "7.0", "8"), ["7", "8"], IdKind.DIGITS, WHOLE),
        (
            pa.array([value.bytes for value in UUIDS], pa.uuid()),
            ["00000000-0000-0000-0000-000000000005", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"],
            IdKind.UUID,
            DIGITS,
        ),
        (pa.array([b"\x00\xff", b"ab"], pa.binary(2)), ["00ff", "6162"], IdKind.HEX, HEX),
        (pa.array([b"a", "é".encode()]), ["a", "é"], IdKind.TEXT, "decode(i.id)"),
        (pa.array([b"a", b"b"], pa.large_binary()), ["a", "b"], IdKind.TEXT, "decode(i.id)"),
        (pa.array([b"a", b"b"], pa.binary_view()), ["a", "b"], IdKind.TEXT, "decode(i.id)"),
        (pa.array(["a", "b"], pa.string_view()), ["a", "b"], IdKind.TEXT, AS_IT_IS),
        (pa.array(["a", "b"], pa.large_string()), ["a", "b"], IdKind.TEXT, AS_IT_IS),
        (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"], IdKind.TEXT, AS_IT_IS),
        (pa.array([7, 8], pa.uint64()).dictionary_encode(), ["7", "8"], IdKind.DIGITS, DIGITS),
    ],
)
def test_ids_are_written_as_they_print_and_join_back(
    tmp_path: Path, ids: pa.Array, written: list[object], kind: IdKind, key: str
) -> None:
    path = write(tmp_path / "in.parquet", ids_table(ids))
    rows = read(path)
    assert column(rows, "doc_id") == written
    assert kind_of(path) is kind
    pq.write_table(rows.select(["doc_id", "text"]), tmp_path / "out.parquet")
    joined = duckdb.connect().execute(
        f"SELECT count(*) FROM '{path}' i JOIN '{tmp_path}/out.parquet' o "  # noqa: S608
        f"ON o.doc_id = {key} AND o.text = encode(i.text)"
    )
    assert joined
    assert joined.fetchall() == [(len(ids),)]


def test_uuids_that_duckdb_writes_work(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    duckdb.connect().execute(f"COPY (SELECT '{UUIDS[1]}'::UUID AS id, 't' AS text) TO '{path}'")
    assert column(read(path), "doc_id") == [str(UUIDS[1])]


def test_null_ids_stay_null_for_the_check_of_ids(tmp_path: Path) -> None:
    for kind in (pa.uint64(), pa.uuid(), pa.binary(2), pa.decimal128(5, 2), pa.binary()):
        path = write(tmp_path / "in.parquet", ids_table(pa.nulls(2, kind)))
        assert column(read(path), "doc_id") == [None, None]


def test_a_decimal_id_with_a_fraction_is_refused_by_name(tmp_path: Path) -> None:
    ids = decimals(pa.decimal128(12, 2), "7.00", "8.25")
    path = write(tmp_path / "in.parquet", ids_table(ids))
    expected = f"{path}: row 1: column 'id' has the value 8.25, of type decimal128(12, 2), which "
    assert refused(path).startswith(expected)


def test_integers_of_different_types_agree(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", ids_table(pa.array([1], pa.int32())))
    write(tmp_path / "b.parquet", ids_table(pa.array([2], pa.int64())))
    write_lines(tmp_path / "c.jsonl", [{"id": 3, "text": "t"}])
    assert column(read(tmp_path), "doc_id") == [1, 2, 3]
    write(tmp_path / "d.parquet", ids_table(pa.array([2**63], pa.uint64())))
    assert column(read(tmp_path), "doc_id") == ["1", "2", "3", str(2**63)]
    assert kind_of(tmp_path) is IdKind.DIGITS


def test_ids_of_different_kinds_are_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "a.parquet", ids_table(pa.array([1], pa.uint64())))
    second = write(tmp_path / "b.parquet", ids_table(pa.array(["1"])))
    expected = f"{second}: column 'id' is string, but uint64 in {first}; convert the column "
    assert refused(tmp_path).startswith(expected)


def test_later_files_keep_the_kind_of_the_first_ones(tmp_path: Path) -> None:
    spec = job(write(tmp_path / "in.parquet", ids_table(pa.array([5], pa.uint64()))))
    files = list_files(spec.path)
    integers = Layout(IdKind.INTEGER, pa.schema([]))
    assert open_corpus(spec, files, integers).layout.id_kind is IdKind.INTEGER
    digits = Layout(IdKind.DIGITS, pa.schema([]))
    write(tmp_path / "in.parquet", ids_table(pa.array([5], pa.int32())))
    assert open_corpus(spec, files, digits).layout.id_kind is IdKind.DIGITS


def test_the_hash_of_an_id_is_that_of_its_digits() -> None:
    numbers, digits = pa.chunked_array([[7, 2**40]]), pa.chunked_array([["7", str(2**40)]])
    assert np.array_equal(hash_ids(numbers), hash_ids(digits))


def test_a_layout_survives_as_text_with_its_kind_of_ids() -> None:
    for kind in IdKind:
        layout = Layout(kind, pa.schema([("n", pa.int64())]))
        assert Layout.from_text(layout.to_text()) == layout
