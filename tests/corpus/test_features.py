"""Hugging Face's features of kept columns, from the input's files to the parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
from corpora import job, refused, write

from pipelines.corpus.features import common_features, read_features
from pipelines.corpus.files import list_files
from pipelines.corpus.layout import Layout
from pipelines.corpus.rows import open_corpus, read_rows

LABEL = {"names": ["neg", "pos"], "_type": "ClassLabel"}
VALUE = {"dtype": "int64", "_type": "Value"}


def corpus(path: Path, features: dict[str, Any], label_type: pa.DataType | None = None) -> Path:
    labels = pa.array([1], label_type or pa.int64())
    table = pa.table({"id": ["a"], "text": ["t"], "label": labels, "n": [7]})
    metadata = {"huggingface": json.dumps({"info": {"features": features}}), "pandas": "{}"}
    return write(path, table.replace_schema_metadata(metadata))


def layout(path: Path, *keep: str) -> Layout:
    spec = job(path, *keep)
    return open_corpus(spec, list_files(spec.path)).layout


def test_the_features_of_kept_columns_are_in_the_metadata_of_rows(tmp_path: Path) -> None:
    path = corpus(tmp_path / "a.parquet", {"label": LABEL, "n": VALUE, "text": VALUE})
    spec = job(path, "label")
    opened = open_corpus(spec, list_files(spec.path))
    (rows,) = read_rows(spec, opened.layout, opened.fragments[0])
    assert list(rows.schema.metadata) == [b"huggingface"]
    stored = json.loads(rows.schema.metadata[b"huggingface"])
    assert stored == {"info": {"features": {"label": LABEL}}}
    assert Layout.from_text(opened.layout.to_text()).features == {"label": LABEL}


def test_a_column_that_is_written_with_another_type_has_no_feature(tmp_path: Path) -> None:
    path = corpus(tmp_path / "a.parquet", {"label": LABEL}, pa.uint8())
    assert layout(path, "label").features == {}


def test_metadata_of_another_form_has_no_features() -> None:
    for stored in ("", "{", "[]", "{}", '{"info": null}', '{"info": {"features": []}}'):
        schema = pa.schema([("label", pa.int64())], {"huggingface": stored})
        assert read_features(schema, ["label"]) == {}
    assert read_features(pa.schema([("label", pa.int64())]), ["label"]) == {}


def test_files_without_features_agree_with_files_that_have_some(tmp_path: Path) -> None:
    corpus(tmp_path / "a.parquet", {})
    corpus(tmp_path / "b.parquet", {"label": LABEL})
    assert layout(tmp_path, "label").features == {"label": LABEL}


def test_other_names_of_labels_are_refused(tmp_path: Path) -> None:
    corpus(tmp_path / "a.parquet", {"label": LABEL})
    path = corpus(tmp_path / "b.parquet", {"label": {**LABEL, "names": ["pos", "neg"]}})
    expected = f"{path}: column 'label' has other names of labels (Hugging Face's features) than"
    assert refused(tmp_path, "label").startswith(expected)
    assert layout(tmp_path).features == {}


def test_other_differences_leave_the_column_without_a_feature() -> None:
    assert common_features({"n": VALUE}, {"n": {**VALUE, "id": "x"}}) == ({}, None)
