"""Collects the files below `input.path` that are not read: by reason, how many and the first names.

Bounded, however many files there are. Knows names and reasons; knows nothing of filesystems.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

MAX_NAMES = 10
"""The number of names that are kept for each reason."""
_SHOWN_NAMES = 3


class Reason(StrEnum):
    """Why a file, or a directory with all that it contains, is not read. The values are keys of
    the manifest."""

    HIDDEN = "hidden"
    ENDING = "other_ending"
    PARQUET_ENDING = "parquet_with_other_ending"
    NO_ENDING = "no_ending"
    EMPTY = "empty"
    BOOKKEEPING = "bookkeeping"
    OUTPUT = "output"
    SAME_FILE = "same_file"
    BROKEN_LINK = "broken_link"
    LINK_ABOVE = "link_to_directory_above"
    NOT_A_FILE = "not_a_file"


_PHRASES = {
    Reason.HIDDEN: "hidden by a name that begins with _ or .",
    Reason.ENDING: "with other endings",
    Reason.PARQUET_ENDING: "Parquet with other endings, which are read if a glob such as *.bak "
    "names their ending",
    Reason.NO_ENDING: "without an ending and not Parquet",
    Reason.EMPTY: "empty",
    Reason.BOOKKEEPING: "of other tools' bookkeeping",
    Reason.OUTPUT: "OUTPUT of phifleet",
    Reason.SAME_FILE: "further names of files that are read",
    Reason.BROKEN_LINK: "links to nothing",
    Reason.LINK_ABOVE: "links to a directory above",
    Reason.NOT_A_FILE: "pipes, sockets or devices",
}


@dataclass
class NotRead:
    """Counts and first names, by reason, of the files and directories that are not read.

    A directory counts once, with all that it contains, and its name ends with a slash. Names are
    relative to the directory that `input.path` names.
    """

    counts: dict[Reason, int] = field(default_factory=dict)
    names: dict[Reason, list[str]] = field(default_factory=dict)

    def add(self, reason: Reason, name: str) -> None:
        """Count a file or directory, and keep its name if it is one of the first."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        names = self.names.setdefault(reason, [])
        if len(names) < MAX_NAMES:
            names.append(name)

    @property
    def count(self) -> int:
        """The number of files and directories, for all reasons together."""
        return sum(self.counts.values())

    def to_json(self) -> dict[str, Any]:
        """Return `{reason: {"count": number, "first": names}}`, as JSON values, for a manifest."""
        return {
            reason.value: {
                "count": self.counts[reason],
                "first": [printable(name) for name in self.names[reason]],
            }
            for reason in Reason
            if reason in self.counts
        }

    def describe(self) -> str:
        """Return `describe_not_read` of these files."""
        return describe_not_read(self.to_json())


def describe_not_read(reasons: Mapping[str, Any]) -> str:
    """Return one line for people: the number of files and directories, and for each reason the
    first names. Returns "" if there are none. `reasons` is the result of `NotRead.to_json`."""
    count = sum(entry["count"] for entry in reasons.values())
    if not count:
        return ""
    phrases = ", ".join(_phrase(Reason(reason), **entry) for reason, entry in reasons.items())
    things = "file or directory is" if count == 1 else "files or directories are"
    return f"{count:,} {things} not read: {phrases}"


def _phrase(reason: Reason, count: int, first: Sequence[str]) -> str:
    more = ", ..." if count > _SHOWN_NAMES else ""
    return f"{count:,} {_PHRASES[reason]} ({', '.join(first[:_SHOWN_NAMES])}{more})"


def printable(name: str) -> str:
    """Return a file's name on one line: characters that do not print become escape sequences."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)
