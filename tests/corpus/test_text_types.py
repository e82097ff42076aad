"""Texts of every type: strings, bytes, fields of structs, pages."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from corpora import column, write, write_lines

from pipelines.corpus.files import list_files
from pipelines.corpus.rows import open_corpus, read_rows
from pipelines.corpus.text_types import text_bytes
from pipelines.errors import InputError
from pipelines.job.spec import InputSpec


def read_column(path: Path, text_column: str, **keys: object) -> pa.Table:
    spec = InputSpec.model_validate({"path": str(path), "text_column": text_column, **keys})
    corpus = open_corpus(spec, list_files(spec.path))
    tables = [table for each in corpus.fragments for table in read_rows(spec, corpus.layout, each)]
    return pa.concat_tables(tables)


def texts(path: Path, text_column: str = "text") -> list[object]:
    return column(read_column(path, text_column), "text")


def corpus(path: Path, values: pa.Array, name: str = "text") -> Path:
    return write(path / "in.parquet", pa.table({"id": range(len(values)), name: values}))


@pytest.mark.parametrize(
    "kind",
    [
        pa.binary(),
        pa.large_binary(),
        pa.binary_view(),
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.int8(), pa.large_string()),
        pa.dictionary(pa.int32(), pa.binary()),
    ],
)
def test_every_type_of_strings_and_bytes_is_text(tmp_path: Path, kind: pa.DataType) -> None:
    values = pa.array(["é", None, "é"])
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    encoded = pa.array([v and v.encode() for v in values.to_pylist()]).cast(plain)
    if pa.types.is_dictionary(kind):
        encoded = encoded.dictionary_encode()
    assert texts(corpus(tmp_path, encoded)) == ["é".encode(), None, "é".encode()]


def test_bytes_that_are_not_utf8_come_out_as_they_are(tmp_path: Path) -> None:
    assert texts(corpus(tmp_path, pa.array([b"ok", b"\xff"]))) == [b"ok", b"\xff"]


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.string()),
        pa.large_list(pa.large_string()),
        pa.list_(pa.binary()),
        pa.list_(pa.string_view()),
        pa.list_view(pa.string()),
        pa.list_(pa.dictionary(pa.int8(), pa.string())),
    ],
)
def test_each_page_of_a_list_ends_with_a_form_feed(tmp_path: Path, kind: pa.DataType) -> None:
    pages = [["one", None, "three"], None, ["only"], []]
    assert texts(corpus(tmp_path, pa.array(pages, kind))) == [
        b"one\f\fthree\f",
        None,
        b"only\f",
        b"",
    ]


def test_a_form_feed_within_a_page_does_not_count_as_a_page() -> None:
    pages = pa.array([["one\f", "two\fmore"]])
    assert text_bytes(pages).to_pylist() == [b"one\n\ftwo\nmore\f"]


def test_pages_of_a_slice_are_those_of_its_rows() -> None:
    pages = pa.array([["a"], None, ["b", "c"], ["d"]])
    assert text_bytes(pages.slice(1, 2)).to_pylist() == [None, b"b\fc\f"]


def test_pages_of_fixed_number_work() -> None:
    pages = pa.array([["a", "b"], None], pa.list_(pa.string(), 2))
    assert text_bytes(pages).to_pylist() == [b"a\fb\f", None]


def test_a_field_of_a_struct_can_be_the_text(tmp_path: Path) -> None:
    bodies = [{"text": "one", "by": {"name": "Ann"}}, None, {"text": None, "by": None}]
    path = corpus(tmp_path, pa.array(bodies), "body")
    assert texts(path, "body.text") == [b"one", None, None]
    assert texts(path, "body.by.name") == [b"Ann", None, None]


def test_a_column_named_with_a_dot_comes_before_a_field(tmp_path: Path) -> None:
    table = pa.table({"id": [1], "body": [{"text": "field"}], "body.text": ["column"]})
    assert texts(write(tmp_path / "in.parquet", table), "body.text") == [b"column"]


def test_a_field_of_the_structs_in_a_list_gives_pages(tmp_path: Path) -> None:
    pages = [[{"text": "one", "n": 1}, {"text": None, "n": 2}, None], None, []]
    path = corpus(tmp_path, pa.array(pages), "pages")
    assert texts(path, "pages.text") == [b"one\f\f\f", None, b""]


def test_structs_are_refused_with_the_field_to_name(tmp_path: Path) -> None:
    path = corpus(tmp_path, pa.array([[{"n": 1, "text": "one"}]]), "pages")
    with pytest.raises(InputError) as error:
        texts(path, "pages")
    assert "column 'pages' is list<" in error.value.message
    assert error.value.message.endswith("or to a field of it, such as pages.text")


def test_ids_and_kept_columns_can_be_fields(tmp_path: Path) -> None:
    meta = [{"id": "a", "n": 1, "x": 0}, {"id": "b", "n": 2, "x": 0}]
    table = pa.table({"meta": meta, "text": ["t", "u"]})
    path = write(tmp_path / "in.parquet", table)
    rows = read_column(path, "text", id_column="meta.id", keep_columns=["meta.n"])
    assert column(rows, "doc_id") == ["a", "b"]
    assert column(rows, "kept.meta.n") == [1, 2]


def test_fields_and_pages_of_json_lines_work(tmp_path: Path) -> None:
    lines = [
        {"id": 1, "body": {"text": ["one", "two"], "n": 1}, "a": {"b": 1}},
        {"id": 2, "body": {"text": None}, "a": {"b": 1.5, "c": 0}},
    ]
    path = write_lines(tmp_path / "in.jsonl", lines)
    rows = read_column(path, "body.text", keep_columns=["a.b"])
    assert column(rows, "text") == [b"one\ftwo\f", None]
    assert column(rows, "kept.a.b") == [1.0, 1.5]
