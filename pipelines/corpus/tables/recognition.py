"""Recognition of tables: whether a path is a table, lies within one, or has tables below it.

Knows the names by which table formats mark their directories; reads no metadata.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipelines.errors import InputError

DELTA, ICEBERG, HUDI, PAIMON = "Delta", "Iceberg", "Hudi", "Paimon"
"""The table formats, as messages name them."""
# The names that a table's directory contains, all of them.
_MARKS = {
    DELTA: ("_delta_log",),
    ICEBERG: ("metadata",),
    HUDI: (".hoodie",),
    PAIMON: ("snapshot", "schema", "manifest"),
}
# How the files of a table's metadata are named below the table's directory.
_BELOW = {
    DELTA: re.compile(r"(?:(.*)/)?_delta_log/[^/]+"),
    ICEBERG: re.compile(r"(?:(.*)/)?metadata/[^/]+\.metadata\.json(?:\.gz)?"),
    HUDI: re.compile(r"(?:(.*)/)?\.hoodie/.+"),
    PAIMON: re.compile(r"(?:(.*)/)?snapshot/snapshot-\d+"),
}
_METADATA_FILE = re.compile(r".+\.metadata\.json(?:\.gz)?")
_EXPORT = {
    HUDI: "export the rows as Parquet, for example with Spark: "
    "spark.read.format('hudi').load(TABLE).write.parquet(DIRECTORY)",
    PAIMON: "export the rows as Parquet, for example with Spark: "
    "spark.read.format('paimon').load(TABLE).write.parquet(DIRECTORY)",
}
_THREADS = 16
# The slashes in the path of a repository on the hub: datasets/OWNER/NAME.
_HUB_DEPTH = 2


@dataclass(frozen=True, slots=True)
class TableRoot:
    """A table that was recognised: its format, and its directory on the input's filesystem."""

    format: str
    path: str


def table_at(filesystem: Any, path: str) -> TableRoot | None:
    """Return the table whose directory is `path`, or None if it is no table's.

    Raises InputError if `path` is the directory of a table that cannot be read: of another format,
    or of two formats at once.
    """
    formats = [name for name in _MARKS if _is_table(filesystem, path, name)]
    # a Delta table that is also readable as Iceberg has the metadata of both
    if len(formats) > 1:
        raise InputError(
            f"input.path: {path} has the metadata of {' and of '.join(formats)}, which may state "
            "different rows; remove the metadata of one of them, or export the rows as Parquet"
        )
    if not formats:
        return None
    refuse_unreadable(formats[0], path)
    return TableRoot(formats[0], path)


def refuse_unreadable(name: str, path: str) -> None:
    """Raise InputError if tables of the format `name` cannot be read; `path` is the table's."""
    if name in _EXPORT:
        raise InputError(
            f"input.path: {path} is a {name} table, which phifleet does not read: its files also "
            f"hold deleted and outdated rows; {_EXPORT[name]}, and set input.path to DIRECTORY"
        )


def refuse_part_of_table(filesystem: Any, path: str, *, hub: bool = False) -> None:
    """Raise InputError if a directory above `path` is a table's: the files below it hold rows that
    the table does not have. `hub` is true for a path on the Hugging Face hub."""
    # on the Hugging Face hub, names above a repository's are no directories
    parents = [parent for parent in _parents(path) if not hub or parent.count("/") >= _HUB_DEPTH]
    with ThreadPoolExecutor(_THREADS) as pool:
        checks = [
            pool.submit(partial(_is_table, filesystem, parent, name))
            for parent in parents
            for name in _MARKS
        ]
        results = iter([check.result() for check in checks])
    for parent in parents:
        for name in _MARKS:
            if next(results):
                refuse_unreadable(name, parent)
                raise InputError(
                    f"input.path: {path} is a part of the {name} table {parent}, and a table's "
                    "files also hold deleted and outdated rows; set input.path to the table, "
                    f"{parent}"
                )


def refuse_tables_below(path: str, tables: Sequence[TableRoot]) -> None:
    """Raise InputError if there are tables below `path`, a directory or glob that the user named
    as one of files."""
    for table in tables:
        refuse_unreadable(table.format, table.path)
        raise InputError(
            f"input.path: {path} contains the {table.format} table {table.path}, and a table's "
            f"files also hold deleted and outdated rows; set input.path to the table, "
            f"{table.path}; for several tables, run a job for each with its own output.path"
        )


def tables_among(names: Iterable[str]) -> list[TableRoot]:
    """Return the tables of which `names`, all files of a directory with their paths, contain the
    metadata, sorted by path."""
    found = {
        (match[1] or "", table_format)
        for name in names
        for table_format, pattern in _BELOW.items()
        if (match := pattern.fullmatch(name))
    }
    return [TableRoot(table_format, path) for path, table_format in sorted(found)]


def tables_in_directories(
    root: str, is_left_out: Callable[[str], bool] = lambda _: False
) -> list[TableRoot]:
    """Return the tables in and below a local directory, by walking its directories, except in those
    that are left out."""
    tables = []
    linked: set[str] = set()
    for directory, subdirectories, _ in os.walk(root, followlinks=True):
        real = os.path.realpath(directory) if os.path.islink(directory) else ""
        if is_left_out(directory) or real in linked:
            subdirectories.clear()
            continue
        linked |= {real} if real else set()
        for name, marks in _MARKS.items():
            if not set(marks).issubset(subdirectories):
                continue
            if name == ICEBERG and not _has_metadata(os.listdir(f"{directory}/metadata")):
                continue
            tables.append(TableRoot(name, directory))
    return sorted(tables, key=lambda table: table.path)


def tables_of_glob(filesystem: Any, pattern: str) -> list[TableRoot]:
    """Return the tables among the directories that the beginnings of a glob match: those in which
    its files lie."""
    parts = pattern.split("/")
    first = next((at for at, part in enumerate(parts) if wildcard_at(part) is not None), len(parts))
    tables = []
    for end in range(first + 1, len(parts) + 1):
        directory = "/".join(parts[:end])
        for name, marks in _MARKS.items():
            mark = f"{marks[0]}/*.metadata.json*" if name == ICEBERG else marks[0]
            for found in filesystem.glob(f"{directory}/{mark}"):
                path = found.removesuffix("/").rsplit("/", 2 if name == ICEBERG else 1)[0]
                if all(filesystem.exists(f"{path}/{mark}") for mark in marks):
                    tables.append(TableRoot(name, path))
    return tables


def wildcard_at(path: str) -> int | None:
    """Return the position of the first wildcard of a glob, or None if there is none."""
    return next((at for at, character in enumerate(path) if character in "*?["), None)


def is_metadata_file(path: str) -> bool:
    """Return whether a path is that of one version's metadata of an Iceberg table."""
    return _METADATA_FILE.fullmatch(path) is not None


def _is_table(filesystem: Any, path: str, name: str) -> bool:
    if not all(filesystem.exists(f"{path}/{mark}") for mark in _MARKS[name]):
        return False
    return name != ICEBERG or _has_metadata(filesystem.ls(f"{path}/metadata", detail=False))


def _has_metadata(names: Iterable[str]) -> bool:
    return any(is_metadata_file(name) for name in names)


def _parents(path: str) -> list[str]:
    """Return the directories above a path, the nearest first, without the root of the disk."""
    parts = path.rstrip("/").split("/")
    return [parent for end in range(len(parts) - 1, 0, -1) if (parent := "/".join(parts[:end]))]
