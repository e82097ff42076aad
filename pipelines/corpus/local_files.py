"""The files below a local directory, however they are linked.

Knows the names, kinds and links of files; opens none, and knows nothing of formats.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.corpus.not_read import NotRead, Reason

JOB_RECORD = "_run/job.json"
"""The file below a directory that shows that the directory is the OUTPUT of a run."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file that a listing has found.

    `version` changes with the file's content; "" if the store gives none. `identity` is the same
    for all names of one local file, None on other filesystems. `linked` is true if a link leads to
    the file.
    """

    path: str
    size_bytes: int
    version: str
    identity: tuple[int, int] | None = None
    linked: bool = False


def is_hidden(name: str, *, directory: bool = False) -> bool:
    """Return whether a name is hidden, as other readers of Parquet see it: it begins with a dot or
    an underscore. A directory `_day=1` is a partition, not hidden."""
    return name.startswith(".") or (name.startswith("_") and not (directory and "=" in name))


def local_file(path: str, *, linked: bool = False) -> Found:
    """Return a regular file, or the one that a link leads to. Raises OSError."""
    return _found(path, os.stat(path), linked=linked)


def _found(path: str, status: os.stat_result, *, linked: bool) -> Found:
    identity = (status.st_dev, status.st_ino)
    return Found(path, status.st_size, str(status.st_mtime_ns), identity, linked)


@dataclass(frozen=True)
class Walk:
    """The walk through a local directory, which follows links.

    Attributes:
        top: the directory that the user named; names in `not_read` are relative to it.
        output: the real path of a directory to leave out, or "" for none.
        not_read: collects what the walk leaves out.
    """

    top: str
    output: str
    not_read: NotRead

    def files(self, root: str) -> Iterator[Found]:
        """Yield all regular files below `root`, which is `top` or a directory below it.

        Leaves out hidden files and directories, OUTPUT of any run, pipes, devices, links to nothing
        and links to a directory above. Raises OSError if a directory cannot be listed; one that has
        been deleted since it was found is no error.
        """
        pending = [_Directory(root, os.path.realpath(root), linked=False)]
        while pending:
            directory = pending.pop()
            entries = _entries(directory.path)
            if directory.path != self.top and _is_output(directory.path, entries):
                self._leave_out(Reason.OUTPUT, directory.path + "/")
                continue
            below = []
            for entry in entries:
                found = self._look_at(entry, directory)
                if isinstance(found, _Directory):
                    below.append(found)
                elif found:
                    yield found
            pending += reversed(below)

    def _look_at(self, entry: os.DirEntry[str], parent: _Directory) -> Found | _Directory | None:
        """Return an entry's file or directory, or None if it is left out."""
        linked = parent.linked or entry.is_symlink()
        try:
            status = entry.stat()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ELOOP):
                raise
            if entry.is_symlink():
                self._leave_out(Reason.BROKEN_LINK, entry.path)
            return None
        if stat.S_ISDIR(status.st_mode):
            return self._directory(entry, parent, linked=linked)
        if is_hidden(entry.name):
            self._leave_out(Reason.HIDDEN, entry.path)
        elif not stat.S_ISREG(status.st_mode):
            self._leave_out(Reason.NOT_A_FILE, entry.path)
        else:
            return _found(entry.path, status, linked=linked)
        return None

    def _directory(
        self, entry: os.DirEntry[str], parent: _Directory, *, linked: bool
    ) -> _Directory | None:
        path, real = entry.path, os.path.join(parent.real, entry.name)
        if entry.is_symlink():
            real = os.path.realpath(path)
            if Path(parent.real).is_relative_to(real):
                self._leave_out(Reason.LINK_ABOVE, path)
                return None
        if is_hidden(entry.name, directory=True):
            self._leave_out(Reason.HIDDEN, path + "/")
        elif real == self.output:
            self._leave_out(Reason.OUTPUT, path + "/")
        else:
            return _Directory(path, real, linked)
        return None

    def _leave_out(self, reason: Reason, path: str) -> None:
        self.not_read.add(reason, path.removeprefix(self.top).lstrip("/"))


@dataclass(frozen=True, slots=True)
class _Directory:
    """A directory of a walk: its path, its path without links, and whether a link leads to it."""

    path: str
    real: str
    linked: bool


def _entries(directory: str) -> list[os.DirEntry[str]]:
    """Return the entries of a directory by name; none if it does not exist any more."""
    try:
        with os.scandir(directory) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []


def _is_output(directory: str, entries: list[os.DirEntry[str]]) -> bool:
    """Return whether a directory is the OUTPUT of a run of phifleet."""
    has_ledger = any(entry.name == "_run" for entry in entries)
    return has_ledger and os.path.isfile(os.path.join(directory, JOB_RECORD))
