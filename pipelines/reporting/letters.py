"""Reads the dead letters of a run, also while it goes on: counts, similar messages, and rows.

Reads the files in OUTPUT/dead_letters one after the other, some ahead, and keeps counts, groups and
the wanted rows: the memory does not grow with the number of dead letters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.ledger.names import DEAD_LETTERS
from pipelines.ledger.records import readable
from pipelines.reporting.messages import MessageGroup, MessageGroups, are_like, message_patterns
from pipelines.storage import Storage

# Files that are read at the same time; each has the dead letters of one unit and is read whole.
_PARALLEL = 16


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which dead letters are wanted: those with this reason, of this task, and with a message like
    `like` (see `messages.are_like`); None stands for all."""

    reason: str | None = None
    task: str | None = None
    like: str | None = None

    def chosen(self, letters: pa.Table) -> pa.Table:
        """Return the wanted rows of a table of dead letters that has the column `pattern` too."""
        for name in ("reason", "task"):
            if (value := getattr(self, name)) is not None:
                letters = letters.filter(pc.fill_null(pc.equal(letters[name], value), False))
        return letters if self.like is None else letters.filter(are_like(letters, self.like))


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """The dead letters with one reason: `documents` that failed as a whole, and single `tasks`."""

    reason: str
    documents: int
    tasks: int


@dataclass(frozen=True, slots=True)
class Letters:
    """The wanted dead letters of a run.

    `counts` has the most frequent reason first, and `groups` the most frequent messages. `rows` are
    the first dead letters in the order of their units, as JSON values by column. `ungrouped` counts
    dead letters of rare messages that are in no group.
    """

    counts: Sequence[ReasonCount]
    groups: Sequence[MessageGroup]
    rows: Sequence[dict[str, Any]]
    ungrouped: int

    @property
    def total(self) -> int:
        """The number of all wanted dead letters."""
        return sum(count.documents + count.tasks for count in self.counts)


@dataclass
class _Collected:
    wanted: LetterFilter
    max_rows: int
    documents: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    groups: MessageGroups = field(default_factory=MessageGroups)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, letters: pa.Table) -> None:
        letters = letters.append_column("pattern", message_patterns(letters["message"]))
        letters = self.wanted.chosen(letters)
        if not letters.num_rows:
            return
        whole = pc.is_null(letters["task"])
        for counter, rows in ((self.documents, whole), (self.tasks, pc.invert(whole))):
            for count in pc.value_counts(letters["reason"].filter(rows)).to_pylist():
                counter[count["values"]] += count["counts"]
        self.groups.add(letters)
        shown = letters.slice(0, self.max_rows - len(self.rows))
        self.rows += shown.drop_columns(["pattern"]).to_pylist()


def read_letters(storage: Storage, wanted: LetterFilter, max_rows: int, groups: int) -> Letters:
    """Read the published dead letters of the run in `storage`.

    Returns at most `max_rows` rows and `groups` groups. Raises OutputError if a file is damaged,
    StorageError.
    """
    collected = _Collected(wanted, max_rows)
    for letters in _files(storage):
        collected.add(letters)
    reasons = collected.documents + collected.tasks
    return Letters(
        counts=[
            ReasonCount(reason, collected.documents[reason], collected.tasks[reason])
            for reason, _ in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        ],
        groups=collected.groups.most_frequent(groups),
        rows=collected.rows,
        ungrouped=collected.groups.ungrouped.total(),
    )


def _files(storage: Storage) -> Iterator[pa.Table]:
    """Yield each file's dead letters. A file that a run removes meanwhile is left out: its dead
    letters have been answered or withdrawn."""
    names = iter(storage.names(DEAD_LETTERS))
    with ThreadPoolExecutor(_PARALLEL) as pool:
        while some := list(islice(names, _PARALLEL)):
            for name, data in zip(some, pool.map(lambda n: _read(storage, n), some), strict=True):
                if data is not None:
                    with readable(storage.path(f"{DEAD_LETTERS}/{name}")):
                        yield pq.read_table(pa.BufferReader(data))


def _read(storage: Storage, name: str) -> bytes | None:
    # one request, so that a file that is replaced meanwhile is the old one or the new one
    return storage.read_if_exists(f"{DEAD_LETTERS}/{name}")
