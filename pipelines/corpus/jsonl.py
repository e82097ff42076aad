"""Lines of JSON as Arrow tables, some MB at a time, however long one line is.

Knows JSON's types as Arrow sees them; nothing of ids, texts or units.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from pipelines.errors import InputError

_BLOCK_BYTES = 4 * 2**20
# Of whole numbers from here on 64-bit floats hold only some.
_ROUNDED_FROM = 2.0**53
_SIGN = re.compile(r"\S")


def find_schema(handle: Any, needed: Collection[str], *, whole: bool) -> pa.Schema | None:
    """The columns of a file of JSON lines, None where it has no line. Raises ArrowException.

    Looks at as much of the file as it takes to see a value for every needed column, or at the
    `whole` of it: any line may have one more key in an object, or a fraction after whole numbers.
    """
    found: pa.Schema | None = None
    for _, table in _tables(handle):
        seen = pa.schema([(field.name, _as_written(field.type)) for field in table.schema])
        found = seen if found is None else merge_schemas([found, seen])
        known = {field.name for field in found if not _holds_null(field.type)}
        if known.issuperset(needed) and not whole:
            break
    return found


def merge_schemas(schemas: Collection[pa.Schema]) -> pa.Schema:
    """One schema under which all of these can be read: JSON leaves out keys and points at will."""
    return pa.unify_schemas(list(schemas), promote_options="permissive")


def read_tables(handle: Any, schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows with the schema's columns, null where a line lacks one. Raises ArrowException, and
    InputError where a number would not be what is written."""
    options = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    for block, table in _tables(handle, options):
        for field in table.schema:
            if pa.types.is_float64(field.type) and _is_rounded(table[field.name]):
                _refuse_rounded(block, field.name)
        yield table


def _is_rounded(numbers: pa.ChunkedArray) -> bool:
    """Whether there are any so large that 64-bit floats do not hold every whole one."""
    large = pc.greater_equal(pc.abs(numbers), _ROUNDED_FROM)
    return bool(pc.any(large).as_py())


def _refuse_rounded(block: bytes, name: str) -> None:
    """Raises InputError where a whole number of this column is not one of 64-bit floats."""
    for row in _objects(block.decode(errors="replace")):
        number = row.get(name)
        if isinstance(number, int) and float(number) != number:
            raise InputError(
                f"column {name!r}: {number} beside numbers that are no 64-bit integers would be "
                f"rounded to {float(number):.0f}; write the column's numbers as strings"
            )


def _objects(text: str) -> Iterator[dict[str, Any]]:
    decoder = json.JSONDecoder()
    at = 0
    while found := _SIGN.search(text, at):
        row, at = decoder.raw_decode(text, found.start())
        yield row


def _tables(
    handle: Any, options: pj.ParseOptions | None = None
) -> Iterator[tuple[bytes, pa.Table]]:
    """Blocks and what is in them. Arrow says in which row of a block it stumbled."""
    row = 0
    for block in _blocks(handle):
        try:
            table = _parse(block, options)
        except pa.ArrowInvalid as error:
            raise pa.ArrowInvalid(f"{error} (rows counted from row {row} on)") from error
        row += table.num_rows
        yield block, table


def _parse(block: bytes, options: pj.ParseOptions | None = None) -> pa.Table:
    reading = pj.ReadOptions(use_threads=False, block_size=len(block) + 1)
    return pj.read_json(pa.BufferReader(block), read_options=reading, parse_options=options)


def _blocks(handle: Any) -> Iterator[bytes]:
    """Some MB of whole lines each; a longer line is a block of its own."""
    while block := handle.read(_BLOCK_BYTES):
        whole = block + handle.readline()
        if not whole.isspace():
            yield whole


def _as_written(found: pa.DataType) -> pa.DataType:
    """Arrow takes a string that looks like a date for a timestamp; it stays the string it is."""
    if pa.types.is_timestamp(found):
        return pa.string()
    if pa.types.is_list(found):
        return pa.list_(_as_written(found.value_type))
    if pa.types.is_struct(found):
        return pa.struct([(field.name, _as_written(field.type)) for field in found])
    return found


def _holds_null(found: pa.DataType) -> bool:
    inner = [found.field(index).type for index in range(found.num_fields)]
    return pa.types.is_null(found) or any(_holds_null(each) for each in inner)
