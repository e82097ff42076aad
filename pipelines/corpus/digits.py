"""Numbers in lines of JSON that a 64-bit float would change.

Knows numbers as they are written; knows nothing of files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa

# Only a number with 16 digits or more, or with an exponent of three digits, can be changed. It is
# found in the shape of a line, in which all digits are zeros and points and signs are left out.
_SHAPE = bytes(
    ord("0") if 48 <= byte <= 57 else ord("e") if byte in b"eE" else byte if byte == 10 else 32
    for byte in range(256)
)
_LEFT_OUT = b".+-"
_LONG, _EXPONENT = b"0" * 16, b"0e000"
# With so many digits every 64-bit float has a representation of its own.
_FLOAT_DIGITS = 17
_NON_SPACE = re.compile(r"\S")


class _Literal(str):
    """A number as it is written."""

    __slots__ = ()


_DECODER = json.JSONDecoder(parse_float=_Literal, parse_int=_Literal)


def holds_float(kind: pa.DataType) -> bool:
    """Return whether a type is a float, or has one within."""
    inner = (kind.field(index).type for index in range(kind.num_fields))
    return pa.types.is_floating(kind) or any(holds_float(each) for each in inner)


def find_rounded(data: bytes, schema: pa.Schema) -> tuple[int, str] | None:
    """Return the first number that its column's type, a 64-bit float, would change.

    `data` are lines of objects of JSON, and `schema` has the columns to look at. Returns the number
    of the line, from 0, and a message with column and number; or None if there is none.
    """
    shape = data.translate(_SHAPE, _LEFT_OUT)
    if _LONG not in shape and _EXPONENT not in shape:
        return None
    pairs = zip(shape.split(b"\n"), data.split(b"\n"), strict=True)
    for number, (line_shape, line) in enumerate(pairs):
        if _LONG in line_shape or _EXPONENT in line_shape:
            for message in _rounded_in(line, schema):
                return number, message
    return None


def _rounded_in(line: bytes, schema: pa.Schema) -> Iterator[str]:
    text = line.decode("utf-8", "surrogateescape")
    end = 0
    while begin := _NON_SPACE.search(text, end):
        row, end = _DECODER.raw_decode(text, begin.start())
        for field in schema:
            for number in _inexact(row.get(field.name), field.type):
                yield (
                    f"column {field.name!r}: {number} would be rounded to {_shown(number)}, "
                    "because the column also has fractions or larger numbers; write all its "
                    "numbers as strings"
                )


def _inexact(value: Any, kind: pa.DataType) -> Iterator[str]:
    """Yield the numbers within a value that the type, or a type within it, would change."""
    if isinstance(value, _Literal):
        if pa.types.is_floating(kind) and not is_kept(value):
            yield value
    elif isinstance(value, list) and pa.types.is_list(kind):
        for item in value:
            yield from _inexact(item, kind.value_type)
    elif isinstance(value, dict) and pa.types.is_struct(kind):
        for field in kind:
            yield from _inexact(value.get(field.name), field.type)


def is_kept(number: str) -> bool:
    """Return whether a 64-bit float keeps a number as it is written in JSON.

    It does if it has exactly this value, or prints as this value with as many digits. So do all
    numbers that a program printed from a 64-bit float, with 17 digits or as few as suffice.
    """
    as_float = float(number)
    if repr(as_float) == number:
        return True
    written = Decimal(number)
    if not written or Decimal(as_float) == written:
        return True
    digits = len("".join(map(str, written.as_tuple().digits)).strip("0"))
    return digits <= _FLOAT_DIGITS and Decimal(f"{as_float:.{digits - 1}e}") == written


def _shown(number: str) -> str:
    as_float = float(number)
    return f"{as_float:.0f}" if number.lstrip("-").isdigit() else repr(as_float)
