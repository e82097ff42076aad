"""Small tables are combined, large ones are passed on, and no row is lost or moved."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipelines.corpus.combined import combined

LARGE = "x" * 2**20


def _tables(sizes: list[int], text: str = "") -> list[pa.Table]:
    schema = pa.schema([("n", pa.int64()), ("text", pa.string())])
    return [
        pa.table({"n": [at * 10_000 + row for row in range(rows)], "text": [text] * rows}, schema)
        for at, rows in enumerate(sizes)
    ]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([0], [0]),
        ([3] * 1000, [513] * 5 + [435]),
        ([600, 600], [600, 600]),
        ([1, 0, 511, 2], [512, 2]),
    ],
)
def test_small_tables_are_combined_in_order(sizes: list[int], expected: list[int]) -> None:
    tables = _tables(sizes)
    result = list(combined(tables))
    assert [table.num_rows for table in result] == expected
    if tables:
        assert pa.concat_tables(result).equals(pa.concat_tables(tables))


def test_a_large_table_is_not_copied() -> None:
    (small,), (large,) = _tables([2]), _tables([3], LARGE)
    assert [table is large for table in combined([small, large, small])] == [False, True, False]
