"""Finds the files of a path, directory or glob, on a local disk and on other filesystems.

Knows paths and filesystems; knows nothing of formats, or of which files are read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, lru_cache, partial
from os.path import dirname
from typing import Any, Protocol

from pipelines.corpus.local_files import JOB_RECORD, Found, Walk, is_hidden, local_file
from pipelines.corpus.not_read import NotRead, Reason, printable
from pipelines.corpus.selection import outputs_among
from pipelines.corpus.tables.recognition import (
    TableRoot,
    tables_among,
    tables_in_directories,
    tables_of_glob,
    wildcard_at,
)
from pipelines.errors import InputError
from pipelines.stores.protocols import version_of


class Finder(Protocol):
    """Finds the files of one path that the user names."""

    @property
    def top(self) -> str:
        """The directory that the user names, or from which his glob starts."""

    @property
    def named_ending(self) -> str:
        """The ending that a glob names, such as `.dat` in `*.dat`; "" for none."""

    def named(self) -> Found | None:
        """Return the file if the path is that of a file, else None."""

    def files(self, output: str, not_read: NotRead) -> Iterator[Found]:
        """Yield the files of a directory or glob, mostly in the order of paths.

        `output` is a directory to leave out, or "". What is left out is added to `not_read`.
        """

    def tables(self, output: str) -> list[TableRoot]:
        """Return the tables below a directory, or below what a glob matches, except in directories
        that `files` leaves out."""

    def is_within(self, path: str, directory: str) -> bool:
        """Return whether a path is that of a directory or of something below it."""


class _Path:
    """The parts of a path that may be a glob. `is_glob` tells whether it is one."""

    def __init__(self, filesystem: Any, root: str) -> None:
        self.filesystem = filesystem
        self.root = root
        self.wildcard = wildcard_at(root)
        # a name may contain the characters of wildcards
        self.is_glob = self.wildcard is not None and not filesystem.exists(root)

    @property
    def top(self) -> str:
        return self.root[: self.wildcard].rpartition("/")[0] if self.is_glob else self.root

    @property
    def named_ending(self) -> str:
        tail = self.root.rpartition("/")[2]
        ending = tail[max(map(tail.rfind, "*?]")) + 1 :]
        return ending if self.is_glob and "." in ending else ""


class LocalFinder(_Path):
    """Finds files on this machine. Links are followed."""

    def named(self) -> Found | None:
        """See `Finder.named`. Raises InputError for a pipe or a device."""
        if self.is_glob or not os.path.exists(self.root) or os.path.isdir(self.root):
            return None
        if not stat.S_ISREG(os.stat(self.root).st_mode):
            raise InputError(
                f"input.path: {self.root} is a pipe, a socket or a device, which cannot be read "
                "twice; write its content to a file"
            )
        return local_file(self.root)

    def files(self, output: str, not_read: NotRead) -> Iterator[Found]:
        """See `Finder.files`."""
        walk = Walk(self.top, os.path.realpath(output) if output else "", not_read)
        if not self.is_glob:
            yield from walk.files(self.root)
            return
        walked = "\0"
        for path in sorted(self.filesystem.glob(self.root)):
            if path.startswith(walked):
                continue
            if os.path.isdir(path):
                walked = path.rstrip("/") + "/"
                yield from walk.files(path)
            elif os.path.isfile(path):
                yield local_file(path, linked=os.path.islink(path))
            else:
                gone = os.path.islink(path)
                reason = Reason.BROKEN_LINK if gone else Reason.NOT_A_FILE
                not_read.add(reason, path.removeprefix(self.top).lstrip("/"))

    def tables(self, output: str) -> list[TableRoot]:
        """See `Finder.tables`."""
        roots = [self.root]
        of_glob = []
        if self.is_glob:
            roots = sorted(path for path in self.filesystem.glob(self.root) if os.path.isdir(path))
            of_glob = _read_tables(tables_of_glob(self.filesystem, self.root), self, output)
        real = _real(output) if output else ""
        left_out = partial(_is_left_out, top=self.top, output=real)
        return [*of_glob, *(table for r in roots for table in tables_in_directories(r, left_out))]

    def is_within(self, path: str, directory: str) -> bool:
        """See `Finder.is_within`. Compares real paths: links and `..` can spell one directory in
        several ways."""
        real = _real(path if path == self.top else dirname(path))
        return _starts_with(real, _real(directory))


class RemoteFinder(_Path):
    """Finds files by an fsspec filesystem. `url` is the path as the user wrote it."""

    def __init__(self, filesystem: Any, root: str, url: str) -> None:
        super().__init__(filesystem, root)
        self.url = url

    def named(self) -> Found | None:
        """See `Finder.named`."""
        if self.is_glob or self.url.endswith("/"):
            return None
        info = self.filesystem.info(self.root)
        return self._found(self.root, info) if info["type"] == "file" else None

    def files(self, output: str, not_read: NotRead) -> Iterator[Found]:
        """See `Finder.files`."""
        entries = self.entries
        others = outputs_among(entries, self.top)
        left_out = "\0"
        for path in sorted(entries):
            if path.startswith(left_out):
                continue
            if other := next((each for each in others if _starts_with(path, each)), None):
                left_out = other + "/"
                not_read.add(Reason.OUTPUT, left_out.removeprefix(self.top).lstrip("/"))
                continue
            yield self._found(path, entries[path])

    def tables(self, output: str) -> list[TableRoot]:
        """See `Finder.tables`."""
        others = outputs_among(self.entries, self.top)
        tables = tables_of_glob(self.filesystem, self.root) if self.is_glob else []
        for table in tables_among(self.entries):
            if not any(_starts_with(table.path, other) for other in others):
                tables.append(table)
        return _read_tables(tables, self, output)

    @cached_property
    def entries(self) -> Mapping[str, Mapping[str, Any]]:
        """The listing's entries of all files, by path."""
        if not self.is_glob:
            return _files_only(self.filesystem.find(self.root, detail=True))
        matches = self.filesystem.glob(self.root, detail=True)
        entries = _files_only(matches)
        for path, info in matches.items():
            if info["type"] == "directory":
                entries |= _files_only(self.filesystem.find(path, detail=True))
        return entries

    def _found(self, path: str, info: Mapping[str, Any]) -> Found:
        if info.get("size") is None:
            info = self.filesystem.info(path)
        if info.get("size") is None:
            raise InputError(
                f"input.path: {printable(path)}: the server does not state the file's size; copy "
                "the files to a disk or a bucket"
            )
        return Found(path, int(info["size"]), version_of(info))

    def is_within(self, path: str, directory: str) -> bool:
        """See `Finder.is_within`."""
        return _starts_with(path or "/", directory)


