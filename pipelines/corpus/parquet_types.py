"""Types of Parquet columns that Arrow's schema of a file does not tell.

Spark stores timestamps as INT96, which have no unit and no zone: they are microseconds of UTC.
Intervals come out as bytes. Knows the footer of a file; reads no values.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.corpus.timestamps import SPARK_SCHEMA


def open_schema(handle: Any) -> tuple[pa.Schema, Any]:
    """Return the schema and the metadata of a Parquet file, of which the footer is read.

    Timestamps that Spark stored as INT96 have the zone UTC, others none, as other readers have it.
    An interval has the type `month_day_nano_interval`.
    """
    parquet = pq.ParquetFile(handle, coerce_int96_timestamp_unit="us")
    schema, columns = parquet.schema_arrow, parquet.schema
    leaves = [columns.column(index) for index in range(len(columns))]
    special = [_special_type(leaf, schema.metadata or {}) for leaf in leaves]
    if any(special):
        types = iter(special)
        fields = [field.with_type(_with_leaves(field.type, types)) for field in schema]
        schema = pa.schema(fields, schema.metadata)
    return schema, parquet.metadata


def _special_type(leaf: Any, metadata: dict[bytes, bytes]) -> pa.DataType | None:
    """Return the type of a Parquet column if Arrow's schema does not have it, else None."""
    if leaf.physical_type == "INT96" and SPARK_SCHEMA in metadata:
        return pa.timestamp("us", "UTC")
    return pa.month_day_nano_interval() if leaf.converted_type == "INTERVAL" else None


def _with_leaves(kind: pa.DataType, special: Iterator[pa.DataType | None]) -> pa.DataType:
    """Return a type in which the types of leaves are replaced by those of `special` that are not
    None. It has an entry for each leaf, as Parquet has a column for each."""
    if isinstance(kind, pa.BaseExtensionType):
        storage = _with_leaves(kind.storage_type, special)
        return kind if storage == kind.storage_type else storage
    if not pa.types.is_nested(kind):
        found = next(special)
        # types that the writer's own Arrow schema gives are right
        return kind if found is None or getattr(kind, "tz", None) else found
    fields = [kind.field(index) for index in range(kind.num_fields)]
    inner = [field.with_type(_with_leaves(field.type, special)) for field in fields]
    if inner == fields:
        return kind
    if pa.types.is_struct(kind):
        return pa.struct(inner)
    if pa.types.is_map(kind):
        return pa.map_(*(inner[0].type.field(index) for index in range(2)))
    return pa.list_(inner[0])
