"""Lines of JSON as Arrow tables, by Arrow's parser, kept from what it would misread.

Knows what Arrow's parser does with lines; knows nothing of files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.json as pj

# Arrow 26 ends the process at a `null` in place of the first object, and takes a later one for a
# row of nulls.
_NULL_AS_ROW = re.compile(rb"\}\s*null")


class NotUtf8(pa.ArrowInvalid):  # type: ignore[misc]  # pyarrow has no types
    """Raised for a kept value that is not valid UTF-8."""


def parse_lines(data: bytes, schema: pa.Schema | None = None, kept: Sequence[str] = ()) -> pa.Table:
    """Return the table of whole lines of which each is one object, without blank lines.

    Raises ArrowInvalid if the lines are others, cannot be parsed, or a value of the columns `kept`
    is not UTF-8. With `schema`, the table has its columns and types, else all and as inferred.
    """
    count = data.count(b"\n") + (not data.endswith(b"\n"))
    begins = data.count(b"\n{") + data.startswith(b"{")
    if begins != count or _NULL_AS_ROW.search(data):
        raise pa.ArrowInvalid("not one object in each line")
    table = parse(data, schema, kept)
    if table.num_rows != count:
        raise pa.ArrowInvalid(f"{table.num_rows} objects in {count} lines")
    return table


def parse(data: bytes, schema: pa.Schema | None = None, kept: Sequence[str] = ()) -> pa.Table:
    """Return the table of objects that follow each other. Raises ArrowInvalid.

    For `schema` and `kept` see `parse_lines`.
    """
    options = None
    if schema is not None:
        options = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    read_options = pj.ReadOptions(use_threads=False, block_size=len(data) + 1)
    table = pj.read_json(pa.BufferReader(data), read_options=read_options, parse_options=options)
    if schema is not None:
        _check_utf8(table, kept)
    return table


def _check_utf8(table: pa.Table, columns: Sequence[str]) -> None:
    """Raise NotUtf8 if a string in the columns is not UTF-8: Arrow's parser does not check it."""
    for name in columns:
        if name in table.schema.names:
            try:
                table.column(name).validate(full=True)
            except pa.ArrowInvalid as error:
                raise NotUtf8(f"column {name!r} has bytes that are not valid UTF-8") from error


def broken_reason(line: bytes) -> str | None:
    """Return why Arrow cannot parse a line with one object, or None if it can, with other types."""
    try:
        parse(line)
    except pa.ArrowInvalid as error:
        if " changed from " not in str(error):
            return describe(error)
    return None


def describe(error: pa.ArrowInvalid) -> str:
    """Return Arrow's message about a single line."""
    return str(error).removeprefix("JSON parse error: ").removesuffix(" in row 0").rstrip(".")
