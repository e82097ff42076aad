"""Iceberg tables, read at one snapshot from a metadata file by the package `pyiceberg`.

No catalog is needed: the newest metadata file in the table's directory is the table. Data files are
not opened here, those with the positions of deleted rows are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.corpus.conversion import mapped_type
from pipelines.corpus.tables.columns import FILE_ID, FILE_NAME, pack_positions
from pipelines.corpus.tables.iceberg_deletes import deleted_positions
from pipelines.corpus.tables.locations import Locations
from pipelines.corpus.tables.recognition import ICEBERG, is_metadata_file
from pipelines.corpus.tables.snapshot import DataFile, TableSnapshot
from pipelines.errors import InputError

_NUMBER = re.compile(r"v?(\d+)(?:-.*)?(?:\.gz)?\.metadata\.json(?:\.gz)?")
_PARQUET_ID = b"PARQUET:field_id"
_EXPORT = "export the rows as Parquet with the engine that writes the table, and read those"


def read_iceberg(
    filesystem: Any, url: str, path: str, metadata_file: str | None, snapshot_id: int | None
) -> TableSnapshot:
    """Return the Iceberg table in the directory `path` at one snapshot, the current one if
    `snapshot_id` is None.

    `url` is a URL in the table's store. `metadata_file` is the path of the metadata to read; None
    stands for the newest. Raises InputError if the package is missing, if the snapshot does not
    exist, or if the table uses a feature that cannot be read.
    """
    try:
        from pyiceberg.table import StaticTable
    except ImportError as error:
        raise InputError(
            f"input.path: {path} is an Iceberg table, and reading it takes the package pyiceberg: "
            "run pip install 'phifleet[iceberg]'"
        ) from error
    chosen = metadata_file or newest_metadata(filesystem, path)
    try:
        location = _location(StaticTable, chosen, _properties(url, path, path))
        table = StaticTable.from_metadata(chosen, _properties(url, location, path))
        return _snapshot(filesystem, table, Locations(location, path), snapshot_id)
    except InputError:
        raise
    # pyiceberg reports what it does not read by errors of several classes, and the filesystem's
    # errors pass through it
    except (ValueError, TypeError, KeyError, NotImplementedError, pa.ArrowException) as error:
        raise InputError(
            f"input.path: {path}: the Iceberg table cannot be read: {error}; let the table's "
            f"engine rewrite its files (such as rewrite_data_files), or {_EXPORT}"
        ) from error


def newest_metadata(filesystem: Any, path: str) -> str:
    """Return the path of the metadata file with the highest number below a table's directory.
    Raises InputError if several have it."""
    names = [
        name for name in filesystem.ls(f"{path}/metadata", detail=False) if is_metadata_file(name)
    ]
    numbered = [
        (int(match[1]), name)
        for name in names
        if (match := _NUMBER.fullmatch(name.rsplit("/", 1)[-1]))
    ]
    if not numbered:
        raise InputError(
            f"input.path: {path}/metadata has no metadata file with a number; set input.path to "
            "the metadata file of the table's current version"
        )
    highest = max(number for number, _ in numbered)
    newest = sorted(name for number, name in numbered if number == highest)
    if len(newest) > 1:
        raise InputError(
            f"input.path: {path}: two writers made version {highest} of the table, and only its "
            f"catalog knows which is valid: {' and '.join(newest)}; set input.path to the valid "
            "metadata file"
        )
    return str(newest[0])


def _properties(url: str, location: str, root: str) -> dict[str, str]:
    from pipelines.corpus.tables import iceberg_io

    return {
        "py-io-impl": f"{iceberg_io.__name__}.{iceberg_io.StoreIO.__name__}",
        iceberg_io.URL: url,
        iceberg_io.LOCATION: location,
        iceberg_io.ROOT: root,
    }


def _location(static_table: Any, metadata_file: str, properties: Mapping[str, str]) -> str:
    return str(static_table.from_metadata(metadata_file, properties).metadata.location)


def _snapshot(
    filesystem: Any, table: Any, locations: Locations, snapshot_id: int | None
) -> TableSnapshot:
    path = locations.root
    current = table.current_snapshot()
    if snapshot_id is None and current is None:
        return TableSnapshot(ICEBERG, path, 0, _schema(table.schema(), {}), ())
    chosen = current if snapshot_id is None else table.snapshot_by_id(snapshot_id)
    if chosen is None:
        known = [str(snapshot.snapshot_id) for snapshot in table.snapshots()][-5:]
        raise InputError(
            f"input.version: {path}: the table has no snapshot {snapshot_id} (any more); the "
            f"newest are {', '.join(known) or 'none'}. Set one of them, or remove input.version"
        )
    # an earlier snapshot has the columns of its time, the current one those of the table
    scan = table.scan(snapshot_id=snapshot_id)
    schema, tasks = scan.projection(), list(scan.plan_files())
    deleted = deleted_positions(filesystem, tasks, locations)
    columns = _schema(schema, _names_without_ids(table.metadata.name_mapping() or ()))
    constants = _Constants(table.specs(), schema.fields, columns)
    files = tuple(_data_file(constants, task, locations, deleted) for task in tasks)
    return TableSnapshot(ICEBERG, path, chosen.snapshot_id, columns, files)


def _data_file(
    constants: _Constants,
    task: Any,
    locations: Locations,
    deleted: Mapping[str, npt.NDArray[np.int64]],
) -> DataFile:
    file = task.file
    if file.file_format.value.upper() != "PARQUET":
        raise InputError(
            f"input.path: {locations.root}: the Iceberg table has {file.file_format.value} files "
            f"({file.file_path}), and phifleet reads those in Parquet; {_EXPORT}"
        )
    positions = deleted.get(file.file_path)
    return DataFile(
        path=locations.path(file.file_path),
        size_bytes=file.file_size_in_bytes,
        constants=dict(constants.of(file)),
        deleted=b"" if positions is None else pack_positions(positions),
    )


@dataclass(frozen=True, slots=True)
class _Constants:
    """The values of columns that data files may lack. `fields` are pyiceberg's of the schema
    `columns`, and `specs` the table's partition specs by id."""

    specs: Mapping[int, Any]
    fields: Sequence[Any]
    columns: pa.Schema

    def of(self, file: Any) -> Iterator[tuple[str, pa.Scalar]]:
        """Yield the values of a file's columns: defaults, and those of identity partitions."""
        by_id = {field.field_id: field.name for field in self.fields}
        for field in self.fields:
            if getattr(field, "initial_default", None) is not None:
                kind = self.columns.field(field.name).type
                yield field.name, pa.scalar(field.initial_default, kind)
        for position, partition in enumerate(self.specs[file.spec_id].fields):
            name = by_id.get(partition.source_id)
            if name is not None and str(partition.transform) == "identity":
                value = file.partition[position]
                yield name, _partition_value(value, self.columns.field(name).type)


