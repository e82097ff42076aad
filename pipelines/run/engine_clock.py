"""The division of a worker's time between its commits.

Several units are in hand at a time, so that their own times overlap and cannot be added. The clock
divides the time of the worker's process instead: each event ends a stretch of time, which belongs
to what the worker did during it.

Pure but for the clock that is passed in. Knows nothing of engines, units' numbers or storage.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from pipelines.documents import Usage
from pipelines.ledger.used import IDLE, Used, Waste, sum_waste


@dataclass
class _Tally:
    """What was counted in a part of a worker's life: seconds, starts of engines, and waste."""

    answering: float = 0.0
    committing: float = 0.0
    starting: float = 0.0
    starts: int = 0
    restarts: int = 0
    waste: Mapping[str, Waste] = field(default_factory=dict)

    def add_waste(self, reason: str, waste: Waste) -> None:
        self.waste = sum_waste((self.waste, {reason: waste}))

    def count_as_waste(self, seconds: float, commit_seconds: float, reason: str) -> None:
        """Count seconds that were counted as answering as waste instead. `commit_seconds` of them
        were counted as committing too."""
        self.answering -= seconds
        self.committing -= commit_seconds
        self.add_waste(reason, Waste(seconds))

    def used(self, holder: Used) -> Used:
        wasted = sum(part.seconds for part in self.waste.values())
        return replace(
            holder,
            engine_seconds=self.answering + self.starting + wasted,
            start_seconds=self.starting,
            starts=self.starts,
            restarts=self.restarts,
            waste=self.waste,
            commit_seconds=self.committing,
        )


class EngineClock:
    """Measures what one worker uses, from its creation on. May be used from several threads.

    The worker's first engine is starting when the clock is made.
    """

    def __init__(self, holder: Used, clock: Callable[[], float] = time.monotonic) -> None:
        """`holder` has the worker's id, device, GPUs and CPUs, and the number of its restarts that
        came before this process. `clock` returns seconds."""
        self._holder = holder
        self._clock = clock
        self._lock = threading.Lock()
        self._mark = clock()
        self._starting = True
        self._in_hand = self._being_committed = 0
        self._uncharged = _Tally(restarts=holder.restarts)
        self._life = _Tally(restarts=holder.restarts)

    def engine_started(self) -> None:
        """End the start of an engine."""
        with self._lock:
            self._settle()
            again = self._life.starts > 0
            for tally in (self._uncharged, self._life):
                tally.starts += 1
                tally.restarts += again
            self._starting = False

    def engine_died(self, reason: str) -> None:
        """Count the time since the latest charge as waste, and begin the start of an engine."""
        with self._lock:
            self._settle()
            seconds, commit_seconds = self._uncharged.answering, self._uncharged.committing
            for tally in (self._uncharged, self._life):
                tally.count_as_waste(seconds, commit_seconds, reason)
            self._starting = True

    def unit_began(self) -> None:
        """Count one more unit in hand. Time without any is idle."""
        with self._lock:
            self._settle()
            self._in_hand += 1

    def unit_ended(self) -> None:
        """Count one unit less in hand."""
        with self._lock:
            self._settle()
            self._in_hand -= 1

    def commit_began(self) -> None:
        """Count one more unit in hand whose answers are being written."""
        with self._lock:
            self._settle()
            self._being_committed += 1

    def commit_ended(self) -> None:
        """Count one unit less whose answers are being written."""
        with self._lock:
            self._settle()
            self._being_committed -= 1

    def waste_tokens(self, reason: str, tokens: Usage) -> None:
        """Count tokens of finished requests that led to no committed answer."""
        if tokens != Usage():
            with self._lock:
                self._waste(reason, Waste(0.0, tokens))

    def charge(self) -> Used:
        """Return all that was used since the latest charge, for the commit that is now made."""
        with self._lock:
            self._settle()
            used = self._uncharged.used(self._holder)
            self._uncharged = _Tally()
            return used

    def refund(self, used: Used, reason: str) -> None:
        """Take back what was charged to a commit that was not made: its time was for nothing."""
        with self._lock:
            seconds = used.answering_seconds
            self._life.count_as_waste(seconds, used.commit_seconds, reason)
            uncharged = self._uncharged
            uncharged.waste = sum_waste((uncharged.waste, used.waste, {reason: Waste(seconds)}))
            uncharged.starting += used.start_seconds
            uncharged.starts += used.starts
            uncharged.restarts += used.restarts

    def total(self) -> Used:
        """Return all that was used so far, charged or not."""
        with self._lock:
            self._settle()
            return self._life.used(self._holder)

    def _settle(self) -> None:
        """Add the time since the last event to what the worker did during it."""
        now = self._clock()
        seconds, self._mark = now - self._mark, now
        if not self._starting and not self._in_hand:
            self._waste(IDLE, Waste(seconds))
            return
        for tally in (self._uncharged, self._life):
            if self._starting:
                tally.starting += seconds
                continue
            tally.answering += seconds
            if self._being_committed == self._in_hand:
                tally.committing += seconds

    def _waste(self, reason: str, waste: Waste) -> None:
        if waste != Waste():
            self._uncharged.add_waste(reason, waste)
            self._life.add_waste(reason, waste)
