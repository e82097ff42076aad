"""Converts the full locations by which an Iceberg table names its files to paths of the input."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Locations:
    """The files of one table.

    `location` is the table's location as its metadata states it, and `root` its directory on the
    input's filesystem. They differ if the table was copied, or if the metadata spells the store in
    another way; then the files below `root` are read, which is the table that the user named.
    """

    location: str
    root: str

    def path(self, location: str) -> str:
        """Return the path on the input's filesystem of a file that the metadata names."""
        prefix = self.location.rstrip("/") + "/"
        if location.startswith(prefix):
            return f"{self.root}/{location[len(prefix) :]}"
        return plain_path(location)


def plain_path(location: str) -> str:
    """Return a location without its protocol; a local file's begins with one slash."""
    protocol, separator, rest = location.partition(":")
    if not separator or "/" in protocol:
        return location
    if protocol in ("file", "local"):
        return "/" + rest.lstrip("/")
    return rest.lstrip("/")
