"""The types that ids may have in files, and how ids are written.

An id is written as it prints, so that it can be joined to the input: as text, or as a 64-bit
integer where all integers of its type are such.
"""

from __future__ import annotations

from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.corpus.conversion import is_uuid, uuid_texts

_DIGITS = pa.decimal256(76, 0)


class IdKind(StrEnum):
    """The kinds of ids, by their types in the files and in OUTPUT. The manifest has the value.

    - TEXT: strings, or bytes that are UTF-8; written as they are.
    - INTEGER: integers whose type fits 64-bit signed ones; written as those.
    - DIGITS: 64-bit unsigned integers, or decimals without a fraction; written as decimal digits.
    - UUID: written as text, in lower case with hyphens.
    - HEX: bytes of a fixed number; written as hexadecimal digits in lower case.
    """

    TEXT = "text"
    INTEGER = "integer"
    DIGITS = "integer, written as decimal digits"
    UUID = "UUID, written as text"
    HEX = "bytes, written as hexadecimal digits"

    @property
    def type(self) -> pa.DataType:
        """Return the Arrow type with which ids are written."""
        return pa.int64() if self is IdKind.INTEGER else pa.string()


def id_kind(kind: pa.DataType) -> IdKind | None:
    """Return the kind of ids of a type, or None if values of the type cannot be ids."""
    types = pa.types
    if is_uuid(kind):
        return IdKind.UUID
    if isinstance(kind, pa.JsonType):
        return id_kind(kind.storage_type)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return id_kind(kind.value_type)
    if types.is_uint64(kind) or types.is_decimal(kind):
        return IdKind.DIGITS
    if types.is_integer(kind):
        return IdKind.INTEGER
    if types.is_fixed_size_binary(kind):
        return IdKind.HEX
    return IdKind.TEXT if is_text(kind) else None


def is_text(kind: pa.DataType) -> bool:
    """Return whether values of a type are strings or bytes of any length."""
    types = pa.types
    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
    )


def common_kind(one: IdKind, other: IdKind) -> IdKind | None:
    """Return the kind that ids of two kinds have together, or None if they do not agree.

    Integers of every type agree: those of files with smaller types are then written as digits, too.
    """
    if one is other:
        return one
    return IdKind.DIGITS if {one, other} == {IdKind.INTEGER, IdKind.DIGITS} else None


def written_ids(ids: pa.Array, kind: IdKind) -> pa.Array:
    """Return ids as they are written. Bytes that are not UTF-8 are kept in the strings: such ids
    are found by `ids.invalid_ids`.

    Raises ArrowInvalid if an id cannot be written exactly: a decimal with a fraction, or an integer
    that does not fit `kind`.
    """
    if ids.type == kind.type:
        return ids
    if is_uuid(ids.type):
        return uuid_texts(ids)
    if isinstance(ids.type, pa.BaseExtensionType):
        return written_ids(ids.storage, kind)
    if pa.types.is_dictionary(ids.type):
        return written_ids(ids.dictionary_decode(), kind)
    if pa.types.is_decimal(ids.type):
        ids = pc.cast(ids, _DIGITS)
    if kind is IdKind.HEX:
        return pa.array([raw and raw.hex() for raw in ids.to_pylist()], pa.string())
    return pc.cast(ids, kind.type, safe=kind is not IdKind.TEXT)
