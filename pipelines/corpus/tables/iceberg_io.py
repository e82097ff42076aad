"""The files of an Iceberg table, read through the filesystem of `input.path`.

pyiceberg makes its own clients otherwise, with other credentials and settings than all other files
are read with. Importing this module needs pyiceberg.
"""

from __future__ import annotations

from typing import Any

from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile

from pipelines.corpus.tables.locations import Locations
from pipelines.errors import InputError
from pipelines.stores.protocols import open_store

URL, LOCATION, ROOT = "phifleet.url", "phifleet.location", "phifleet.root"
"""The properties of a StoreIO: a URL in the store, the location that the table's metadata states,
and the table's directory on the store's filesystem."""


class StoreFile(InputFile):
    """A file of the store, for reading."""

    def __init__(self, location: str, filesystem: Any, path: str) -> None:
        super().__init__(location)
        self._filesystem = filesystem
        self._path = path

    def __len__(self) -> int:
        return int(self._filesystem.size(self._path))

    def exists(self) -> bool:
        """Return whether the file exists."""
        return bool(self._filesystem.exists(self._path))

    def open(self, seekable: bool = True) -> InputStream:
        """Open the file; it is always seekable."""
        stream: InputStream = self._filesystem.open(self._path, "rb")
        return stream


class StoreIO(FileIO):
    """Opens a table's files, which its metadata names by their location, for reading only."""

    def new_input(self, location: str) -> InputFile:
        """Return the file at a location."""
        filesystem, _ = open_store(self.properties[URL], InputError)
        known = Locations(self.properties[LOCATION], self.properties[ROOT])
        return StoreFile(location, filesystem, known.path(location))

    def new_output(self, location: str) -> OutputFile:
        """Refuse to write."""
        raise NotImplementedError(f"{location}: tables of the input are not written")

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Refuse to delete."""
        raise NotImplementedError(f"{location}: tables of the input are not changed")
