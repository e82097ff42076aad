"""Helpers that write small corpora for tests, and read them with the product's functions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.corpus.rows import open_corpus, read_rows
from pipelines.corpus.sources import list_input
from pipelines.errors import InputError
from pipelines.job.spec import InputSpec

TEXTS = ["one", "two", "three"]


def write(path: Path, table: pa.Table | None = None, row_group_size: int | None = None) -> Path:
    """Write a Parquet file, by default with three rows of columns `id` and `text`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if table is None:
        table = pa.table({"id": ["a", "b", "c"], "text": TEXTS})
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def write_lines(path: Path, rows: Sequence[object]) -> Path:
    """Write a JSONL file with one line per row."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def job(path: Path | str, *keep: str) -> InputSpec:
    """Return the job file's input section for the corpus at `path`, with `keep` as kept columns."""
    return InputSpec(path=str(path), keep_columns=keep)


def read(path: Path | str, *keep: str) -> pa.Table:
    """Return all rows of the corpus at `path`, as workers read them."""
    spec = job(path, *keep)
    corpus = open_corpus(spec, list_input(spec).files)
    tables = [table for each in corpus.fragments for table in read_rows(spec, corpus.layout, each)]
    return pa.concat_tables([corpus.layout.schema.empty_table(), *tables])


def column(table: pa.Table, name: str) -> list[object]:
    """Return the values of one column."""
    values: list[object] = table.column(name).to_pylist()
    return values


def refused(path: Path | str, *keep: str) -> str:
    """Return the message of the InputError that reading the corpus raises."""
    with pytest.raises(InputError) as error:
        read(path, *keep)
    return error.value.message
