"""The deleted rows of an Iceberg table's data files: position deletes and deletion vectors.

Reads the files of deletes that a scan names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.corpus.tables.locations import Locations
from pipelines.errors import InputError

_PATH, _POSITION = "file_path", "pos"
Positions = npt.NDArray[np.int64]
"""Positions of rows in a data file, counted from 0."""


def deleted_positions(
    filesystem: Any, tasks: Sequence[Any], locations: Locations
) -> Mapping[str, Positions]:
    """Return the positions of the deleted rows of each data file that has any, by its location.

    `tasks` are the tasks of a scan, each with a data file and the files of deletes that apply to
    it. Raises InputError for deletes that cannot be read.
    """
    files = {file.file_path: file for task in tasks for file in task.delete_files}
    read = {
        location: _read(filesystem, file, locations.path(location))
        for location, file in files.items()
    }
    found: defaultdict[str, list[Positions]] = defaultdict(list)
    for task in tasks:
        own = task.file.file_path
        for file in task.delete_files:
            # a file of deletes that applies to many data files names few of them
            positions = read[file.file_path].get(own)
            if positions is not None:
                found[own].append(positions)
    return {location: np.concatenate(arrays) for location, arrays in found.items()}


def _read(filesystem: Any, file: Any, path: str) -> Mapping[str, Positions]:
    kind = file.file_format.value.upper()
    with filesystem.open(path, "rb") as handle:
        if kind == "PARQUET":
            return _by_file(pq.read_table(handle, columns=[_PATH, _POSITION]))
        if kind == "PUFFIN":
            return _vectors(handle.read())
    raise InputError(
        f"input.path: {path}: deletes in {kind} files are not read; let the table's engine rewrite "
        "the table (such as rewrite_data_files), or export the rows as Parquet"
    )


def _by_file(deletes: pa.Table) -> Mapping[str, Positions]:
    names = pc.dictionary_encode(deletes.column(_PATH).cast(pa.string())).combine_chunks()
    if isinstance(names, pa.ChunkedArray):
        names = names.chunk(0) if names.num_chunks else pa.array([], pa.string())
    positions = deletes.column(_POSITION).to_numpy().astype(np.int64)
    if not len(positions):
        return {}
    codes = names.indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    ends = np.flatnonzero(np.diff(codes[order])) + 1
    groups = np.split(order, ends)
    return {names.dictionary[int(codes[group[0]])].as_py(): positions[group] for group in groups}


def _vectors(data: bytes) -> Mapping[str, Positions]:
    from pyiceberg.table.deletion_vector import deletion_vectors_from_puffin_file
    from pyiceberg.table.puffin import PuffinFile

    vectors = deletion_vectors_from_puffin_file(PuffinFile(data))
    return {
        vector.referenced_data_file: vector.to_vector().to_numpy().astype(np.int64)
        for vector in vectors
    }
