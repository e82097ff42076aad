"""The answers in an OUTPUT as a dataset of Arrow, and as data frames."""

from __future__ import annotations

import re
from typing import Any

import pyarrow.dataset as ds
import pyarrow.fs as pafs

from phifleet.job import JobLike, output_of
from pipelines.errors import OutputError
from pipelines.ledger.names import ANSWERS, check_layout
from pipelines.storage import Storage

_PART = re.compile(r"part-\d{6,}\.parquet")


class Answers(ds.FileSystemDataset):  # type: ignore[misc]  # pyarrow has no types
    """The answers of a run as a `pyarrow.dataset.Dataset`, with conversions to data frames.

    It has one row for each document that was answered when it was made: the id, the kept columns,
    and a struct column for each task.
    """

    def to_pandas(self, **options: Any) -> Any:
        """Return the answers as a pandas DataFrame; needs the package pandas.

        `options` go to `pyarrow.Table.to_pandas`.
        """
        _require("pandas")
        return self.to_table().to_pandas(**options)

    def to_polars(self) -> Any:
        """Return the answers as a polars DataFrame; needs the package polars."""
        return _require("polars").from_arrow(self.to_table())

    def scan_polars(self) -> Any:
        """Return the answers as a polars LazyFrame, which reads the columns and rows that it needs;
        needs the package polars."""
        return _require("polars").scan_pyarrow_dataset(self)


def answers(target: JobLike) -> Answers:
    """Return the answers of a run so far; it may still be running. `target` is its job, or its
    OUTPUT, on a disk or in a bucket.

    Raises OutputError if no unit is committed yet, and StorageError.
    """
    storage = Storage(output_of(target))
    check_layout(storage)
    names = [name for name in storage.names(ANSWERS) if _PART.fullmatch(name)]
    if not names:
        raise OutputError(
            f"{storage.url}: contains no answers (yet): no file {ANSWERS}/part-*.parquet. Pass the "
            "output.path of a job that has been started, and see its status"
        )
    paths = [storage.path(f"{ANSWERS}/{name}") for name in names]
    found = ds.dataset(paths, filesystem=_arrow_filesystem(storage), format="parquet")
    return Answers(list(found.get_fragments()), found.schema, found.format, found.filesystem)


def _arrow_filesystem(storage: Storage) -> pafs.FileSystem:
    if storage.local:
        return pafs.LocalFileSystem()
    return pafs.PyFileSystem(pafs.FSSpecHandler(storage.filesystem))


def _require(package: str) -> Any:
    """Return an optional package. Raises ModuleNotFoundError that says how to install it."""
    try:
        return __import__(package)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{package} is not installed, and phifleet does not require it: run pip install "
            f"{package}, or use to_table() for a table of pyarrow",
            name=package,
        ) from error
