"""A data file's columns as the columns of its table.

A table may have renamed, added or widened columns since a file was written, and keep the values of
some columns in its metadata. Pure functions of Arrow schemas and arrays.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.corpus.conversion import fields_of, replace_items
from pipelines.corpus.id_types import is_text
from pipelines.errors import InputError

FILE_NAME, FILE_ID = b"phifleet.name", b"phifleet.id"
"""The keys of a field's metadata that state under which name, or with which field id, the table's
data files have the column. A field with neither is found under its own name; one with both by its
id, and under its name only in files that have no ids."""
_PARQUET_ID = b"PARQUET:field_id"


@dataclass(frozen=True, slots=True)
class TableFile:
    """The rows and columns that a table has of one of its data files.

    `schema` has a field for each column of the table that the job reads, with the table's name and
    type. `constants` are values of columns, by name, that the file lacks: of partitions, or
    defaults. `deleted` marks the rows that the table does not have any more (see `pack_deleted`);
    it is empty if there are none.
    """

    schema: pa.Schema
    constants: tuple[tuple[str, pa.Scalar], ...] = ()
    deleted: bytes = b""

    def physical_columns(self, file: pa.Schema) -> list[str]:
        """Return the names of the file's columns to read, given the file's schema."""
        columns = [_match(field, list(file)) for field in self.schema]
        return [file.field(at).name for at in columns if at is not None]

    def logical_rows(self, rows: pa.RecordBatch) -> pa.Table:
        """Return rows of the file with the columns of `schema`.

        Raises InputError naming the column if a value does not fit the table's type.
        """
        constants = dict(self.constants)
        columns = []
        for field in self.schema:
            at = _match(field, list(rows.schema))
            if at is not None:
                columns.append(_column(rows.column(at), rows.schema.field(at), field))
            elif field.name in constants:
                columns.append(pa.repeat(constants[field.name], rows.num_rows))
            else:
                columns.append(pa.nulls(rows.num_rows, field.type))
        return pa.Table.from_arrays(columns, names=self.schema.names)


def present_rows(deleted: npt.NDArray[np.bool_], first_row: int, count: int) -> pa.Array:
    """Return a boolean array: whether each of `count` rows of a file, from `first_row` on, is none
    of the deleted ones; `deleted` is the result of `unpack_deleted`."""
    present = np.ones(count, dtype=bool)
    among = deleted[first_row : first_row + count]
    present[: len(among)] = ~among
    return pa.array(present)


def pack_deleted(deleted: npt.NDArray[np.bool_]) -> bytes:
    """Return a compact form of an array that is true for each deleted row, counted from the file's
    first; rows after its end are not deleted. `unpack_deleted` reads it; "" is no row."""
    return zlib.compress(np.packbits(deleted).tobytes(), 1) if deleted.any() else b""


def pack_positions(positions: npt.NDArray[np.int64]) -> bytes:
    """Return what `pack_deleted` does, for the positions of the deleted rows in any order."""
    deleted = np.zeros(int(positions.max(initial=-1)) + 1, dtype=bool)
    deleted[positions] = True
    return pack_deleted(deleted)


def unpack_deleted(packed: bytes) -> npt.NDArray[np.bool_]:
    """Return the array that `pack_deleted` packed, perhaps with up to 7 rows more at its end that
    are not deleted."""
    if not packed:
        return np.zeros(0, dtype=bool)
    bits = np.frombuffer(zlib.decompress(packed), dtype=np.uint8)
    return np.asarray(np.unpackbits(bits), dtype=bool)


def _match(field: pa.Field, candidates: Sequence[pa.Field]) -> int | None:
    """Return the position of the field of a file that holds a table's field, or None."""
    metadata = field.metadata or {}
    if FILE_ID in metadata:
        ids = [(other.metadata or {}).get(_PARQUET_ID) for other in candidates]
        if any(ids):
            return ids.index(metadata[FILE_ID]) if metadata[FILE_ID] in ids else None
        if FILE_NAME not in metadata:
            raise InputError(
                "the file's columns have no field ids, and the table does not state their names; "
                "let the table's engine rewrite the file, or export the rows as Parquet"
            )
    name = metadata.get(FILE_NAME, field.name.encode()).decode()
    names = [other.name for other in candidates]
    return names.index(name) if name in names else None


def _column(column: pa.Array, source: pa.Field, target: pa.Field) -> pa.Array:
    try:
        return _conform(column, source, target)
    except (pa.ArrowException, NotImplementedError) as error:
        raise InputError(
            f"column {target.name!r}: a value of type {source.type} cannot be read as the table's "
            f"type {target.type}: {error}; let the table's engine rewrite its files, or export the "
            "rows as Parquet"
        ) from error


def _conform(column: pa.Array, source: pa.Field, target: pa.Field) -> pa.Array:
    """Return a column of a file, whose field is `source`, with the type of `target`."""
    kind = target.type
    if pa.types.is_struct(kind) and pa.types.is_struct(column.type):
        return _struct(column, source, target)
    if _is_list(kind) and _is_list(column.type):
        inner = source.type.value_field, kind.value_field
        return replace_items(column, lambda items: _conform(items, *inner))
    if pa.types.is_map(kind) and pa.types.is_map(column.type):
        if not _same_names(source.type, kind):
            raise NotImplementedError("fields within a map were renamed, added or removed")
        return pc.cast(column, kind)
    if _is_text(kind) and _is_text(column.type):
        # as it is: large strings would not fit, and bytes that are no UTF-8 must stay visible
        return column
    if isinstance(kind, pa.BaseExtensionType):
        storage = column.storage if isinstance(column, pa.ExtensionArray) else column
        return pa.ExtensionArray.from_storage(kind, pc.cast(storage, kind.storage_type))
    return column if column.type == kind else pc.cast(column, kind)


def _struct(column: pa.Array, source: pa.Field, target: pa.Field) -> pa.Array:
    fields = fields_of(source.type)
    arrays = []
    for field in fields_of(target.type):
        at = _match(field, fields)
        arrays.append(
            pa.nulls(len(column), field.type)
            if at is None
            else _conform(column.field(at), fields[at], field)
        )
    types = [
        field.with_type(array.type)
        for field, array in zip(fields_of(target.type), arrays, strict=True)
    ]
    plain = [field.remove_metadata().with_nullable(True) for field in types]
    return pa.StructArray.from_arrays(arrays, fields=plain, mask=column.is_null())


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _is_text(kind: pa.DataType) -> bool:
    return is_text(kind.value_type if pa.types.is_dictionary(kind) else kind)


def _same_names(source: pa.DataType, target: pa.DataType) -> bool:
    """Return whether all objects within a type have fields of the same names in a file and in its
    table."""
    ours, theirs = fields_of(target), fields_of(source)
    if pa.types.is_struct(target):
        metadata = [field.metadata or {} for field in ours]
        names = [
            other.get(FILE_NAME, field.name.encode()).decode()
            for field, other in zip(ours, metadata, strict=True)
        ]
        if [field.name for field in theirs] != names or names != [field.name for field in ours]:
            return False
    pairs = zip(theirs, ours, strict=True)
    return len(theirs) == len(ours) and all(_same_names(a.type, b.type) for a, b in pairs)
