"""File names on a local disk that survive a power failure.

Knows paths; knows nothing of `Storage` or records.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path


def take_name(finished: Path, path: str) -> None:
    """Rename the file `finished`, whose content is synced already, to `path`, and sync the
    directory, which is made if needed. A file at `path` is replaced atomically. Raises OSError."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    os.replace(finished, path)
    keep_names(Path(path).parent)


def create_name(finished: Path, path: str) -> bool:
    """Give the file `finished`, whose content is synced already, the name `path` too, and sync the
    directory; return False if the name exists. Raises OSError if this needs links that the
    filesystem does not have."""
    try:
        os.link(finished, path)
    except FileExistsError:
        return False
    keep_names(Path(path).parent)
    return True


def keep_names(directory: Path) -> None:
    """Sync a directory to disk. Without it, a synced file can lose its name in a power failure.

    Does nothing if the directory may not be read, or if its filesystem cannot sync directories.
    Raises OSError.
    """
    try:
        opened = os.open(directory, os.O_RDONLY)
    except PermissionError:
        # a directory can be writable and not readable
        return
    try:
        os.fsync(opened)
    except OSError as error:
        # some network filesystems cannot sync a directory
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(opened)
