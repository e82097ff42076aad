"""The corpus: which files count, what is refused with which words, and that rows come out right."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ReadTimeoutError  # type: ignore[import-untyped]
from corpora import TEXTS, column, job, read, refused, write, write_lines
from fsspec.implementations.local import LocalFileSystem

from pipelines.corpus.files import list_files, open_corpus, unreadable_reason
from pipelines.errors import InputError, StorageError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    kept = ("b.parquet", "a.parquet", "sub/c.parquet", "lines.jsonl")
    hidden = ("_x.parquet", ".y.parquet", "_run/z.parquet", "sub/.tmp/w.parquet", "note.txt")
    for name in (*kept, *hidden):
        write(tmp_path / "data" / name)
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("", ["a.parquet", "b.parquet", "lines.jsonl", "sub/c.parquet"]),
        ("/", ["a.parquet", "b.parquet", "lines.jsonl", "sub/c.parquet"]),
        ("/*.parquet", ["a.parquet", "b.parquet"]),
        ("/**/*.parquet", ["a.parquet", "b.parquet", "sub/c.parquet"]),
        ("/[ab].parquet", ["a.parquet", "b.parquet"]),
        ("/sub/c.parquet", ["sub/c.parquet"]),
        ("/_x.parquet", ["_x.parquet"]),
        ("/_run", ["_run/z.parquet"]),
    ],
)
def test_files_are_found_by_path_directory_and_glob(
    tree: Path, pattern: str, names: list[str]
) -> None:
    found = list_files(f"{tree}{pattern}")
    assert [Path(file.path).relative_to(tree).as_posix() for file in found] == names
    assert all(file.size_bytes == Path(file.path).stat().st_size for file in found)


@pytest.mark.parametrize("pattern", ["", "/*.parquet"])
def test_what_links_lead_to_is_found_and_its_changes_are_seen(
    tree: Path, tmp_path: Path, pattern: str
) -> None:
    elsewhere = tmp_path / "blobs"
    write(elsewhere / "one.parquet")
    (tree / "link.parquet").symlink_to(elsewhere / "one.parquet")
    (tree / "gone.parquet").symlink_to(elsewhere / "nothing.parquet")
    found = {file.path: file for file in list_files(f"{tree}{pattern}")}
    assert f"{tree}/gone.parquet" not in found
    linked = found[f"{tree}/link.parquet"]
    assert linked.size_bytes == (elsewhere / "one.parquet").stat().st_size
    os.utime(elsewhere / "one.parquet", (1, 1))
    assert linked not in list_files(f"{tree}{pattern}")


def test_a_linked_directory_is_read_and_one_that_leads_back_is_not(
    tree: Path, tmp_path: Path
) -> None:
    write(tmp_path / "more" / "d.parquet")
    (tree / "more").symlink_to(tmp_path / "more")
    (tree / "sub" / "up").symlink_to(tree)
    names = [Path(file.path).relative_to(tree).as_posix() for file in list_files(str(tree))]
    assert names == ["a.parquet", "b.parquet", "lines.jsonl", "more/d.parquet", "sub/c.parquet"]


@pytest.mark.parametrize(("pattern", "left"), [("", 3), ("/**/*.parquet", 2), ("/sub", 1)])
def test_what_lies_below_the_output_is_no_corpus(tree: Path, pattern: str, left: int) -> None:
    assert len(list_files(f"{tree}{pattern}", exclude=f"{tree}/sub")) == left
    whole = list_files(f"{tree}{pattern}")
    # a corpus that lies in the output's directory is one
    assert list_files(f"{tree}{pattern}", exclude=f"{tree.parent}") == whole


def test_the_output_is_no_corpus_however_it_is_spelled(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree.parent / "link").symlink_to(tree)
    monkeypatch.chdir(tree / "sub")
    for path, but in (
        (str(tree), f"{tree}/sub/../sub"),
        (str(tree), f"{tree.parent}/link/sub"),
        (f"{tree.parent}/link", f"{tree}/sub"),
        ("..", f"{tree}/sub"),
    ):
        assert len(list_files(path, exclude=but)) == 3
    assert len(list_files(str(tree), exclude=f"{tree.parent}/link")) == 4


def test_a_directory_that_cannot_be_listed_is_named(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refused(path: str) -> object:
        if Path(path) in (tree / "sub", tree / "_run"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(StorageError, match=f"Permission denied: '{tree}/sub'"):
        list_files(str(tree))


def test_a_directory_named_like_a_glob_is_a_directory(tmp_path: Path) -> None:
    write(tmp_path / "[old]" / "a.parquet")
    assert len(list_files(f"{tmp_path}/[old]")) == 1


@pytest.mark.parametrize("pattern", ["/sub/.tmp/*.csv", "/nothing", "/note.txt", "/*.csv"])
def test_a_path_without_files_is_refused(tree: Path, pattern: str) -> None:
    with pytest.raises(InputError, match=r"no \.parquet or \.jsonl file at"):
        list_files(f"{tree}{pattern}")


def test_a_protocol_that_nobody_knows_is_refused() -> None:
    with pytest.raises(InputError, match=r"input\.path: nope://x: .*Protocol not known: nope"):
        list_files("nope://x")


def test_a_files_version_changes_with_its_content(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet")
    before = list_files(str(path))
    assert before == list_files(str(path))
    write(path, pa.table({"id": ["a"], "text": ["other"]}))
    assert before != list_files(str(path))


def test_rows_come_out_with_source_row_id_and_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet")
    assert read(path).to_pylist() == [
        {"source": str(path), "row": row, "doc_id": doc_id, "text": text.encode()}
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
    named = "which input.keep_columns names"
    assert refused(path, "title") == f"{path}: no column 'title', {named}; it has id, text"
    write(path, pa.table({"id": ["a"]}))
    named = "which input.text_column names"
    assert refused(path) == f"{path}: no column 'text', {named}; it has id"


@pytest.mark.parametrize(
    ("ids", "texts", "named"),
    [
        (pa.array([1.5]), pa.array(["t"]), "'id' is double"),
        (pa.array([1], pa.uint64()), pa.array(["t"]), "'id' is uint64"),
        (pa.array([None]), pa.array(["t"]), "'id' is null"),
        (pa.array(["a"]), pa.array([b"t"]), "'text' is binary"),
        (pa.array(["a"]), pa.array([["t"]]), "'text' is list"),
    ],
)
def test_a_wrong_type_is_named_with_its_file(
    tmp_path: Path, ids: pa.Array, texts: pa.Array, named: str
) -> None:
    path = write(tmp_path / "a.parquet", pa.table({"id": ids, "text": texts}))
    message = refused(path)
    assert message.startswith(f"{path}: column {named}")


def test_a_column_that_stands_twice_is_named(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["id", "text", "text"])
    message = refused(write(tmp_path / "a.parquet", table))
    assert "'text' stands there more than once; rename the others" in message


def test_files_of_different_schemas_are_refused_with_file_and_column(tmp_path: Path) -> None:
    first = write(tmp_path / "a.parquet", pa.table({"id": ["a"], "text": ["t"], "n": [1]}))
    second = write(tmp_path / "b.parquet", pa.table({"id": [1], "text": ["t"], "n": [1]}))
    told = refused(tmp_path)
    assert told.startswith(f"{second}: column 'id' is int64, but string in {first}; make them ")
    write(second, pa.table({"id": ["b"], "text": ["t"], "n": [1.5]}))
    told = refused(tmp_path, "n")
    assert told.startswith(f"{second}: column 'n' is double, but int64 in {first}; make them ")


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
    column_of = pa.array([meta, None], kind)
    table = pa.table({"id": [1, 2], "text": ["t", "u"], "meta": column_of})
    rows = read(write(tmp_path / "a.parquet", table), "meta")
    assert "view" not in str(rows.schema.field("kept.meta").type)
    assert column(rows.take([1, 0]), "kept.meta") == [None, meta]


def test_an_object_that_never_has_a_key_is_named(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"id": "a", "text": "t", "meta": [{"x": {}}]}])
    assert refused(path, "meta").startswith(
        f"{path}: column 'meta' is list<item: struct<x: struct<>>>, and Parquet cannot keep"
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
    found = dict(zip(column(rows, "doc_id"), column(rows, "kept.year"), strict=True))
    assert found == {"2024": "2024", "a%20b": "a b", "__HIVE_DEFAULT_PARTITION__": None}


def test_a_partition_cannot_be_the_id(tmp_path: Path) -> None:
    path = write(tmp_path / "id=7" / "a.parquet", pa.table({"text": ["t"]}))
    named = "which input.id_column names"
    assert refused(tmp_path) == f"{path}: no column 'id', {named}; it has text"


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
def test_a_data_page_damaged_before_a_sound_footer_is_refused_by_name(
    tmp_path: Path, damage: str
) -> None:
    texts = [f"text {row} " * 50 for row in range(3000)]
    table = pa.table({"id": [str(row) for row in range(3000)], "text": texts})
    path = write(tmp_path / "a.parquet", table)
    data = path.read_bytes()
    middle = len(data) // 2
    filled = bytes(200) if damage == "zeros" else b""
    path.write_bytes(data[:middle] + filled + data[middle + 200 :])
    assert refused(path).startswith(f"{path}: cannot be read")


def test_a_file_that_cannot_be_opened_is_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet")
    files = list_files(str(path))
    path.unlink()
    with pytest.raises(StorageError, match="cannot be read") as error:
        open_corpus(job(path), files)
    assert str(path) in error.value.message


@pytest.mark.parametrize(("name", "after"), [("a.parquet", 0), ("a.parquet", 1), ("a.jsonl", 0)])
def test_a_store_that_refuses_damages_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, after: int
) -> None:
    path = write(tmp_path / name)
    opened = itertools.count()
    whole = LocalFileSystem.open

    def refused(filesystem: LocalFileSystem, *given: Any, **more: Any) -> Any:
        if next(opened) < after:
            return whole(filesystem, *given, **more)
        raise ReadTimeoutError(endpoint_url="http://store")

    monkeypatch.setattr(LocalFileSystem, "open", refused)
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


def test_a_file_that_cannot_be_read_is_told_from_one_with_other_columns(tmp_path: Path) -> None:
    rows = pa.table({"id": ["a"] * 1000, "text": [f"text {number}" for number in range(1000)]})
    for name in ("sound", "short", "other"):
        pq.write_table(rows, tmp_path / f"{name}.parquet")
    short = (tmp_path / "short.parquet").read_bytes()
    (tmp_path / "short.parquet").write_bytes(short[: len(short) // 2])
    pq.write_table(rows.select(["id"]), tmp_path / "other.parquet")
    files = {Path(file.path).stem: file for file in list_files(str(tmp_path))}
    spec = job(tmp_path)
    assert unreadable_reason(spec, files["sound"]) is None
    assert "short.parquet: cannot be read" in str(unreadable_reason(spec, files["short"]))
    with pytest.raises(InputError, match="text"):
        unreadable_reason(spec, files["other"])
