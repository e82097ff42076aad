"""The files of a corpus: find the Parquet and JSONL files of a path, directory or glob.

Knows names, sizes and versions of files; knows nothing of their content.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from os.path import dirname
from pathlib import Path
from typing import Any

from pipelines.corpus.tables.columns import TableFile
from pipelines.corpus.tables.recognition import (
    refuse_tables_below,
    tables_among,
    tables_in_directories,
    tables_of_glob,
)
from pipelines.errors import InputError, StorageError
from pipelines.stores.protocols import filesystem_errors, is_local, open_store, version_of

_SUFFIXES = (".parquet", ".jsonl")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the corpus.

    `path` is the file's path on the filesystem of `input.path`, without a protocol. `version`
    changes when the file's content changes: an ETag, a time of change, or another value that the
    store gives; "" if it gives none. The version of a table's data file changes when other rows of
    it are deleted, and `table` states how the file is read; it is None for any other file.
    """

    path: str
    size_bytes: int
    version: str
    table: TableFile | None = field(default=None, compare=False, repr=False)

    def to_record(self) -> dict[str, Any]:
        """Return the file as JSON values by attribute, for a plan's record; `table`, which is
        needed only to index the file, is left out."""
        return {name.name: getattr(self, name.name) for name in fields(self) if name.compare}


def list_files(path: str, exclude: str = "") -> list[SourceFile]:
    """Return the .parquet and .jsonl files at `path`, sorted by path.

    `path` is a path or URL of a file, of a directory (with all directories below it), or a glob.
    Files and directories whose names begin with `_` or `.` are skipped, as by other Parquet
    readers, unless `path` itself names them. `exclude` is a directory below `path` to skip, the
    OUTPUT of the run; "" skips none. Local links are followed.

    Raises InputError if no file matches or the URL is wrong, and StorageError if the filesystem
    fails.
    """
    local = is_local(path)
    try:
        filesystem, root = open_store(path, InputError)
        filesystem.invalidate_cache()
        files, top = _find(filesystem, root, local=local)
        _refuse_tables(filesystem, path, root, files, local=local)
    except filesystem_errors(ValueError) as error:
        missing = isinstance(error, ValueError | FileNotFoundError | NotADirectoryError)
        kind = InputError if missing else StorageError
        remedy = "check the path" if missing else "check the connection and the permissions"
        raise kind(f"input.path: cannot list {path}: {error}; {remedy}") from error
    sources = [_source_file(name, info) for name, info in sorted(files.items())]
    sources = [file for file in sources if _is_data(file.path, top)]
    # compared as real paths: links and `..` can spell one directory in several ways
    real = lru_cache(4096)(os.path.realpath) if local else str
    if exclude and real(exclude) != real(top) and _is_within(real(exclude), real(top or "/")):
        sources = [
            file for file in sources if not _is_within(real(dirname(file.path)), real(exclude))
        ]
    if not sources:
        raise InputError(
            f"input.path: no .parquet or .jsonl file at {path}; check the path (files and "
            "directories whose names begin with _ or . are skipped)"
        )
    return sources


def _find(filesystem: Any, root: str, *, local: bool) -> tuple[dict[str, dict[str, Any]], str]:
    """Return all files of a path with their listing entries, and the directory that the user
    named: below it, hidden names are skipped."""
    wildcard = next((at for at, character in enumerate(root) if character in "*?["), None)
    if wildcard is None or filesystem.exists(root):
        return _walk(root) if local else dict(filesystem.find(root, detail=True)), root
    matches: dict[str, dict[str, Any]] = filesystem.glob(root, detail=True)
    if local:
        files = {name: _status(name) for name in matches if os.path.isfile(name)}
    else:
        files = {name: info for name, info in matches.items() if info["type"] == "file"}
    return files, root[:wildcard].rpartition("/")[0]


def _refuse_tables(
    filesystem: Any, path: str, root: str, files: Mapping[str, object], *, local: bool
) -> None:
    """Raise InputError if there are tables below `root`, the path that the user named."""
    if files.keys() == {root}:
        return
    if any(character in "*?[" for character in root) and not filesystem.exists(root):
        refuse_tables_below(path, tables_of_glob(filesystem, root))
    else:
        refuse_tables_below(path, tables_in_directories(root) if local else tables_among(files))


def _walk(root: str) -> dict[str, dict[str, Any]]:
    """Return the files of a local path, following links, except links to a directory above."""
    if os.path.isfile(root):
        return {root: _status(root)}
    files: dict[str, dict[str, Any]] = {}
    for directory, subdirectories, names in os.walk(root, followlinks=True, onerror=_raise):
        real = Path(directory).resolve()
        subdirectories[:] = [
            name
            for name in subdirectories
            if not _is_hidden(name) and not real.is_relative_to(Path(directory, name).resolve())
        ]
        paths = (os.path.join(directory, name) for name in names)
        files |= {path: _status(path) for path in paths if os.path.isfile(path)}
    return files


def _raise(error: OSError) -> None:
    """Raise an error of `os.walk`, which would otherwise skip the directory silently. A directory
    that has been deleted since it was listed is no error."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _status(path: str) -> dict[str, Any]:
    """Return size and time of change of a local file, or of the file that a link leads to."""
    status = os.stat(path)
    return {"size": status.st_size, "mtime": status.st_mtime}


def _is_within(path: str, directory: str) -> bool:
    return f"{path}/".startswith(f"{directory.rstrip('/')}/")


def _source_file(name: str, info: dict[str, Any]) -> SourceFile:
    return SourceFile(name, int(info["size"]), version_of(info))


def _is_data(path: str, top: str) -> bool:
    """Return whether a file has one of our suffixes and no hidden name below `top`."""
    below = path.removeprefix(top).split("/")
    return path.endswith(_SUFFIXES) and not any(map(_is_hidden, below))


def _is_hidden(name: str) -> bool:
    return name.startswith(("_", "."))