def _partition_value(value: Any, kind: pa.DataType) -> pa.Scalar:
    """Return a partition's value; dates and times are numbers there."""
    if isinstance(value, int) and pa.types.is_temporal(kind):
        width = pa.int32() if pa.types.is_date32(kind) else pa.int64()
        return pa.scalar(value, width).cast(kind)
    return pa.scalar(value, kind)


def _names_without_ids(mapping: Any) -> dict[bytes, bytes]:
    """Return the name that each field has in files without field ids, by the field's id."""
    names: dict[bytes, bytes] = {}
    for entry in mapping:
        if entry.field_id is not None and entry.names:
            names[str(entry.field_id).encode()] = sorted(entry.names)[0].encode()
        names |= _names_without_ids(entry.fields)
    return names


def _schema(schema: Any, names: Mapping[bytes, bytes]) -> pa.Schema:
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    return pa.schema([_mapped(field, names) for field in schema_to_pyarrow(schema)])


def _mapped(field: pa.Field, names: Mapping[bytes, bytes]) -> pa.Field:
    """Return a field with metadata, here and within, that states its id in data files, and its name
    in those without ids."""
    number = (field.metadata or {}).get(_PARQUET_ID, b"")
    metadata = {FILE_ID: number, **({FILE_NAME: names[number]} if number in names else {})}
    kind = _plain_text(mapped_type(field.type, lambda inner: _mapped(inner, names)))
    return pa.field(field.name, kind, metadata=metadata)


def _plain_text(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_large_string(kind):
        return pa.string()
    return pa.binary() if pa.types.is_large_binary(kind) else kind
