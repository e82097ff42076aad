"""Disks and buckets behind a few operations. Every name is relative to one root.

Knows bytes and names; knows nothing of runs, parts or Parquet.
"""

from __future__ import annotations

import errno
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec

from pipelines.errors import OutputError, StorageError
from pipelines.stores.buckets import delete_files
from pipelines.stores.disk import create_name, take_name
from pipelines.stores.protocols import (
    AZURE,
    creating,
    filesystem_errors,
    is_conflict,
    is_local,
    open_output,
    protocol_of,
)

# Attempts at one create while S3 answers that another request is creating the same name.
_CONFLICTS = 8
# The errors of a filesystem that has no hard links or does not let this user make them.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_REMEDY = "Check that the store is reachable, has free space and permits this, then try again"


@contextmanager
def storage_errors(action: str, where: str) -> Iterator[None]:
    """Turn errors of a filesystem within the block into StorageError.

    The message begins "WHERE: cannot ACTION: the filesystem's error" and ends with what to check.
    `where` is a path or URL, and `action` a verb that completes the sentence.
    """
    try:
        yield
    except filesystem_errors() as error:
        raise StorageError(f"{where}: cannot {action}: {error}. {_REMEDY}") from error


@dataclass(frozen=True)
class Storage:
    """A directory on a disk, or a prefix in a bucket, in which named files are read and written.

    `url` is a path or a URL; `key` is the key of the job or serve file that holds it, for error
    messages. A `name` or `directory` is a path below it, such as `_run/job.json`; "" is the root.
    Small to pickle: the filesystem is opened in the process that uses it. Every method raises
    StorageError if the filesystem fails, and OutputError if the store cannot be used.
    """

    url: str
    key: str = field(default="output.path", kw_only=True)

    def __post_init__(self) -> None:
        # made absolute: a worker on another node has another working directory
        if self.local:
            object.__setattr__(self, "url", fsspec.core.url_to_fs(self.url)[1])

    @property
    def filesystem(self) -> Any:
        """The fsspec filesystem of the URL, opened on first use in this process."""
        return self._split()[0]

    @property
    def root(self) -> str:
        """The path of this storage on `filesystem`, without a slash at the end."""
        return self._split()[1].rstrip("/")

    @property
    def local(self) -> bool:
        """True for a disk of this machine, false for a bucket."""
        return is_local(self.url)

    def connect(self) -> None:
        """Open the filesystem, so that an error in the URL or a missing package is reported now.
        Does not check that the directory exists or can be written."""
        self._split()

    def _split(self) -> tuple[Any, str]:
        return open_output(self.url, OutputError, self.key)

    def path(self, name: str) -> str:
        """Return the full path of a name on `filesystem`; the root for ""."""
        return f"{self.root}/{name}" if name else self.root

    def read_if_exists(self, name: str) -> bytes | None:
        """Return the content of a file, or None if it does not exist."""
        try:
            return self.read(name)
        except FileNotFoundError:
            return None

    def read(self, name: str) -> bytes:
        """Return the content of a file. Raises FileNotFoundError if it does not exist."""
        try:
            data: bytes = self.filesystem.cat_file(self.path(name))
        except FileNotFoundError:
            raise
        except filesystem_errors() as error:
            raise StorageError(f"{self.path(name)}: cannot read: {error}. {_REMEDY}") from error
        return data

    def write(self, name: str, data: bytes) -> None:
        """Create or replace a file atomically: a reader sees the old content or the new one, never
        a part of it."""
        self._write(name, data, beside=name)

    def _write(self, name: str, data: bytes, beside: str) -> None:
        """Write a file as `write` does; on a disk, by a temporary file next to `beside`, a name."""
        with storage_errors("write", self.path(name)):
            if not self.local:
                self.filesystem.pipe_file(self.path(name), data)
                return
            with self._finished(beside, data) as temporary:
                take_name(temporary, self.path(name))

    def create(self, name: str, data: bytes) -> bool:
        """Create a file with its whole content, or return False if the name exists.

        Of several concurrent callers exactly one gets True. On a disk this is a hard link to a
        finished temporary file; on a bucket, one request with the condition that the name does not
        exist. Raises OutputError if the disk has no hard links.
        """
        with storage_errors("create", self.path(name)):
            return self._create_local(name, data) if self.local else self._create_remote(name, data)

    def _create_local(self, name: str, data: bytes) -> bool:
        with self._finished(name, data) as temporary:
            try:
                return create_name(temporary, self.path(name))
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                raise OutputError(
                    f"{self.key}: {self.path(name)}: this filesystem cannot make hard links "
                    f"({error.strerror}); without them two runs could create the same file. Use a "
                    "disk with hard links, or a bucket"
                ) from error

    def _create_remote(self, name: str, data: bytes) -> bool:
        for _ in range(_CONFLICTS):
            try:
                self.filesystem.pipe_file(self.path(name), data, **creating(self.url))
            except OSError as error:
                # Ceph's gateway answers a lost race with an error that s3fs maps to EINVAL, and
                # adlfs takes any conflict for a name that exists
                lost = isinstance(error, FileExistsError) or error.errno == errno.EINVAL
                if lost and self.exists(name):
                    return False
                if not is_conflict(error):
                    raise
                conflict = error
            else:
                return True
        raise conflict

    @contextmanager
    def _finished(self, name: str, data: bytes) -> Iterator[Path]:
        """Yield a synced temporary file with the data, deleted at the end of the block."""
        with self._temporary(name) as temporary:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield temporary

    @contextmanager
    def _temporary(self, name: str) -> Iterator[Path]:
        """Yield a free local path: on a disk a hidden name next to `name`, else a temporary file;
        delete the file at the end of the block."""
        if self.local:
            target = Path(self.path(name))
            temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        else:
            temporary = Path(tempfile.gettempdir(), f"phifleet-{uuid.uuid4().hex}")
        temporary.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def new_file(self, name: str) -> Iterator[Path]:
        """Yield a local path at which the block must write a file. At its end the file is moved or
        uploaded to `name`, atomically; if the block raises, nothing is written, and an OSError
        becomes a StorageError."""
        with storage_errors("write", self.path(name)), self._temporary(name) as temporary:
            yield temporary
            self._put(temporary, name)

    def _put(self, finished: Path, name: str) -> None:
        if self.local:
            with finished.open("rb") as file:
                os.fsync(file.fileno())
            take_name(finished, self.path(name))
        else:
            self.filesystem.put_file(str(finished), self.path(name))

    def copy(self, source: str, target: str) -> None:
        """Copy the file named `source` to the name `target`, which is created or replaced
        atomically. Raises FileNotFoundError if `source` does not exist. No temporary file is made
        beside `target`, where a reader of the directory might take it for data."""
        # Azure may report a copy before it is complete
        if self.local or protocol_of(self.url) in AZURE:
            self._write(target, self.read(source), beside=source)
            return
        try:
            with storage_errors("copy to", self.path(target)):
                self.filesystem.cp_file(self.path(source), self.path(target))
        except StorageError:
            if self.exists(source):
                raise
            raise FileNotFoundError(self.path(source)) from None

    def names(self, directory: str) -> list[str]:
        """Return the names of the files directly in a directory, sorted, without hidden ones
        (`.NAME`); an empty list if the directory does not exist."""
        return [name for name, kind in self._list(directory) if kind == "file"]

    def entries(self, directory: str) -> list[str]:
        """Return the names that `names` returns, together with those of directories."""
        return [name for name, _ in self._list(directory)]

    def _list(self, directory: str) -> list[tuple[str, str]]:
        """Return name and fsspec's type ("file", "directory") of each entry, sorted."""
        path = self.path(directory)
        with storage_errors("list", path):
            try:
                entries = self.filesystem.ls(path, detail=True)
            except FileNotFoundError:
                return []
        named = [(entry["name"].rsplit("/", 1)[-1], entry["type"]) for entry in entries]
        return sorted((name, kind) for name, kind in named if name and not name.startswith("."))

    def exists(self, name: str) -> bool:
        """Return whether a file or directory exists."""
        with storage_errors("check whether it exists", self.path(name)):
            return bool(self.filesystem.exists(self.path(name)))

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes, or None if it does not exist."""
        with storage_errors("read the size", self.path(name)):
            try:
                return int(self.filesystem.size(self.path(name)))
            except FileNotFoundError:
                return None

    def remove(self, name: str) -> None:
        """Delete a file, or a directory with everything in it, if it exists."""
        path = self.path(name)
        with storage_errors("delete", path), suppress(FileNotFoundError):
            if self.local:
                self.filesystem.rm(path, recursive=True)
            else:
                self._delete(self.filesystem.find(path))

    def remove_matching(self, directory: str, matches: Callable[[str], bool]) -> None:
        """Delete the files directly in `directory`, if it exists, whose name satisfies `matches`.

        On S3 this takes one request per 1,000 files. A leftover temporary file (`.NAME...`) is
        matched without its leading dot.
        """
        path = self.path(directory)
        with storage_errors("delete files", path), suppress(FileNotFoundError):
            files = [entry["name"] for entry in self.filesystem.ls(path, detail=True)]
            chosen = [file for file in files if matches(file.rsplit("/", 1)[-1].lstrip("."))]
            if self.local:
                for file in chosen:
                    Path(file).unlink(missing_ok=True)
            else:
                self._delete(chosen)

    def _delete(self, paths: Sequence[str]) -> None:
        delete_files(self.filesystem, protocol_of(self.url), paths)

    @contextmanager
    def open(self, name: str) -> Iterator[Any]:
        """Yield a seekable binary file to read from, closed at the end of the block.

        On a bucket each read fetches only the requested range. Raises StorageError also if the file
        does not exist.
        """
        where = self.path(name)
        with (
            storage_errors("read", where),
            self.filesystem.open(where, "rb", cache_type="none") as file,
        ):
            yield file
