"""Deletion of files in a bucket.

Knows paths; knows nothing of `Storage` or records.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import fsspec

from pipelines.stores.protocols import AZURE

# Threads that delete from Azure, one request per file.
_THREADS = 16


def delete_files(
    filesystem: fsspec.AbstractFileSystem, protocol: str, paths: Sequence[str]
) -> None:
    """Delete files of a bucket.

    `protocol` is that of the bucket's URL, such as `s3`, and `paths` are full paths on
    `filesystem`. Raises what the filesystem raises, and PermissionError if the first or last of
    several files still exists afterwards: a request that deletes many files does not report which
    of them failed.
    """
    if len(paths) == 1:
        filesystem.rm_file(paths[0])
    elif protocol in AZURE:
        # given many files, adlfs hides a failure if another file has already been deleted
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(lambda path: _delete_if_exists(filesystem, path), paths))
    elif paths:
        filesystem.rm(list(paths))
        filesystem.invalidate_cache()
        ends = (paths[0], paths[-1])
        if remaining := [path for path in ends if filesystem.exists(path)]:
            message = "the store reported no error, but it still exists; check the permissions"
            raise PermissionError(errno.EACCES, message, remaining[0])


def _delete_if_exists(filesystem: fsspec.AbstractFileSystem, path: str) -> None:
    with suppress(FileNotFoundError):
        filesystem.rm_file(path)
