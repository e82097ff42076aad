"""The sums that a driver knows while it runs: over commits, and over what earlier sessions left.

For display, metrics and heartbeats. The manifest is made from all commits, which are read again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.errors import PhifleetError
from pipelines.ledger.accounts import Account, bill, sum_commits, uncommitted
from pipelines.ledger.heartbeat import KnownCommits, Sessions, read_known, read_sessions
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.records import Commit
from pipelines.ledger.settling import settle
from pipelines.ledger.worker_records import (
    merge_worker_records,
    read_worker_records,
)

_LOGGER = logging.getLogger(__name__)
_LOADING_SECONDS = 2.0


@dataclass
class Books:
    """Sums over the commits of a run. May be used from several threads.

    Attributes:
        earlier: the account of all sessions before this one.
        uncommitted: the part of it that no commit states.
        sessions: what the drivers before this one have said.
        complete: True once the sums of earlier sessions are read.
    """

    earlier: Account = field(default_factory=Account)
    uncommitted: Account = field(default_factory=Account)
    sessions: Sessions = field(default_factory=Sessions)
    complete: bool = False
    _known: KnownCommits = field(default_factory=KnownCommits)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _waiting: list[Commit] = field(default_factory=list)
    _loader: threading.Thread | None = None
    _error: PhifleetError | None = None

    def open(self, ledger: Ledger, generation: int) -> None:
        """Read the sums that sessions before `generation` left, in a thread, and wait two seconds
        for it.

        The heartbeat of the last session has most of them. Commits after it are read one by one, as
        are all commits of a version without heartbeats, which may take long.
        """
        self._loader = threading.Thread(target=self._load, args=(ledger, generation), daemon=True)
        self._loader.start()
        self._loader.join(_LOADING_SECONDS)

    def wait(self) -> None:
        """Wait until the sums of earlier sessions are read. Raises StorageError, and OutputError
        for a damaged record."""
        if self._loader is not None:
            self._loader.join()
        if self._error is not None:
            raise self._error

    def _load(self, ledger: Ledger, generation: int) -> None:
        storage = ledger.storage
        try:
            sessions = read_sessions(storage, before=generation)
            known = read_known(ledger, sessions.known, ledger.committed())
            records = [r for r in read_worker_records(storage) if r.generation < generation]
            beyond = uncommitted(known.sums, settle(storage, records))
        except PhifleetError as error:
            _LOGGER.warning("the sums of earlier sessions cannot be read: %s", error)
            self._error = error
            return
        with self._lock:
            self.sessions, self.uncommitted, self.complete = sessions, beyond, True
            self.earlier = known.sums.account + beyond
            self._known = known
            for commit in self._waiting:
                self._add(commit)
            self._waiting.clear()

    def read_again(self, ledger: Ledger) -> None:
        """Read the sums over all commits again if units were revised since they were read. Raises
        StorageError, and OutputError for a damaged commit."""
        with self._lock:
            if self.complete:
                self._known = read_known(ledger, self._known, ledger.committed())

    def add(self, commit: Commit) -> None:
        """Add the commit of a unit, once."""
        with self._lock:
            if not self.complete:
                self._waiting.append(commit)
            self._add(commit)

    def _add(self, commit: Commit) -> None:
        bit, known = 1 << commit.unit, self._known
        if not known.units & bit:
            sums = known.sums + sum_commits([commit])
            self._known = KnownCommits(known.units | bit, known.revisions, sums)

    @property
    def known(self) -> KnownCommits:
        """The sums over the commits known so far."""
        with self._lock:
            return self._known

    @property
    def committed(self) -> Account:
        """The account of the commits known so far."""
        return self.known.sums.account


def close_books(ledger: Ledger, generation: int, commits: Sequence[Commit]) -> Account:
    """Return the account of a run whose units are all committed, and merge its workers' records.

    `generation` is that of this driver's lease; its workers have no more work. Raises StorageError,
    and OutputError for a damaged record.
    """
    storage = ledger.storage
    records = [r for r in read_worker_records(storage) if r.generation <= generation]
    records = settle(storage, records, finished=generation)
    merge_worker_records(storage, records, generation)
    return bill(sum_commits(commits), records)


def wall_seconds(
    ledger: Ledger, books: Books, manifest: Mapping[str, Any], session_seconds: float
) -> float:
    """Return the seconds of all sessions, this one included, or those in the recorded manifest if
    nothing was answered since. Raises StorageError, and OutputError for a damaged manifest."""
    earlier = ledger.manifest()
    same = ("units", "bill")
    if earlier and "wall_seconds" in earlier and all(earlier.get(k) == manifest[k] for k in same):
        return float(earlier["wall_seconds"])
    return round(books.sessions.wall_seconds + session_seconds, 2)
