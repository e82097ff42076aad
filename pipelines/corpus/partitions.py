"""Hive partitions: columns whose values are in the names of directories, such as `year=2024`.

Their types are inferred from the values in all paths. Knows paths; reads no files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from urllib.parse import unquote

import pyarrow as pa

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
"""Hive's name of a null."""
# As a 64-bit integer prints, so that the integer has the same digits again.
_INTEGER = re.compile(r"0|-?[1-9]\d{0,17}")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def partition_values(path: str) -> dict[str, str | None]:
    """Return the Hive partition columns of a path: for a directory `year=2024`, the key `year` with
    the string `2024`. The value is None for Hive's name of a null."""
    parts = [part.partition("=") for part in path.split("/")[:-1] if "=" in part]
    return {name: None if value == HIVE_NULL else unquote(value) for name, _, value in parts}


def infer_type(values: Iterable[str | None]) -> pa.DataType:
    """Return the type of a partition column with these values in the paths of a corpus.

    It is int64 if all are integers without leading zeros, date32 if all are dates such as
    2024-01-31, else string; null if there is no value.
    """
    present = {value for value in values if value is not None}
    if not present:
        return pa.null()
    for kind in (pa.int64(), pa.date32()):
        if all(_parse(value, kind) is not None for value in present):
            return kind
    return pa.string()


def typed_value(value: str | None, kind: pa.DataType) -> pa.Scalar | None:
    """Return the value in a path as a scalar of type `kind`, or None if it is no such value.

    `kind` is a type that `infer_type` returns, or any other integer type.
    """
    if value is None or pa.types.is_null(kind):
        return pa.scalar(None, kind) if value is None else None
    parsed = _parse(value, kind)
    try:
        return None if parsed is None else pa.scalar(parsed, kind)
    except (pa.ArrowInvalid, OverflowError):
        return None


def _parse(value: str, kind: pa.DataType) -> str | int | date | None:
    if pa.types.is_integer(kind):
        return int(value) if _INTEGER.fullmatch(value) else None
    if pa.types.is_date32(kind):
        return _date(value) if _DATE.fullmatch(value) else None
    return value if pa.types.is_string(kind) else None


def _date(value: str) -> date | None:
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None
