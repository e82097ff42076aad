"""Rows of a file with the columns and types that the corpus has in common.

Knows tables and layouts; knows nothing of opening or reading files.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pyarrow as pa

from pipelines.corpus.conversion import convert
from pipelines.corpus.fragments import Fragment
from pipelines.corpus.id_types import written_ids
from pipelines.corpus.kept_types import without_nulls
from pipelines.corpus.layout import Layout
from pipelines.corpus.partitions import partition_values, typed_value
from pipelines.corpus.places import field_at, find_place, pick, replace_type
from pipelines.corpus.text_types import text_bytes
from pipelines.errors import InputError
from pipelines.job.spec import InputSpec

_SHOWN_CHARACTERS = 80


def normal_rows(
    rows: pa.Table | pa.RecordBatch,
    numbers: pa.Array,
    spec: InputSpec,
    layout: Layout,
    fragment: Fragment,
) -> pa.Table:
    """Return a file's rows, with their `numbers` in it, with the columns and types of
    `layout.schema`.

    Raises InputError naming column, row and value if a value cannot be written exactly.
    """
    count = rows.num_rows
    ids = partial(written_ids, kind=layout.id_kind)
    columns = [
        pa.repeat(fragment.path, count),
        numbers,
        _converted(rows, spec.id_column, ids, numbers),
        _converted(rows, spec.text_column, text_bytes, numbers),
        pa.nulls(count, pa.string()),
    ]
    for field in layout.kept:
        if find_place(rows.schema, field.name):
            to = partial(convert, to=field.type)
            columns.append(_converted(rows, field.name, to, numbers))
        else:
            columns.append(_partition(field, count, fragment))
    return pa.table(columns, schema=layout.schema)


def _partition(field: pa.Field, count: int, fragment: Fragment) -> pa.Array:
    """Return a column with the value that a file's partition has in all rows."""
    value = typed_value(partition_values(fragment.path)[field.name], field.type)
    return convert(pa.repeat(value, count), field.type)


def _converted(
    rows: pa.Table | pa.RecordBatch,
    name: str,
    function: Callable[[pa.Array], pa.Array],
    numbers: pa.Array,
) -> pa.ChunkedArray:
    """Return the column `name` with each chunk converted; raises InputError for the first value
    that cannot be converted."""
    place = find_place(rows.schema, name)
    assert place is not None
    chunks = pick(rows, place).chunks
    converted = []
    for chunk in chunks:
        try:
            converted.append(function(chunk))
        except pa.ArrowInvalid as error:
            start = sum(len(each) for each in converted)
            raise _inexact(chunk, name, function, numbers.slice(start)) from error
    return pa.chunked_array(converted)


def _inexact(
    values: pa.Array, name: str, function: Callable[[pa.Array], pa.Array], numbers: pa.Array
) -> InputError:
    """Return the error that names the first of these values that cannot be converted."""
    for row in range(len(values)):
        try:
            function(values.slice(row, 1))
        except pa.ArrowInvalid as error:
            return InputError(
                f"row {numbers[row]}: column {name!r} has the value {_shown(values[row])}, of "
                f"type {values.type}, which cannot be written exactly: {error}. Convert the column "
                "to strings, or to a type that holds fewer digits"
            )
    raise AssertionError("each value can be converted")


def _shown(value: pa.Scalar) -> str:
    try:
        text = str(value.cast(pa.string()))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        text = str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def json_schema(in_file: pa.Schema, spec: InputSpec, layout: Layout) -> pa.Schema:
    """Return the schema with which a JSONL file's lines are parsed, given the columns in this file:
    kept columns have the types of all files."""
    schema = in_file
    for name in (spec.id_column, spec.text_column):
        place = find_place(schema, name)
        if place is not None:
            schema = replace_type(schema, place, without_nulls(field_at(schema, place).type))
    for field in layout.kept:
        place = find_place(in_file, field.name)
        if place is not None:
            schema = replace_type(schema, place, field.type)
    return schema
