"""Names on a local disk that survive a power cut. Knows paths; nothing of storage or records."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def take_name(finished: Path, path: str) -> None:
    """Give a finished file its name, in place of what had it before."""
    os.replace(finished, path)
    keep_names(Path(path).parent)


def keep_names(directory: Path) -> None:
    """Have a directory's names on the disk: a file that was synced may be nameless after a power
    cut."""
    try:
        opened = os.open(directory, os.O_RDONLY)
    except PermissionError:
        # it may be written and not read
        return
    try:
        os.fsync(opened)
    except OSError as error:
        # some mounted filesystems know no such thing
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(opened)
