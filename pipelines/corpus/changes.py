"""Checks that input files are still as they were when they were listed.

Compares sizes and versions; reads no content.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from pipelines.corpus.files import SourceFile
from pipelines.corpus.fragments import Fragment
from pipelines.corpus.not_read import printable
from pipelines.errors import FileChanged, InputError, StorageError
from pipelines.job.spec import InputSpec
from pipelines.stores.protocols import (
    HAS_LISTINGS_CACHE,
    filesystem_errors,
    is_local,
    open_store,
    protocol_of,
    versions_of,
)

_THREADS = 16
_NAMES = {"mtime_ns": "time of change"}


def check_unchanged(spec: InputSpec, file: SourceFile) -> None:
    """Raise FileChanged if a file has changed since it was listed, or is gone. A table's data files
    never change.

    One `stat`, or one request to the store. Raises StorageError if that fails.
    """
    if file.table is not None:
        return
    try:
        change = _change(spec, file)
    except FileNotFoundError:
        change = "it does not exist any more"
    except filesystem_errors() as error:
        raise StorageError(
            f"{printable(file.path)}: cannot be looked up: {error}; check the connection and the "
            "permissions"
        ) from error
    if change:
        raise changed(file, change)


def check_span(spec: InputSpec, fragments: Iterable[Fragment]) -> None:
    """Raise FileChanged if a file of these fragments has changed since it was listed. Call it when
    their rows have been read. Raises StorageError."""
    files = list({fragment.path: fragment.file for fragment in fragments if fragment.file}.values())
    if is_local(spec.path) or len(files) == 1:
        for file in files:
            check_unchanged(spec, file)
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(partial(check_unchanged, spec), files))


def check_opened(spec: InputSpec, handle: Any, file: SourceFile) -> None:
    """Raise FileChanged if a file that has been opened has changed since it was listed. Sends no
    request: the client has looked the file up to open it."""
    if is_local(spec.path):
        check_unchanged(spec, file)
    elif file.table is not None:
        return
    elif change := difference(file, getattr(handle, "details", None) or {}):
        raise changed(file, change)


def changed(file: SourceFile, change: str) -> FileChanged:
    """Return the error about a file that has changed since it was listed; `change` says how."""
    return FileChanged(
        f"{printable(file.path)}: has changed since it was listed: {change}. Nothing of it was "
        "used. Wait until no program writes to the file, then run the same command again; write "
        "changed documents to new files while a run reads"
    )


def difference(file: SourceFile, info: Mapping[str, Any]) -> str | None:
    """Return how an entry of fsspec differs from a listed file, or None if it does not."""
    size = info.get("size")
    if size is not None and size != file.size_bytes:
        return f"it has {size:,} bytes, and had {file.size_bytes:,}"
    versions = versions_of(info)
    if file.version and versions and file.version not in versions.values():
        name, value = next(iter(versions.items()))
        return f"its {_NAMES.get(name, name)} is {value}, and was {file.version}"
    return None


def _change(spec: InputSpec, file: SourceFile) -> str | None:
    if is_local(spec.path):
        status = os.stat(file.path)
        return difference(file, {"size": status.st_size, "mtime_ns": status.st_mtime_ns})
    if protocol_of(spec.path) in HAS_LISTINGS_CACHE:
        filesystem, _ = open_store(spec.path, InputError, use_listings_cache=False)
    else:
        filesystem, _ = open_store(spec.path, InputError)
        filesystem.invalidate_cache()
    return difference(file, filesystem.info(file.path))
