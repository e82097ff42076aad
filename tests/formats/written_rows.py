"""The documents that the writers of test_all_writers.py write."""

from __future__ import annotations

import datetime
from typing import Any

import pyarrow as pa

UTC = datetime.UTC
COLUMNS = ("id", "text", "n", "price", "open", "day", "at")
ROWS: list[tuple[Any, ...]] = [
    (
        "a-1", "Grüße, 世界.\nSecond line.\n", 1, 1.5, True, datetime.date(2020, 1, 2),
        datetime.datetime(2020, 1, 2, 3, 4, 5, 678901, UTC),
    ),
    ("b/2", "long " * 2000, None, None, None, None, None),
    (
        "c 3", " 'quoted' \\ \"text\", 100 % ", -9007199254740993, 0.1, False,
        datetime.date(1950, 12, 31), datetime.datetime(1969, 7, 20, 20, 17, 40, 1, UTC),
    ),
    ("ü", "Last.", 2**62, -1e300, True, datetime.date(2100, 2, 28),
     datetime.datetime(2099, 12, 31, 23, 59, 59, 999999, UTC)),
]  # fmt: skip
SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "text": pa.string(),
        "n": pa.int64(),
        "price": pa.float64(),
        "open": pa.bool_(),
        "day": pa.date32(),
        "at": pa.timestamp("us", "UTC"),
    }
)


def rows(chosen: list[tuple[Any, ...]] | None = None) -> pa.Table:
    values = zip(*(ROWS if chosen is None else chosen), strict=True)
    return pa.table([list(each) for each in values], schema=SCHEMA)


def changed(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a row with another text and numbers, which a table then updates or deletes."""
    return (row[0], "An outdated text.", 7, 7.0, None, None, None)
