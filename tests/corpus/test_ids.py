"""Ids: which are invalid, and which occur more than once, in however many shares."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.corpus.ids import find_duplicates, hash_ids, invalid_ids
from pipelines.storage import Storage


def _write_rows(storage: Storage, name: str, ids: list[str] | list[int]) -> str:
    column = pa.chunked_array([pa.array(ids)])
    rows = pa.table(
        {
            "source": [f"{name}.src"] * len(ids),
            "row": range(len(ids)),
            "doc_id": column,
            "id_hash": hash_ids(column),
        }
    )
    with storage.new_file(name) as path:
        pq.write_table(rows, path)
    return name


@pytest.mark.parametrize("shares", [1, 3])
def test_an_id_in_two_files_is_named_with_both_places(tmp_path: Path, shares: int) -> None:
    storage = Storage(str(tmp_path))
    files = [
        _write_rows(storage, "one", [f"d{number}" for number in range(100)]),
        _write_rows(storage, "two", ["e1", "d7", "e2", "e2"]),
    ]
    duplicates = [
        line for share in range(shares) for line in find_duplicates(storage, files, share, shares)
    ]
    assert sorted(duplicates) == [
        "'d7': one.src row 7, two.src row 1",
        "'e2': two.src row 2, two.src row 3",
    ]


def test_different_ids_are_no_duplicates(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    files = [_write_rows(storage, "one", [*range(50_000)])]
    assert find_duplicates(storage, files, 0, 1) == []


def test_at_most_ten_duplicates_are_named(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    files = [_write_rows(storage, "one", [*range(500), *range(500)])]
    assert len(find_duplicates(storage, files, 0, 1)) == 10


def test_at_most_three_rows_of_a_duplicate_are_named(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    files = [_write_rows(storage, name, ["en"] * 1000) for name in ("one", "two")]
    (duplicate,) = find_duplicates(storage, files, 0, 1)
    assert duplicate == "'en': one.src row 0, one.src row 1, one.src row 2"


def test_null_empty_and_broken_ids_are_invalid() -> None:
    raw = pa.array([b"a", None, b"", b"\xff"], pa.binary())
    ids = pa.chunked_array([pa.Array.from_buffers(pa.string(), 4, raw.buffers())])
    assert invalid_ids(ids).to_pylist() == [False, True, True, True]
    assert invalid_ids(pa.chunked_array([pa.array([1, None])])).to_pylist() == [False, True]


def test_the_hash_of_an_id_is_the_same_for_text_and_number() -> None:
    numbers, texts = pa.chunked_array([pa.array([12])]), pa.chunked_array([pa.array(["12"])])
    assert hash_ids(numbers)[0] == hash_ids(texts)[0]
