"""Keeps the limits of a run: states to the workers, once a second, what they may still use.

The progress actor passes the allowance on to workers that report their progress. If it does not
answer, workers count down what they were told last.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pipelines.errors import LimitReached
from pipelines.run.limits import Allowance, RunLimits, Spent
from pipelines.run.state import RunState

_INTERVAL_SECONDS = 1.0


@dataclass(frozen=True)
class LimitKeeper:
    """Watches the limits of one run. `engines` is the number of engines that it runs at most."""

    limits: RunLimits
    state: RunState
    engines: int
    _refused: threading.Event = field(default_factory=threading.Event, init=False)

    def spent(self) -> Spent:
        """Return what the run has used, in all sessions."""
        state, progress = self.state, self.state.progress()
        earlier, committed = state.books.earlier, state.books.committed
        in_hand = [unit for number, unit in progress.units.items() if number in state.left]
        seconds = earlier.gpu_seconds if self.limits.gpus else earlier.used.engine_seconds
        seconds += progress.engine_seconds * (self.limits.gpus or 1.0)
        return Spent(
            hours=seconds / 3600,
            documents=state.documents,
            dead_letters=committed.dead_letters + sum(unit.dead_letters for unit in in_hand),
            planned_seconds=state.seconds_done,
            answering_seconds=committed.used.answering_seconds,
        )

    def allowance(self) -> Allowance:
        """Return what each worker may still do."""
        return self.limits.allowance(self.spent(), self.engines, datetime.now(UTC))

    def check(self) -> None:
        """Raise LimitReached if no unit that is left may be begun."""
        allowance = self.allowance()
        left = self.state.left.values()
        if left and not any(allowance.allows(unit.seconds) for unit in left):
            raise self.reached()

    def reached(self) -> LimitReached:
        """Return the error that says which limit ends the run, and what is left to do."""
        state, spent = self.state, self.spent()
        seconds = sum(unit.seconds for unit in state.left.values()) * spent.pace
        hours = seconds * (self.limits.gpus or 1.0) / 3600
        left = sum(unit.rows for unit in state.left.values())
        what = "GPU hours" if self.limits.gpus else "engine hours"
        why = self.limits.reached(spent, self.engines, datetime.now(UTC))
        return LimitReached(
            f"{why}. {state.units_done:,} of {state.units:,} units are committed and kept; "
            f"{left:,} of {state.documents:,} documents are left, which need about {hours:.2g} "
            f"{what} more. Raise the limit, and run the same command again"
        )

    def not_begun(self) -> None:
        """Note that a worker did not begin a unit. Raises LimitReached once none has one in hand;
        the units that are left need not be refused one by one."""
        self._refused.set()
        if not any(unit.committed is None for unit in self.state.progress().units.values()):
            raise self.reached()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the limits of the units that run in the block. Raises LimitReached if no unit that
        is left may be begun, or if some were not begun; as `Books.wait`."""
        if not self.limits.any:
            yield
            return
        self.state.books.wait()
        self.check()
        self.state.allow(self.allowance())
        with self._stated():
            yield
        if self._refused.is_set():
            raise self.reached()

    @contextmanager
    def _stated(self) -> Iterator[None]:
        ended = threading.Event()

        def state_allowance() -> None:
            while not ended.wait(_INTERVAL_SECONDS):
                self.state.allow(self.allowance())

        thread = threading.Thread(target=state_allowance, name="limits", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
