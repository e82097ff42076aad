"""Checks of dates and timestamps whose value the reader of Parquet would change without a word.

INT96 has nanoseconds, and is read as microseconds so that years before 1677 and after 2262 stay
right. Spark before 3.0, and later in its legacy mode, wrote old dates in another calendar. Knows
batches of rows and the footer of a file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.corpus.conversion import is_list
from pipelines.errors import InputError

SPARK_SCHEMA = b"org.apache.spark.sql.parquet.row.metadata"
"""The key in the footer of every file that Spark wrote."""
_SPARK_VERSION = b"org.apache.spark.version"
_SPARK_LEGACY = (b"org.apache.spark.legacyINT96", b"org.apache.spark.legacyDateTime")
# From here on, Spark's calendars and the time zones of both agree.
_CALENDARS_AGREE = date(1900, 1, 1)


def needs_nanoseconds(parquet: Any, paths: Collection[str]) -> bool:
    """Return whether columns that begin with these paths can have timestamps of nanoseconds that
    are read as microseconds: INT96 that is not Spark's, which has microseconds."""
    if SPARK_SCHEMA in (parquet.metadata.metadata or {}):
        return False
    columns = [parquet.schema.column(index) for index in range(len(parquet.schema))]
    starts = tuple(paths)
    return any(each.physical_type == "INT96" and each.path.startswith(starts) for each in columns)


def has_old_calendar(parquet: Any) -> bool:
    """Return whether Spark wrote the file's dates before 1900 in its old calendar."""
    metadata: Mapping[bytes, bytes] = parquet.metadata.metadata or {}
    legacy = any(key in metadata for key in _SPARK_LEGACY)
    return SPARK_SCHEMA in metadata and (legacy or _SPARK_VERSION not in metadata)


def check_nanoseconds(rows: pa.RecordBatch, nanoseconds: pa.RecordBatch) -> None:
    """Raise InputError if a timestamp in `rows` has lost nanoseconds: `nanoseconds` are the same
    rows, read with them, where years far from 1970 are wrong but the nanoseconds are not."""
    for name, ours, theirs in zip(
        rows.schema.names, rows.columns, nanoseconds.columns, strict=True
    ):
        for micros, nanos in zip(_leaves(ours), _leaves(theirs), strict=True):
            if micros.type != nanos.type and _differ(micros, nanos):
                raise InputError(
                    f"column {name!r} has timestamps (INT96) with nanoseconds, which other tools "
                    "cannot read; convert the column to microseconds or to strings"
                )


def _differ(micros: pa.Array, nanos: pa.Array) -> bool:
    # as unsigned integers: they overflow in the same way as the reader's
    exact = _integers(micros) * np.uint64(1000)
    return bool(np.any(exact != _integers(nanos)))


def _integers(timestamps: pa.Array) -> Any:
    return pc.fill_null(timestamps.cast(pa.int64()), 0).to_numpy(zero_copy_only=False).view("u8")


def check_calendar(rows: pa.RecordBatch) -> None:
    """Raise InputError if `rows` have a date or timestamp that is not the same in the old calendar:
    one before 1900."""
    for name, column in zip(rows.schema.names, rows.columns, strict=True):
        for leaf in _leaves(column):
            temporal = pa.types.is_date(leaf.type) or pa.types.is_timestamp(leaf.type)
            if temporal and pc.any(pc.less(leaf, _agree_from(leaf.type))).as_py():
                raise InputError(
                    f"column {name!r} has dates before {_CALENDARS_AGREE} in the old calendar of "
                    "Spark (before 3.0, or its legacy mode), which other readers take for other "
                    "dates; write the file again with a newer Spark, or as strings"
                )


def _agree_from(kind: pa.DataType) -> pa.Scalar:
    return pa.scalar(_CALENDARS_AGREE, pa.date32()).cast(pa.timestamp("us")).cast(kind)


def _leaves(array: pa.Array) -> Iterator[pa.Array]:
    """Yield the arrays of values within an array, at every depth: one for each Parquet column."""
    if isinstance(array.type, pa.BaseExtensionType):
        yield from _leaves(array.storage)
    elif pa.types.is_struct(array.type):
        for child in array.flatten():
            yield from _leaves(child)
    elif pa.types.is_map(array.type):
        yield from _leaves(array.keys)
        yield from _leaves(array.items)
    elif is_list(array.type):
        yield from _leaves(array.flatten())
    else:
        yield array
