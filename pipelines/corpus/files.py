"""The files of a corpus: find the files of Parquet and JSON lines of a path, directory or glob.

Knows names, sizes and versions of files, and reads the first bytes of some; knows nothing of their
content.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

from pipelines.corpus.finding import Finder, LocalFinder, RemoteFinder
from pipelines.corpus.formats import SNIFFED_BYTES, Format, format_of
from pipelines.corpus.not_read import NotRead, printable
from pipelines.corpus.selection import Chosen, Selection, named_file
from pipelines.corpus.tables.columns import TableFile
from pipelines.corpus.tables.recognition import refuse_tables_below
from pipelines.errors import InputError, StorageError
from pipelines.stores.protocols import filesystem_errors, is_local, open_store

_PLAIN_ENDINGS = (".parquet", ".jsonl", ".ndjson", ".json")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the corpus.

    `path` is the file's path on the filesystem of `input.path`, without a protocol. `version`
    changes when the file's content changes: an ETag, a time of change, or another value that the
    store gives; "" if it gives none. The version of a table's data file changes when other rows of
    it are deleted, and `table` states how the file is read; it is None for any other file.
    `format` is the file's Format, or "" if its name tells it.
    """

    path: str
    size_bytes: int
    version: str
    format: str = ""
    table: TableFile | None = field(default=None, compare=False, repr=False)

    def to_record(self) -> dict[str, Any]:
        """Return the file as JSON values by attribute, for a plan's record; `table`, which is
        needed only to index the file, is left out."""
        return {name.name: getattr(self, name.name) for name in fields(self) if name.compare}

    @property
    def kind(self) -> Format | None:
        """The file's format; None for a name that tells none."""
        if self.table is not None:
            return Format.PARQUET
        return Format(self.format) if self.format else format_of(self.path)


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a corpus, sorted by path, and what lies beside them and is not read."""

    files: tuple[SourceFile, ...]
    not_read: NotRead


def list_files(path: str, exclude: str = "") -> list[SourceFile]:
    """Return the files of `list_corpus`."""
    return list(list_corpus(path, exclude).files)


def list_corpus(path: str, exclude: str = "") -> Listing:
    """Return the files of Parquet and JSON lines at `path`, and what is there and is not read.

    `path` is a path or URL of a file, of a directory (with all directories below it), or a glob,
    which may also match directories. The endings of names tell formats; a file without an ending is
    read if its first bytes are those of Parquet. A file that `path` itself names, or whose ending a
    glob names, is judged by its first bytes. Files and directories whose names begin with `_` or
    `.` are not read, as by other readers, unless `path` itself names them. `exclude` is a directory
    below `path` that is not read, the OUTPUT of the run; "" excludes none. Local links are
    followed, and a file with several names is read once.

    Raises InputError if no file matches or the URL is wrong, and StorageError if the filesystem
    fails.
    """
    local = is_local(path)
    try:
        filesystem, root = open_store(path, InputError)
        filesystem.invalidate_cache()
        read = _first_bytes(filesystem, local=local)
        finder = LocalFinder(filesystem, root) if local else RemoteFinder(filesystem, root, path)
        if (file := finder.named()) is not None:
            chosen, not_read = [named_file(file, read(file.path))], NotRead()
        else:
            refuse_tables_below(path, finder.tables(_output(finder, exclude)))
            chosen, not_read = _choose(finder, read, exclude)
    except filesystem_errors(ValueError) as error:
        missing = isinstance(error, ValueError | FileNotFoundError | NotADirectoryError)
        kind = InputError if missing else StorageError
        remedy = "check the path" if missing else "check the connection and the permissions"
        raise kind(f"input.path: cannot list {path}: {error}; {remedy}") from error
    if not chosen:
        raise InputError(_nothing_found(path, not_read))
    return Listing(tuple(map(_source_file, chosen)), not_read)


def _choose(
    finder: Finder, read: Callable[[str], bytes], exclude: str
) -> tuple[list[Chosen], NotRead]:
    """Return the files to read below a directory or for a glob, and what is not read."""
    not_read = NotRead()
    output = _output(finder, exclude)
    selection = Selection(
        top=finder.top,
        in_output=partial(finder.is_within, directory=output) if output else _never,
        first_bytes=read,
        not_read=not_read,
        named_ending=finder.named_ending,
    )
    return selection.choose(finder.files(output, not_read)), not_read


def _output(finder: Finder, exclude: str) -> str:
    """Return the directory to leave out; "" if OUTPUT contains the corpus."""
    within = exclude and not finder.is_within(finder.top, exclude)
    return exclude if within else ""


def _never(_path: str) -> bool:
    return False


def _source_file(chosen: Chosen) -> SourceFile:
    file = chosen.file
    if not file.path.isprintable():
        try:
            file.path.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"{printable(file.path)}: the file's name is not UTF-8; rename the file"
            ) from error
    kind = "" if format_of(file.path) is chosen.format else chosen.format.value
    return SourceFile(file.path, file.size_bytes, file.version, kind)


def _first_bytes(filesystem: Any, *, local: bool) -> Callable[[str], bytes]:
    def read(path: str) -> bytes:
        if local:
            with open(path, "rb") as file:
                return file.read(SNIFFED_BYTES)
        data: bytes = filesystem.cat_file(path, start=0, end=SNIFFED_BYTES)
        return data

    return read


def _nothing_found(path: str, not_read: NotRead) -> str:
    found = not_read.describe()
    remedy = f"{found}. Check the path" if found else "check the path"
    return (
        f"input.path: no file of Parquet or JSON lines at {path} (names that end in "
        f"{', '.join(_PLAIN_ENDINGS)}, the latter also compressed); {remedy}"
    )
