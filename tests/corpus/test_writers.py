"""Parquet files as other libraries write them: ids, texts and kept columns are right."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest
from corpora import column, read

from pipelines.documents import Answer, Document, DocumentResult, Summary
from pipelines.tasks.columns import AnswerColumn, part_table

UUID = uuid.UUID("f81d4fae-7dec-11d0-a765-00a0c91e6bf6")
AT = datetime(2020, 1, 1, 12, 0, 0, 1000)
LATE = datetime(9999, 12, 31)


def needed(name: str) -> Any:
    """Return a library, or skip the test without it."""
    return pytest.importorskip(name, reason=f"{name} (requirements/formats.txt) is not installed")


def kept(path: Path, *names: str) -> dict[str, list[object]]:
    rows = read(path, *names)
    assert column(rows, "text") == [b"one", b"two"]
    return {name: column(rows, f"kept.{name}") for name in names}


def test_pandas(tmp_path: Path) -> None:
    columns = {
        "id": pd.array([1, 2], dtype="UInt32"),
        "text": ["one", "two"],
        "category": pd.Categorical(["x", "y"]),
        "at": pd.Series([AT, None], dtype="datetime64[ns]").dt.tz_localize("UTC"),
        "length": pd.to_timedelta([1, 2], "D"),
        "nullable": pd.array([2**62 + 1, None], dtype="Int64"),
        "object": [{"a": 1}, None],
    }
    path = tmp_path / "in.parquet"
    pd.DataFrame(columns).to_parquet(path)
    assert column(read(path), "doc_id") == [1, 2]
    assert kept(path, *list(columns)[2:]) == {
        "category": ["x", "y"],
        "at": [AT.replace(tzinfo=UTC), None],
        "length": [timedelta(days=1), timedelta(days=2)],
        "nullable": [2**62 + 1, None],
        "object": [{"a": 1}, None],
    }


def test_duckdb(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    values = f"""'{UUID}'::UUID, 'one'::BLOB, 255::UTINYINT, {2**64 - 1}::UBIGINT,
        '{{"a":1}}'::JSON, MAP{{'a': 1::UBIGINT}}, 'x'::ENUM('x', 'y'), 1.5::DECIMAL(30, 3),
        TIMESTAMPTZ '9999-12-31 00:00:00+00', TIMESTAMP_NS '2020-01-01 12:00:00.001',
        TIME '01:02:03', [[1], NULL]"""
    empty = "'00000000-0000-0000-0000-000000000000'::UUID, 'two'::BLOB, " + ", ".join(["NULL"] * 10)
    names = ("tiny", "big", "json", "map", "enum", "decimal", "late", "moment", "time",
             "lists")  # fmt: skip
    select = f"SELECT * FROM (VALUES ({values}), ({empty})) t(id, text, {', '.join(names)})"  # noqa: S608
    duckdb.connect().execute(f"COPY ({select}) TO '{path}'")
    assert column(read(path), "doc_id") == [str(UUID), str(uuid.UUID(int=0))]
    expected = (255, Decimal(2**64 - 1), '{"a":1}', [("a", Decimal(1))], "x", Decimal("1.500"),
                LATE.replace(tzinfo=UTC), AT, time(1, 2, 3), [[1], None])  # fmt: skip
    assert kept(path, *names) == {
        name: [value, None] for name, value in zip(names, expected, strict=True)
    }


@pytest.mark.slow
def test_polars(tmp_path: Path) -> None:
    pl = needed("polars")
    path = tmp_path / "in.parquet"
    columns = {
        "id": pl.Series([7, 2**64 - 1], dtype=pl.UInt64),
        "text": pl.Series(["one", "two"], dtype=pl.Categorical),
        "array": pl.Series([[1, 2], None], dtype=pl.Array(pl.UInt8, 2)),
        "late": pl.Series([LATE, None], dtype=pl.Datetime("us")),
        "at": pl.Series([AT, None], dtype=pl.Datetime("ns")),
        "struct": [{"a": ["x"]}, {"a": []}],
        "time": [time(1, 2, 3), None],
        "nothing": [None, None],
    }
    pl.DataFrame(columns).write_parquet(path)
    assert column(read(path), "doc_id") == ["7", str(2**64 - 1)]
    assert kept(path, *list(columns)[2:]) == {
        "array": [[1, 2], None],
        "late": [LATE, None],
        "at": [AT, None],
        "struct": [{"a": ["x"]}, {"a": []}],
        "time": [time(1, 2, 3), None],
        "nothing": [None, None],
    }


@pytest.mark.slow
@pytest.mark.parametrize("times", ["int64", "int96"])
def test_fastparquet(tmp_path: Path, times: str) -> None:
    fastparquet = needed("fastparquet")
    path = tmp_path / "in.parquet"
    frame = pd.DataFrame(
        {
            "id": pd.Series([b"a", b"b"], dtype=object),
            "text": pd.Series(["one", "two"], dtype=object),
            "category": pd.Categorical(["x", "y"]),
            "at": pd.Series([AT, AT], dtype="datetime64[ns]"),
        }
    )
    encodings = {"id": "bytes", "text": "utf8", "category": "utf8"}
    fastparquet.write(str(path), frame, times=times, object_encoding=encodings)
    assert column(read(path), "doc_id") == ["a", "b"]
    assert kept(path, "category", "at") == {"category": ["x", "y"], "at": [AT, AT]}


@pytest.mark.slow
def test_features_of_datasets_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = needed("datasets")
    label = datasets.ClassLabel(names=["neg", "pos"])
    kinds = {"label": label, "labels": datasets.List(label), "image": datasets.Image(),
             "big": datasets.Value("large_string")}  # fmt: skip
    text = datasets.Value("string")
    image = {"bytes": b"x", "path": "a.png"}
    values = {"id": ["a"], "text": ["one"], "label": [1], "labels": [[0, 1]], "image": [image],
              "big": ["x"]}  # fmt: skip
    features = datasets.Features({"id": text, "text": text, **kinds})
    corpus = datasets.Dataset.from_dict(values, features=features)
    corpus.to_parquet(str(tmp_path / "in.parquet"))
    rows = read(tmp_path / "in.parquet", *kinds)
    result = DocumentResult(Document("a", "one"), (Answer("brief", Summary("short")),))
    part = part_table(rows, [result], [AnswerColumn("brief", "summarize")], "id")
    (tmp_path / "answers").mkdir()
    pq.write_table(part, tmp_path / "answers/part-0.parquet")
    files = str(tmp_path / "answers/*.parquet")
    loaded = datasets.load_dataset("parquet", data_files=files, split="train",
                                   cache_dir=str(tmp_path / "cache"))  # fmt: skip
    known = {name: loaded.features[name] for name in ("label", "labels", "image", "big")}
    assert known == {**kinds, "big": text}
    assert loaded.features["brief"]["text"] == text
    (row,) = loaded.select_columns(["label", "labels"])
    assert row == {"label": 1, "labels": [0, 1]}
