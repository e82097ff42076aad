"""The rows of a corpus: their columns and types, and what is an error."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ReadTimeoutError  # type: ignore[import-untyped]
from corpora import TEXTS, column, job, read, refused, write, write_lines
from fsspec.implementations.local import LocalFileSystem

from pipelines.corpus.files import list_files
from pipelines.corpus.rows import open_corpus, unreadable_reason
from pipelines.errors import FileChanged, InputError, StorageError


def test_rows_come_out_with_source_row_id_and_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet")
    assert read(path).to_pylist() == [
        {"source": str(path), "row": row, "doc_id": doc_id, "text": text.encode(), "broken": None}
        for row, (doc_id, text) in enumerate(zip("abc", TEXTS, strict=True))
    ]


def test_row_numbers_count_through_row_groups_and_batches(tmp_path: Path) -> None:
    count = 5000
    ids = list(range(count))
    table = pa.table({"id": ids, "text": [f"text {row}" for row in ids]})
    empty = table.slice(0, 0)
    path = tmp_path / "a.parquet"
    with pq.ParquetWriter(path, table.schema) as writer:
        for part in (table.slice(0, 7), empty, table.slice(7, 3000), table.slice(3007)):
            writer.write_table(part)
    rows = read(path)
    assert column(rows, "row") == ids
    assert column(rows, "doc_id") == ids


def test_a_missing_column_is_named_with_its_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet")
    key = "which input.keep_columns names"
    remedy = "Correct input.keep_columns or the file"
    assert refused(path, "title") == f"{path}: no column 'title', {key}; it has id, text. {remedy}"
    write(path, pa.table({"id": ["a"]}))
    key = "which input.text_column names"
    remedy = "Correct input.text_column or the file"
    assert refused(path) == f"{path}: no column 'text', {key}; it has id. {remedy}"


@pytest.mark.parametrize(
    ("ids", "texts", "expected"),
    [
        (pa.array([1.5]), pa.array(["t"]), "'id' is double"),
        (pa.array([True]), pa.array(["t"]), "'id' is bool"),
        (pa.array([None]), pa.array(["t"]), "'id' is null"),
        (pa.array(["a"]), pa.array([1]), "'text' is int64"),
        (pa.array(["a"]), pa.array([[["t"]]]), "'text' is list"),
    ],
)
def test_a_wrong_type_is_named_with_its_file(
    tmp_path: Path, ids: pa.Array, texts: pa.Array, expected: str
) -> None:
    path = write(tmp_path / "a.parquet", pa.table({"id": ids, "text": texts}))
    message = refused(path)
    assert message.startswith(f"{path}: column {expected}")


def test_a_column_that_occurs_twice_is_named(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["id", "text", "text"])
    message = refused(write(tmp_path / "a.parquet", table))
    assert "'text' occurs more than once; rename all but one of them" in message


def test_files_of_different_schemas_are_refused_with_file_and_column(tmp_path: Path) -> None:
    first = write(tmp_path / "a.parquet", pa.table({"id": ["a"], "text": ["t"], "n": [1]}))
    second = write(tmp_path / "b.parquet", pa.table({"id": [1], "text": ["t"], "n": [1]}))
    expected = f"{second}: column 'id' is int64, but string in {first}; convert the column "
    assert refused(tmp_path).startswith(expected)
    write(second, pa.table({"id": ["b"], "text": ["t"], "n": [1.5]}))
    expected = f"{second}: column 'n' is double, but int64 in {first}; convert the column "
    assert refused(tmp_path, "n").startswith(expected)


@pytest.mark.parametrize("kind", [pa.int8(), pa.int32(), pa.int64(), pa.uint32()])
def test_integer_ids_of_any_width_work(tmp_path: Path, kind: pa.DataType) -> None:
    path = write(
        tmp_path / "a.parquet", pa.table({"id": pa.array([7, 8], kind), "text": ["t", "u"]})
    )
    rows = read(path)
    assert column(rows, "doc_id") == [7, 8]
    assert rows.schema.field("doc_id").type == pa.int64()


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_every_encoding_of_strings_works(tmp_path: Path, kind: pa.DataType) -> None:
    texts = pa.array(["x", None, "x"]).cast(kind)
    write(tmp_path / "a.parquet", pa.table({"id": texts, "text": texts, "title": texts}))
    write(tmp_path / "b.parquet", pa.table({name: ["y"] for name in ("id", "text", "title")}))
    rows = read(tmp_path, "title")
    assert column(rows, "text") == [b"x", None, b"x", b"y"]
    assert column(rows, "doc_id") == column(rows, "kept.title") == ["x", None, "x", "y"]
    assert rows.schema.field("kept.title").type == pa.string()


def test_nested_kept_columns_stay_as_they_are(tmp_path: Path) -> None:
    meta = [{"tags": ["x", None], "by": {"name": "Ann"}}, None]
    path = write(tmp_path / "a.parquet", pa.table({"id": [1, 2], "text": ["t", "u"], "meta": meta}))
    assert column(read(path, "meta"), "kept.meta") == meta


@pytest.mark.parametrize(
    ("kind", "meta"),
    [
        (pa.binary_view(), b"x"),
        (pa.list_(pa.string_view()), ["x"]),
        (pa.large_list(pa.string_view()), ["x"]),
        (pa.struct([("a", pa.string_view()), ("b", pa.binary_view())]), {"a": "x", "b": b"y"}),
        (pa.map_(pa.string(), pa.string_view()), [("k", "x")]),
    ],
)
def test_views_in_kept_columns_become_plain(
    tmp_path: Path, kind: pa.DataType, meta: object
) -> None:
    values = pa.array([meta, None], kind)
    table = pa.table({"id": [1, 2], "text": ["t", "u"], "meta": values})
    rows = read(write(tmp_path / "a.parquet", table), "meta")
    assert "view" not in str(rows.schema.field("kept.meta").type)
    assert column(rows.take([1, 0]), "kept.meta") == [None, meta]


def test_an_object_that_never_has_a_key_is_named(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"id": "a", "text": "t", "meta": [{"x": {}}]}])
    assert refused(path, "meta").startswith(
        f"{path}: column 'meta' is list<item: struct<x: struct<>>>, and Parquet cannot store"
    )
    write_lines(tmp_path / "b.jsonl", [{"id": "b", "text": "u", "meta": [{"x": {"y": 1}}]}])
    assert column(read(tmp_path, "meta"), "kept.meta")[1] == [{"x": {"y": 1}}]


def test_kept_columns_may_have_any_name(tmp_path: Path) -> None:
    names = ("source", "row", "doc_id", "kept.text", "text")
    table = pa.table({"id": ["a"], **{name: [f"its {name}"] for name in names}})
    (row,) = read(write(tmp_path / "a.parquet", table), *names).to_pylist()
    assert {name: row[f"kept.{name}"] for name in names} == {name: f"its {name}" for name in names}
    assert (row["row"], row["doc_id"], row["text"]) == (0, "a", b"its text")


def test_hive_partitions_can_be_kept(tmp_path: Path) -> None:
    for value in ("2024", "a%20b", "__HIVE_DEFAULT_PARTITION__"):
        write(tmp_path / f"year={value}" / "a.parquet", pa.table({"id": [value], "text": ["t"]}))
    rows = read(tmp_path, "year")
    years = dict(zip(column(rows, "doc_id"), column(rows, "kept.year"), strict=True))
    assert years == {"2024": "2024", "a%20b": "a b", "__HIVE_DEFAULT_PARTITION__": None}


def test_a_partition_cannot_be_the_id(tmp_path: Path) -> None:
    path = write(tmp_path / "id=7" / "a.parquet", pa.table({"text": ["t"]}))
    key = "which input.id_column names"
    remedy = "Correct input.id_column or the file"
    assert refused(tmp_path) == f"{path}: no column 'id', {key}; it has text. {remedy}"


def test_empty_files_have_no_rows(tmp_path: Path) -> None:
    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    write(tmp_path / "zero_rows.parquet", schema.empty_table())
    pq.ParquetWriter(tmp_path / "zero_groups.parquet", schema).close()
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "blank.jsonl").write_text("\n \n")
    assert read(tmp_path).num_rows == 0
    write(tmp_path / "some.parquet")
    assert read(tmp_path).num_rows == 3


def test_a_truncated_parquet_file_is_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    assert refused(path).startswith(f"{path}: cannot be read: ")


@pytest.mark.parametrize("damage", ["zeros", "cut"])
def test_a_damaged_data_page_before_an_intact_footer_is_refused_by_name(
    tmp_path: Path, damage: str
) -> None:
    texts = [f"text {row} " * 50 for row in range(3000)]
    table = pa.table({"id": [str(row) for row in range(3000)], "text": texts})
    path = write(tmp_path / "a.parquet", table)
    data = path.read_bytes()
    middle = len(data) // 2
    replacement = bytes(200) if damage == "zeros" else b""
    path.write_bytes(data[:middle] + replacement + data[middle + 200 :])
    assert refused(path).startswith(f"{path}: cannot be read")


def test_a_file_that_is_gone_is_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet")
    files = list_files(str(path))
    path.unlink()
    with pytest.raises(FileChanged, match="it does not exist any more") as error:
        open_corpus(job(path), files)
    assert str(path) in error.value.message


@pytest.mark.parametrize(("name", "after"), [("a.parquet", 0), ("a.parquet", 1), ("a.jsonl", 0)])
def test_an_error_of_the_store_is_not_taken_for_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, after: int
) -> None:
    path = write(tmp_path / name)
    calls = itertools.count()
    original = LocalFileSystem.open

    def fail_later(filesystem: LocalFileSystem, *args: Any, **kwargs: Any) -> Any:
        if next(calls) < after:
            return original(filesystem, *args, **kwargs)
        raise ReadTimeoutError(endpoint_url="http://store")

    monkeypatch.setattr(LocalFileSystem, "open", fail_later)
    (file,) = list_files(str(path))
    with pytest.raises(StorageError, match=f"^{path}: cannot be read.*http://store"):
        unreadable_reason(job(path), file)


def test_text_that_is_not_utf8_comes_out_as_its_bytes(tmp_path: Path) -> None:
    raw = pa.array([b"ok", b"bad \xff", "é".encode()])
    texts = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    path = write(tmp_path / "a.parquet", pa.table({"id": ["a", "b", "c"], "text": texts}))
    assert column(read(path), "text") == [b"ok", b"bad \xff", "é".encode()]
    (tmp_path / "b.jsonl").write_bytes(b'{"id": "a", "text": "bad \xff"}\n')
    assert column(read(tmp_path / "b.jsonl"), "text") == [b"bad \xff"]


def test_a_damaged_file_is_told_apart_from_one_with_other_columns(tmp_path: Path) -> None:
    rows = pa.table({"id": ["a"] * 1000, "text": [f"text {number}" for number in range(1000)]})
    for name in ("intact", "short", "other"):
        pq.write_table(rows, tmp_path / f"{name}.parquet")
    short = (tmp_path / "short.parquet").read_bytes()
    (tmp_path / "short.parquet").write_bytes(short[: len(short) // 2])
    pq.write_table(rows.select(["id"]), tmp_path / "other.parquet")
    files = {Path(file.path).stem: file for file in list_files(str(tmp_path))}
    spec = job(tmp_path)
    assert unreadable_reason(spec, files["intact"]) is None
    assert "short.parquet: cannot be read" in str(unreadable_reason(spec, files["short"]))
    with pytest.raises(InputError, match="text"):
        unreadable_reason(spec, files["other"])