def _files_only(listing: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return a listing without the entries that object stores keep for directories."""
    return {
        path: info
        for path, info in listing.items()
        if info.get("type") != "directory" and not path.endswith("/")
    }


def _read_tables(
    tables: Iterable[TableRoot], finder: LocalFinder | RemoteFinder, output: str
) -> list[TableRoot]:
    """Return the tables that are neither in OUTPUT nor in hidden directories."""
    return [
        table
        for table in tables
        if not _is_hidden_below(table.path, finder.top)
        and not (output and finder.is_within(f"{table.path}/_", output))
    ]


def _is_left_out(directory: str, top: str, output: str) -> bool:
    """Return whether a walk from `top` leaves out a local directory below it; `output` is the real
    path of one that it leaves out, "" for none."""
    if directory == top:
        return False
    is_output = os.path.isfile(os.path.join(directory, JOB_RECORD))
    is_output = is_output or (output != "" and os.path.realpath(directory) == output)
    return is_output or _is_hidden_below(directory, top)


def _is_hidden_below(path: str, top: str) -> bool:
    below = path.removeprefix(top).strip("/").split("/")
    return any(is_hidden(name, directory=True) for name in below)


_real = lru_cache(4096)(os.path.realpath)


def _starts_with(path: str, directory: str) -> bool:
    return f"{path.rstrip('/')}/".startswith(f"{directory.rstrip('/')}/")
