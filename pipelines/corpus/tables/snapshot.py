"""One version of a table: its schema, and which rows of which files it has.

What `delta.py` and `iceberg.py` return, the same for both formats.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from pipelines.corpus.tables.columns import TableFile
from pipelines.errors import InputError


@dataclass(frozen=True, slots=True)
class DataFile:
    """A data file of a table.

    `path` is its path on the input's filesystem. `constants` are the values of columns that come
    from the table's metadata, and `deleted` marks deleted rows (see `columns.pack_deleted`).
    """

    path: str
    size_bytes: int
    constants: Mapping[str, pa.Scalar] = field(default_factory=dict)
    deleted: bytes = b""

    def read_as(self, schema: pa.Schema) -> TableFile:
        """Return how the file is read if the job reads the columns of `schema`."""
        chosen = [(name, self.constants[name]) for name in schema.names if name in self.constants]
        return TableFile(schema, tuple(chosen), self.deleted)

    @property
    def version(self) -> str:
        """A text that differs between two sets of rows of the same file."""
        if not self.deleted:
            return "whole"
        return f"without {hashlib.blake2b(self.deleted, digest_size=8).hexdigest()}"


@dataclass(frozen=True, slots=True)
class TableSnapshot:
    """A table at one version.

    `format` is DELTA or ICEBERG, `path` the table's directory on the input's filesystem, and
    `version` the number of the version (Delta) or the id of the snapshot (Iceberg). `schema` has
    all columns, with metadata that states how data files name them (see `columns.py`).
    """

    format: str
    path: str
    version: int
    schema: pa.Schema
    files: tuple[DataFile, ...]

    @property
    def name(self) -> str:
        """The table and its version, for messages."""
        return f"the {self.format} table {self.path} at version {self.version}"

    def select(self, columns: Mapping[str, str]) -> pa.Schema:
        """Return the schema with the columns to read only. `columns` has, by the name of a column,
        the key of the job file that names it; a name with dots may be that of a field within a
        column. Raises InputError if the table lacks one."""
        chosen = []
        for name, key in columns.items():
            own = name if name in self.schema.names else name.partition(".")[0]
            if own not in self.schema.names:
                raise InputError(
                    f"{key}: {self.name} has no column {name!r}; it has "
                    f"{', '.join(self.schema.names) or 'none'}. Correct {key}"
                )
            if own not in chosen:
                chosen.append(own)
        return pa.schema([self.schema.field(name) for name in chosen])
