"""Disks and buckets behind a few verbs. Every name is relative to one root.

Knows bytes and names; nothing of runs, parts or Parquet.
"""

from __future__ import annotations

import errno
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from pipelines.errors import OutputError, StorageError
from pipelines.stores.disk import keep_names, take_name
from pipelines.stores.protocols import (
    AZURE,
    creating,
    filesystem_errors,
    is_conflict,
    is_local,
    open_output,
    protocol_of,
)

# So often S3 may say that somebody else is creating the same name.
_CONFLICTS = 8
_REMOVERS = 16
# What a filesystem without hard links answers, or one that lets nobody make them.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


@contextmanager
def storage_errors(action: str, where: str) -> Iterator[None]:
    """Turn a filesystem's refusal within the block into StorageError."""
    try:
        yield
    except filesystem_errors() as error:
        raise StorageError(f"{where}: cannot {action}: {error}") from error


@dataclass(frozen=True)
class Storage:
    """A directory or bucket prefix. Small to pickle; opens its filesystem where it is used."""

    url: str
    key: str = "output.path"

    def __post_init__(self) -> None:
        # a worker elsewhere has another working directory
        if self.local:
            object.__setattr__(self, "url", fsspec.core.url_to_fs(self.url)[1])

    @property
    def filesystem(self) -> Any:
        return self._split()[0]

    @property
    def root(self) -> str:
        return self._split()[1].rstrip("/")

    @property
    def local(self) -> bool:
        return is_local(self.url)

    def connect(self) -> None:
        """Open the filesystem, so that a store that cannot be used is reported now."""
        self._split()

    def _split(self) -> tuple[Any, str]:
        return open_output(self.url, OutputError, self.key)

    def path(self, name: str) -> str:
        """The full path of a name on `filesystem`."""
        return f"{self.root}/{name}" if name else self.root

    def read_if_exists(self, name: str) -> bytes | None:
        """Content of a name, None where it does not exist. Raises StorageError."""
        try:
            return self.read(name)
        except FileNotFoundError:
            return None

    def read(self, name: str) -> bytes:
        """Content of a name. Raises FileNotFoundError, StorageError."""
        try:
            data: bytes = self.filesystem.cat_file(self.path(name))
        except FileNotFoundError:
            raise
        except filesystem_errors() as error:
            raise StorageError(f"{self.path(name)}: cannot read: {error}") from error
        return data

    def write(self, name: str, data: bytes) -> None:
        """Replace a name whole: a reader sees the old content or the new, never a part."""
        with storage_errors("write", self.path(name)):
            if not self.local:
                self.filesystem.pipe_file(self.path(name), data)
                return
            with self._finished(name, data) as temporary:
                take_name(temporary, self.path(name))

    def create(self, name: str, data: bytes) -> bool:
        """Create a name with its whole content, or return False where it exists. One winner.

        Locally a hard link of a finished file; elsewhere one request with the condition that the
        name does not exist. Raises OutputError where a disk has no hard links, StorageError.
        """
        with storage_errors("create", self.path(name)):
            return self._create_local(name, data) if self.local else self._create_remote(name, data)

    def _create_local(self, name: str, data: bytes) -> bool:
        with self._finished(name, data) as temporary:
            try:
                os.link(temporary, self.path(name))
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                raise OutputError(
                    f"{self.key}: {self.path(name)}: this filesystem makes no hard links "
                    f"({error.strerror}), and without them two runs could create the same name; "
                    "choose another disk, or a bucket"
                ) from error
            keep_names(Path(self.path(name)).parent)
        return True

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
        """A hidden file beside a name's place that holds the data; gone at the end of the block."""
        with self._temporary(name) as temporary:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield temporary

    @contextmanager
    def _temporary(self, name: str) -> Iterator[Path]:
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
        """A local path to write to; at the end of the block the file takes its name, whole."""
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
        """Copy one name to another; the target appears whole.

        Raises FileNotFoundError where there is no source, StorageError.
        """
        # Azure may copy later than it says so
        if self.local or protocol_of(self.url) in AZURE:
            self.write(target, self.read(source))
            return
        try:
            with storage_errors("copy to", self.path(target)):
                self.filesystem.cp_file(self.path(source), self.path(target))
        except StorageError:
            if self.exists(source):
                raise
            raise FileNotFoundError(self.path(source)) from None

    def names(self, directory: str) -> list[str]:
        """Names of the files directly in a directory, sorted; none where it does not exist."""
        return [name for name, kind in self._list(directory) if kind == "file"]

    def entries(self, directory: str) -> list[str]:
        """As `names`, directories included."""
        return [name for name, _ in self._list(directory)]

    def _list(self, directory: str) -> list[tuple[str, str]]:
        path = self.path(directory)
        with storage_errors("list", path):
            try:
                entries = self.filesystem.ls(path, detail=True)
            except FileNotFoundError:
                return []
        found = [(entry["name"].rsplit("/", 1)[-1], entry["type"]) for entry in entries]
        return sorted((name, kind) for name, kind in found if name and not name.startswith("."))

    def exists(self, name: str) -> bool:
        with storage_errors("look for", self.path(name)):
            return bool(self.filesystem.exists(self.path(name)))

    def size(self, name: str) -> int | None:
        """Bytes of a name, or None where it does not exist."""
        with storage_errors("look at", self.path(name)):
            try:
                return int(self.filesystem.size(self.path(name)))
            except FileNotFoundError:
                return None

    def remove(self, name: str) -> None:
        """Remove a file or a directory with all in it; nothing where it does not exist."""
        path = self.path(name)
        with storage_errors("remove", path), suppress(FileNotFoundError):
            if self.local:
                self.filesystem.rm(path, recursive=True)
            else:
                self._remove_remote(self.filesystem.find(path))

    def remove_matching(self, directory: str, matches: Callable[[str], bool]) -> None:
        """Remove the files directly in a directory that `gone` names, in few calls. Files that a
        writer was killed over count by the names that they would have taken."""
        path = self.path(directory)
        with storage_errors("clear", path), suppress(FileNotFoundError):
            found = [entry["name"] for entry in self.filesystem.ls(path, detail=True)]
            chosen = [each for each in found if matches(each.rsplit("/", 1)[-1].lstrip("."))]
            if self.local:
                for each in chosen:
                    Path(each).unlink(missing_ok=True)
            else:
                self._remove_remote(chosen)

    def _remove_remote(self, paths: Sequence[str]) -> None:
        """Of many that are removed in one call, the filesystem does not say which were refused."""
        if len(paths) == 1:
            self.filesystem.rm_file(paths[0])
        elif protocol_of(self.url) in AZURE:
            # of many at once, adlfs leaves the others where one is gone already
            with ThreadPoolExecutor(_REMOVERS) as pool:
                list(pool.map(self._remove_one, paths))
        elif paths:
            self.filesystem.rm(list(paths))
            self.filesystem.invalidate_cache()
            if left := [each for each in (paths[0], paths[-1]) if self.filesystem.exists(each)]:
                raise PermissionError(errno.EACCES, "it was refused, and is still there", left[0])

    def _remove_one(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self.filesystem.rm_file(path)

    @contextmanager
    def open(self, name: str) -> Iterator[Any]:
        """A seekable file to read from, closed at the end of the block. What is read is what was
        asked for: on S3 nothing is read ahead."""
        where = self.path(name)
        with (
            storage_errors("read", where),
            self.filesystem.open(where, "rb", cache_type="none") as file,
        ):
            yield file
