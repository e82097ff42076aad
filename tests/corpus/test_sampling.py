"""A sample is spread over the files of a corpus and over the lengths of its texts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.corpus.rows import open_corpus
from pipelines.corpus.sampling import choose_rows, sample_rows, spread
from pipelines.corpus.sources import list_input
from pipelines.errors import InputError
from pipelines.job.spec import InputSpec


@given(st.lists(st.integers(), unique=True), st.integers(1, 20))
def test_items_are_spread_in_order_and_without_repeats(items: list[int], count: int) -> None:
    chosen = spread(items, count)
    assert len(chosen) == min(count, len(items))
    positions = [items.index(item) for item in chosen]
    assert positions == sorted(set(positions))


def test_items_are_chosen_at_equal_distances() -> None:
    assert spread(range(100), 4) == [12, 37, 62, 87]
    assert spread("abc", 5) == ["a", "b", "c"]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(1, 20))
def test_one_row_of_each_group_of_similar_length_is_chosen(lengths: list[int], count: int) -> None:
    positions = choose_rows(lengths, ["file"] * len(lengths), count)
    assert len(positions) == min(count, len(lengths))
    assert positions == sorted(set(positions))


def test_short_and_long_texts_are_chosen() -> None:
    lengths = [10] * 50 + [1_000] * 49 + [5_000]
    chosen = sorted(lengths[position] for position in choose_rows(lengths, ["a"] * 100, 4))
    assert chosen == [10, 10, 1_000, 1_000]


def test_rows_come_from_as_many_files_as_possible() -> None:
    lengths = list(range(40))
    files = ["large"] * 30 + ["b"] * 5 + ["c"] * 5
    interleaved = [files[(position * 7) % 40] for position in range(40)]
    chosen = [interleaved[position] for position in choose_rows(lengths, interleaved, 6)]
    assert Counter(chosen) == {"large": 2, "b": 2, "c": 2}


def write(path: Path, rows: int, *, group: int = 1_000) -> None:
    table = {
        "id": [f"{path.stem}-{row}" for row in range(rows)],
        "text": ["x" * row for row in range(rows)],
    }
    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    pq.write_table(pa.table(table, schema), path, row_group_size=group)


def sample(path: Path, count: int) -> list[str]:
    spec = InputSpec(path=str(path))
    ids: list[str] = sample_rows(open_corpus(spec, list_input(spec).files), count)[
        "doc_id"
    ].to_pylist()
    return ids


def test_the_same_rows_of_several_files_and_row_groups_are_chosen_each_time(
    tmp_path: Path,
) -> None:
    for name in "abc":
        write(tmp_path / f"{name}.parquet", 300, group=50)
    chosen = sample(tmp_path, 9)
    assert len(chosen) == 9 == len(set(chosen))
    assert {each[0] for each in chosen} == {"a", "b", "c"}
    assert sample(tmp_path, 9) == chosen


def test_lines_of_json_are_sampled_too(tmp_path: Path) -> None:
    lines = [f'{{"id": {number}, "text": "{"x" * number}"}}' for number in range(40)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    assert len(sample(tmp_path, 4)) == 4


def test_a_small_corpus_is_taken_whole_and_an_empty_one_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", 3)
    assert sample(tmp_path, 20) == ["a-0", "a-1", "a-2"]
    write(tmp_path / "a.parquet", 0)
    with pytest.raises(InputError, match="none of the 1 files"):
        sample(tmp_path, 20)
