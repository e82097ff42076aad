"""Delta tables, read at one version by the package `deltalake`.

The table's log is small, and is copied to this machine first if the table lies in a store: thus
every store of `input.path` works, with the same client and credentials as all other files. Data
files are not opened here.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa

from pipelines.corpus.conversion import mapped_type
from pipelines.corpus.tables.columns import FILE_ID, FILE_NAME, pack_deleted
from pipelines.corpus.tables.delta_log import copy_log
from pipelines.corpus.tables.recognition import DELTA
from pipelines.corpus.tables.snapshot import DataFile, TableSnapshot
from pipelines.errors import InputError

# The features of tables that are applied here, or that do not concern who only reads.
_FEATURES = {
    "deletionVectors", "columnMapping", "timestampNtz", "typeWidening", "typeWidening-preview",
    "v2Checkpoint", "vacuumProtocolCheck",
}  # fmt: skip
_PHYSICAL_NAME, _PHYSICAL_ID = b"delta.columnMapping.physicalName", b"delta.columnMapping.id"
_EXPORT = "export the rows as Parquet with the engine that writes the table, and read those"


def read_delta(filesystem: Any, path: str, version: int | None, *, local: bool) -> TableSnapshot:
    """Return the Delta table in the directory `path` at one version, the newest if it is None.

    Raises InputError if the package is missing, if the version does not exist any more, or if the
    table uses a feature that cannot be read.
    """
    try:
        import deltalake
    except ImportError as error:
        raise InputError(
            f"input.path: {path} is a Delta table, and reading it takes the package deltalake: run "
            "pip install 'phifleet[delta]'"
        ) from error
    with _log(filesystem, path, version, local=local) as directory:
        try:
            table = deltalake.DeltaTable(directory, version=version)
            _check_features(path, table)
            return TableSnapshot(
                DELTA, path, table.version(), _schema(table), tuple(_files(table, path, directory))
            )
        except (deltalake.exceptions.DeltaError, OSError) as error:
            raise _refusal(path, version, str(error).replace(directory, path)) from error


def _refusal(path: str, version: int | None, reason: str) -> InputError:
    remedy = (
        f"check that version {version} still exists (a table's log is cleaned up after a time), or "
        "remove input.version"
        if version is not None
        else f"check the table with the engine that writes it, or {_EXPORT}"
    )
    return InputError(f"input.path: {path}: the Delta table cannot be read: {reason}; {remedy}")


@contextmanager
def _log(filesystem: Any, path: str, version: int | None, *, local: bool) -> Iterator[str]:
    """Yield a local directory with the table's log: the table itself, or a temporary copy."""
    if local:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="phifleet-delta-") as directory:
        copy_log(filesystem, path, directory, version)
        yield directory


def _check_features(path: str, table: Any) -> None:
    protocol = table.protocol()
    unknown = sorted(set(protocol.reader_features or ()) - _FEATURES)
    if unknown:
        raise InputError(
            f"input.path: {path}: the Delta table uses {', '.join(unknown)}, which phifleet does "
            f"not read; {_EXPORT}"
        )


def _schema(table: Any) -> pa.Schema:
    by_id = table.metadata().configuration.get("delta.columnMapping.mode") == "id"
    schema = pa.schema(table.schema().to_arrow())
    return pa.schema([_mapped(field, by_id=by_id) for field in schema])


def _mapped(field: pa.Field, *, by_id: bool) -> pa.Field:
    """Return a field with metadata, here and within, that states how data files name it."""
    metadata = field.metadata or {}
    if by_id and _PHYSICAL_ID in metadata:
        names = {FILE_ID: metadata[_PHYSICAL_ID]}
    elif _PHYSICAL_NAME in metadata:
        names = {FILE_NAME: metadata[_PHYSICAL_NAME]}
    else:
        names = {}
    kind = mapped_type(field.type, lambda inner: _mapped(inner, by_id=by_id))
    return pa.field(field.name, kind, metadata=names)


def _files(table: Any, path: str, directory: str) -> Iterator[DataFile]:
    actions = pa.table(table.get_add_actions(flatten=False))
    deleted = _deleted(table, directory)
    partitions = _partitions(table, actions)
    rows = zip(
        actions.column("path").to_pylist(), actions.column("size_bytes").to_pylist(), strict=True
    )
    for (name, size_bytes), constants in zip(rows, partitions, strict=True):
        below = unquote(name)
        if "://" in below or below.startswith("/"):
            raise InputError(
                f"input.path: {path}: the Delta table is a shallow clone, with files of another "
                f"table ({below}), which phifleet does not read; make a deep clone, or {_EXPORT}"
            )
        yield DataFile(f"{path}/{below}", size_bytes, constants, deleted.pop(below, b""))
    if deleted:
        raise InputError(
            f"input.path: {path}: the Delta table has deletion vectors of files that it does not "
            f"have, first {next(iter(deleted))}; {_EXPORT}"
        )


def _partitions(table: Any, actions: pa.Table) -> Iterator[Mapping[str, pa.Scalar]]:
    """Yield the partition values of each file, by the names of the table's columns."""
    names = table.metadata().partition_columns
    if not names:
        yield from ({} for _ in range(actions.num_rows))
        return
    column = actions.column("partition").combine_chunks()
    kinds = pa.schema(table.schema().to_arrow())
    values = {name: _partition(column, kinds.field(name)) for name in names}
    for at in range(actions.num_rows):
        yield {name: values[name][at] for name in names}


def _partition(column: pa.StructArray, field: pa.Field) -> pa.Array:
    physical = (field.metadata or {}).get(_PHYSICAL_NAME, field.name.encode()).decode()
    name = field.name if column.type.get_field_index(field.name) >= 0 else physical
    return column.field(name).cast(field.type)


def _deleted(table: Any, directory: str) -> dict[str, bytes]:
    """Return the deleted rows of each data file that has any, by its path below the table."""
    if "deletionVectors" not in (table.protocol().reader_features or ()):
        return {}
    deleted = {}
    root = os.path.realpath(directory)
    for batch in pa.RecordBatchReader.from_stream(table.deletion_vectors()):
        for url, present in zip(batch.column("filepath"), batch.column(1), strict=True):
            path = unquote(urlsplit(url.as_py()).path)
            below = os.path.relpath(path, root if path.startswith(root) else directory)
            mask = present.values.to_numpy(zero_copy_only=False)
            deleted[below] = pack_deleted(~np.asarray(mask, dtype=bool))
    return deleted
