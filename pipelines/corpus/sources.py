"""The input of a job: files of a path, or a table at one version.

Start here: `list_input` decides which of them `input.path` is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelines.corpus.files import SourceFile, list_corpus
from pipelines.corpus.layout import columns_of
from pipelines.corpus.not_read import NotRead
from pipelines.corpus.tables.delta import read_delta
from pipelines.corpus.tables.iceberg import read_iceberg
from pipelines.corpus.tables.recognition import (
    DELTA,
    is_metadata_file,
    refuse_part_of_table,
    table_at,
    wildcard_at,
)
from pipelines.corpus.tables.snapshot import TableSnapshot
from pipelines.errors import InputError, StorageError
from pipelines.job.spec import InputSpec
from pipelines.stores.protocols import filesystem_errors, is_local, open_store, protocol_of


@dataclass(frozen=True, slots=True)
class InputFiles:
    """The files of a job's input as they are at one time.

    `table` is the format of the table that they are the data files of, and `version` its version;
    both are None for plain files. `not_read` are the files below the path that are not read.
    """

    files: tuple[SourceFile, ...]
    table: str | None = None
    version: int | None = None
    not_read: NotRead = field(default_factory=NotRead)


def list_input(spec: InputSpec, exclude: str = "", version: int | None = None) -> InputFiles:
    """Return the files of `input.path`, which may be a path of files (see `files.list_corpus`, also
    for `exclude`) or a table.

    `version` is the version of the table to read; None stands for `input.version`, or the newest.
    Raises InputError if there is no input, if the path lies within a table, and for a table that
    cannot be read; StorageError.
    """
    version = version if version is not None else spec.version
    try:
        table = _table(spec, version)
    except filesystem_errors(ValueError) as error:
        raise StorageError(
            f"input.path: cannot read {spec.path}: {error}; check the connection and the "
            "permissions"
        ) from error
    if table is not None:
        return InputFiles(tuple(_source_files(table, spec)), table.format, table.version)
    if version is not None:
        raise InputError(
            f"input.version: {spec.path} is no Delta or Iceberg table, which alone have versions; "
            "remove input.version, or set input.path to the table's directory"
        )
    listing = list_corpus(spec.path, exclude)
    return InputFiles(listing.files, not_read=listing.not_read)


def _table(spec: InputSpec, version: int | None) -> TableSnapshot | None:
    """Return the table that `input.path` is, or None if it is one of files."""
    filesystem, root = open_store(spec.path, InputError)
    filesystem.invalidate_cache()
    path = root.rstrip("/")
    local, hub = is_local(spec.path), protocol_of(spec.path) == "hf"
    if is_metadata_file(path) and "/metadata/" in path:
        return read_iceberg(filesystem, spec.path, path.rpartition("/metadata/")[0], path, version)
    wildcard = wildcard_at(path)
    if wildcard is not None and not filesystem.exists(path):
        # below the last directory without a wildcard, `list_files` looks for tables
        refuse_part_of_table(filesystem, path[: path.rfind("/", 0, wildcard) + 1] + "*", hub=hub)
        return None
    found = table_at(filesystem, path)
    if found is None:
        refuse_part_of_table(filesystem, path, hub=hub)
        return None
    if found.format == DELTA:
        return read_delta(filesystem, path, version, local=local)
    return read_iceberg(filesystem, spec.path, path, None, version)


def _source_files(table: TableSnapshot, spec: InputSpec) -> list[SourceFile]:
    schema = table.select(_keys(spec))
    return [
        SourceFile(file.path, file.size_bytes, file.version, table=file.read_as(schema))
        for file in sorted(table.files, key=lambda file: file.path)
    ]


def _keys(spec: InputSpec) -> Mapping[str, str]:
    """Return the key of the job file that names each column that the job reads."""
    keys = dict.fromkeys(columns_of(spec), "input.keep_columns")
    return {**keys, spec.text_column: "input.text_column", spec.id_column: "input.id_column"}
