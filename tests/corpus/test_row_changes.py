"""The hash of a row's content: of its values, however a file stores them."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from corpora import job, write, write_lines

from pipelines.corpus.files import list_files
from pipelines.corpus.ids import hash_ids
from pipelines.corpus.layout import Layout
from pipelines.corpus.row_changes import Hashes, hash_contents
from pipelines.corpus.rows import open_corpus, read_rows
from pipelines.documents import BROKEN, DOC_ID, KEPT, TEXT

COLUMNS = ("day", "at", "tag", "n", "words", "price")
FIRST = {
    "id": pa.array([1, 2], pa.int64()),
    "text": pa.array(["one", "two"]).dictionary_encode(),
    "day": pa.array([date(2024, 1, 31), None], pa.date32()),
    "at": pa.array([datetime(2024, 1, 31, 5), None], pa.timestamp("ms", "UTC")),
    "tag": pa.array(["a", "b"]).dictionary_encode(),
    "n": pa.array([1, None], pa.int16()),
    "words": pa.array([["x"], None], pa.large_list(pa.large_string())),
    "price": pa.array([Decimal("1.20"), None], pa.decimal128(5, 2)),
}
AGAIN = {
    "id": pa.array([1, 2], pa.int32()),
    "text": pa.array([b"one", b"two"], pa.large_binary()),
    "day": pa.array([date(2024, 1, 31), None], pa.date64()),
    "at": pa.array([datetime(2024, 1, 31, 5), None], pa.timestamp("ns", "UTC")),
    "tag": pa.array(["a", "b"], pa.string_view()),
    "n": pa.array([1, None], pa.int8()),
    "words": pa.array([["x"], None], pa.list_(pa.string())),
    "price": pa.array([Decimal("1.20"), None], pa.decimal128(3, 2)),
}
ROW = {
    DOC_ID: pa.array(["a"]),
    TEXT: pa.array([b"one"], pa.large_binary()),
    BROKEN: pa.nulls(1, pa.string()),
    KEPT + "x": pa.array(["k"]),
}


def contents_of(rows: pa.Table) -> Hashes:
    """Return the hashes of the rows' contents."""
    return hash_contents(rows, hash_ids(rows.column(DOC_ID)))


def rows_with(values: pa.Array) -> pa.Table:
    """Return rows like ROW that differ only in a kept column, which has these values."""
    same = {name: pa.concat_arrays([column] * len(values)) for name, column in ROW.items()}
    return pa.table({**same, KEPT + "x": values})


def hashes(path: Path, *keep: str, earlier: Layout | None = None) -> tuple[list[int], Layout]:
    """Return the hashes of a file's rows, and the layout with which they were read."""
    spec = job(path, *keep)
    corpus = open_corpus(spec, list_files(str(path)), earlier)
    tables = [t for each in corpus.fragments for t in read_rows(spec, corpus.layout, each)]
    return [int(value) for table in tables for value in contents_of(table)], corpus.layout


def test_the_same_values_in_other_types_are_the_same_content(tmp_path: Path) -> None:
    first, layout = hashes(write(tmp_path / "a.parquet", pa.table(FIRST)), *COLUMNS)
    again, _ = hashes(write(tmp_path / "b.parquet", pa.table(AGAIN)), *COLUMNS, earlier=layout)
    assert first == again and first[0] != first[1]


@pytest.mark.parametrize(
    "change",
    [
        {DOC_ID: pa.array(["b"])},
        {TEXT: pa.array([b""], pa.large_binary())},
        {TEXT: pa.nulls(1, pa.large_binary())},
        {BROKEN: pa.array(["line 1"])},
        {KEPT + "x": pa.array(["l"])},
        {KEPT + "x": pa.nulls(1, pa.string())},
    ],
)
def test_any_other_value_is_another_content(change: dict[str, pa.Array]) -> None:
    assert contents_of(pa.table(ROW)) != contents_of(pa.table({**ROW, **change}))


@pytest.mark.parametrize(
    "value",
    [
        pa.array([10**7], pa.int32()).view(pa.date32()),
        pa.array([2**62], pa.int64()).view(pa.timestamp("us", "UTC")),
        pa.array([b"\xff"], pa.binary()).view(pa.string()),
        pa.StructArray.from_arrays([pa.array([2**62]).view(pa.timestamp("us"))], names=["at"]),
        pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
        pa.array([float("nan")]),
    ],
)
def test_a_value_that_python_does_not_have_has_a_hash(value: pa.Array) -> None:
    table = pa.table({**ROW, KEPT + "x": value})
    assert contents_of(table) == contents_of(pa.concat_tables([table, table]).slice(1))


NESTED = pa.list_(pa.struct([("a", pa.list_(pa.int64())), ("b", pa.string())]))
DIFFERENT: list[list[dict[str, Any] | None] | None] = [
    None,
    [],
    [None],
    [None, None],
    [{"a": None, "b": None}],
    [{"a": [], "b": None}],
    [{"a": [], "b": ""}],
    [{"a": [0], "b": ""}],
    [{"a": [None], "b": ""}],
    [{"a": [1, 2], "b": "x"}],
    [{"a": [2, 1], "b": "x"}],
    [{"a": [1], "b": "x"}, {"a": [2], "b": "x"}],
    [{"a": [2], "b": "x"}, {"a": [1], "b": "x"}],
    [{"a": [1], "b": "x"}, {"a": [2], "b": "y"}],
    [{"a": [1], "b": "y"}, {"a": [2], "b": "x"}],
    [{"a": [1, 2], "b": "x"}, {"a": [], "b": "x"}],
    [{"a": [], "b": "x"}, {"a": [1, 2], "b": "x"}],
]


def test_nested_values_differ_in_their_hashes_if_and_only_if_they_differ() -> None:
    rows = len(DIFFERENT)
    table = rows_with(pa.array(DIFFERENT, NESTED))
    all_hashes = contents_of(table).tolist()
    assert len(set(all_hashes)) == rows
    single = [int(contents_of(table.slice(row, 1))[0]) for row in range(rows)]
    twice = contents_of(pa.concat_tables([table.slice(5), table.slice(0, 5)])).tolist()
    assert single == all_hashes == twice[-5:] + twice[:-5]


def test_unsigned_numbers_of_64_bits_have_hashes() -> None:
    first, second = contents_of(rows_with(pa.array([2**64 - 1, 2**63], pa.uint64())))
    assert first != second


def test_a_table_without_rows_has_no_hashes() -> None:
    schema = pa.table(ROW).schema
    assert (
        len(contents_of(schema.empty_table())) == len(contents_of(pa.table(ROW).slice(0, 0))) == 0
    )


def test_a_line_that_is_no_json_has_the_same_hash_again(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"id": "a", "text": "one"}])
    with path.open("a") as file:
        file.write('{"id": "b", "text": "tw\n')
    assert hashes(path)[0] == hashes(path)[0] and len(hashes(path)[0]) == 2
