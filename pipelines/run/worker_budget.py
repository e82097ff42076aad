"""Decides for one worker whether it may begin a unit, by what the driver allows.

Pure but for the account's clock. Knows no Ray.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pipelines.run.limits import Allowance
from pipelines.run.worker_account import WorkerAccount


@dataclass
class WorkerBudget:
    """The allowance of one worker, and the planned seconds of its units in hand."""

    account: WorkerAccount
    _allowance: Allowance = field(default_factory=Allowance, init=False)
    _stated: float = field(default=0.0, init=False)
    _planned: dict[int, float] = field(default_factory=dict, init=False)

    def restate(self, allowance: Allowance | None) -> None:
        """Replace the allowance, unless it is None; its seconds count from now on."""
        if allowance is not None:
            self._allowance, self._stated = allowance, self.account.now()

    def begin(self, unit: int, seconds: float) -> bool:
        """Return whether a unit with this planned time may be begun, and if so note it until the
        block of `in_hand` ends."""
        elapsed = self.account.now() - self._stated
        if not self._allowance.allows(self._left_in_hand() + seconds, elapsed):
            return False
        self._planned[unit] = seconds
        return True

    @contextmanager
    def in_hand(self, unit: int) -> Iterator[None]:
        """Count the unit as in hand during the block."""
        try:
            yield
        finally:
            del self._planned[unit]

    def _left_in_hand(self) -> float:
        """Return the planned seconds of documents in hand that are not finished."""
        left, units = 0.0, self.account.progress.units
        for number, seconds in self._planned.items():
            unit = units.get(number)
            done = unit.documents / unit.rows if unit is not None and unit.rows else 0.0
            left += seconds * (1 - min(1.0, done))
        return left
