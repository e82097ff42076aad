"""Files of JSON lines as Arrow tables of a few MB each, however long one line is.

Knows JSON's types as Arrow infers them; knows nothing of ids, texts or units.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from pipelines.corpus.places import field_at, find_place
from pipelines.errors import InputError

_BLOCK_BYTES = 4 * 2**20
# From here on, a 64-bit float does not represent every whole number.
_ROUNDED_FROM = 2.0**53
_NON_SPACE = re.compile(r"\S")


def find_schema(handle: Any, needed: Collection[str], *, whole: bool) -> pa.Schema | None:
    """Return the columns and types of a file of JSON lines, or None if it has no line.

    Reads until every column in `needed` has had a value that is not null, or the whole file if
    `whole` is true: any later line may add a key to an object, or a fraction to whole numbers.
    Strings that look like dates are strings. `handle` is a binary file at its start. Raises
    ArrowException for a line that is not JSON, or if two lines have incompatible types.
    """
    schema: pa.Schema | None = None
    for _, table in _tables(handle):
        in_block = pa.schema([(field.name, _as_written(field.type)) for field in table.schema])
        schema = in_block if schema is None else merge_schemas([schema, in_block])
        if not whole and all(_is_known(schema, name) for name in needed):
            break
    return schema


def merge_schemas(schemas: Collection[pa.Schema]) -> pa.Schema:
    """Return a schema under which lines of all these schemas can be read.

    Whole numbers and fractions become floats, and an object has the keys of all: JSON omits keys
    and decimal points freely. Raises ArrowException if a column's types are incompatible.
    """
    return pa.unify_schemas(list(schemas), promote_options="permissive")


def read_tables(handle: Any, schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield a file's rows as tables with the columns of `schema`; a value is null if its line lacks
    the column. `handle` is a binary file at its start.

    Raises ArrowException for a line that is not JSON or has another type, and InputError for a
    whole number that its column's type, a 64-bit float, would round.
    """
    options = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    for block, table in _tables(handle, options):
        for field in table.schema:
            if pa.types.is_float64(field.type) and _may_be_rounded(table[field.name]):
                _check_rounding(block, field.name)
        yield table


def _may_be_rounded(numbers: pa.ChunkedArray) -> bool:
    """Return whether a number is so large that a whole number could have been rounded to it."""
    large = pc.greater_equal(pc.abs(numbers), _ROUNDED_FROM)
    return bool(pc.any(large).as_py())


def _check_rounding(block: bytes, name: str) -> None:
    """Raise InputError if a whole number of this column has no exact 64-bit float."""
    for row in _objects(block.decode(errors="replace")):
        number = row.get(name)
        if isinstance(number, int) and float(number) != number:
            raise InputError(
                f"column {name!r}: {number} would be rounded to {float(number):.0f}, because the "
                "column also has fractions or larger numbers; write all its numbers as strings"
            )


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects that a text consists of."""
    decoder = json.JSONDecoder()
    end = 0
    while start := _NON_SPACE.search(text, end):
        row, end = decoder.raw_decode(text, start.start())
        yield row


def _tables(
    handle: Any, options: pj.ParseOptions | None = None
) -> Iterator[tuple[bytes, pa.Table]]:
    """Yield blocks of whole lines and their tables. Errors name the row within the block, as Arrow
    counts it, and the block's first row."""
    row = 0
    for block in _blocks(handle):
        try:
            table = _parse(block, options)
        except pa.ArrowInvalid as error:
            raise pa.ArrowInvalid(f"{error} (rows counted from row {row} on)") from error
        row += table.num_rows
        yield block, table


def _parse(block: bytes, options: pj.ParseOptions | None = None) -> pa.Table:
    read_options = pj.ReadOptions(use_threads=False, block_size=len(block) + 1)
    return pj.read_json(pa.BufferReader(block), read_options=read_options, parse_options=options)


def _blocks(handle: Any) -> Iterator[bytes]:
    """Yield blocks of about 4 MiB that end with a whole line, or one line if it is longer."""
    while block := handle.read(_BLOCK_BYTES):
        whole = block + handle.readline()
        if not whole.isspace():
            yield whole


def _as_written(kind: pa.DataType) -> pa.DataType:
    """Return the type with strings for timestamps: Arrow infers a timestamp from a string that
    looks like a date, but the string must stay as it is."""
    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_as_written(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _as_written(field.type)) for field in kind])
    return kind


def _is_known(schema: pa.Schema, name: str) -> bool:
    """Return whether a column's type is known; it can be a field of an object."""
    place = find_place(schema, name)
    return place is not None and not _holds_null(field_at(schema, place).type)


def _holds_null(kind: pa.DataType) -> bool:
    """Return whether a type, or a type within it, is still unknown because all values were null."""
    inner = [kind.field(index).type for index in range(kind.num_fields)]
    return pa.types.is_null(kind) or any(_holds_null(each) for each in inner)
