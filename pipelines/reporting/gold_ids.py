"""The ids of gold, as the ids of an OUTPUT are written (`corpus/id_types.py`).

Knows single ids and Arrow arrays of them; knows no files.
"""

from __future__ import annotations

import re
import uuid
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.corpus.id_types import IdKind, id_kind, written_ids
from pipelines.corpus.ids import hash_ids

_HEX = re.compile(r"(?:[0-9a-f]{2})+")


def gold_id(value: Any, kind: IdKind) -> str:
    """Return an id of gold as text, such as OUTPUT's id of the same document prints.

    `value` is a string or an integer. Raises ValueError saying what it must be.
    """
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise ValueError("must be a string or a whole number")
    match kind:
        case IdKind.INTEGER | IdKind.DIGITS:
            return _digits(str(value))
        case IdKind.UUID:
            try:
                return str(uuid.UUID(str(value)))
            except ValueError:
                raise ValueError("must be a UUID, as the ids of OUTPUT are") from None
        case IdKind.HEX:
            return _hexadecimal(str(value))
    return str(value)


def _digits(text: str) -> str:
    try:
        number = Decimal(text)
        if number == int(number):
            return str(int(number))
    except (InvalidOperation, ValueError, OverflowError):
        pass
    raise ValueError("must be a whole number, as the ids of OUTPUT are")


def _hexadecimal(text: str) -> str:
    digits = text.lower().removeprefix("0x")
    if _HEX.fullmatch(digits):
        return digits
    raise ValueError("must be bytes in hexadecimal digits, as the ids of OUTPUT are")


def gold_id_values(ids: pa.Array) -> list[str | int | None]:
    """Return the ids in a column of gold as strings and integers, which `gold_id` converts.

    Raises ValueError if values of the column's type cannot be ids.
    """
    kind = id_kind(ids.type)
    if kind is None:
        raise ValueError(
            f"is {ids.type}; ids must be strings, integers, decimals without a fraction, UUIDs or "
            "bytes"
        )
    values: list[str | int | None] = written_ids(ids, kind).to_pylist()
    return values


def id_texts(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the ids of an OUTPUT as text, as `gold_id` writes those of gold."""
    return ids.cast(pa.string())


def hash_texts(texts: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """Return a 64-bit hash of each id that is given as text."""
    return hash_ids(texts)
