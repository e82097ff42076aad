"""Small units are kept in flight in larger numbers, so that the engine does not run empty."""

from __future__ import annotations

import pytest

from pipelines.corpus.units import Unit
from pipelines.run.pools import units_in_flight


@pytest.mark.parametrize(
    ("seconds", "in_flight"), [(30.0, 3), (60.0, 3), (10.0, 9), (0.1, 32), (0.0, 32)]
)
def test_units_in_flight_take_as_long_as_three_usual_ones(seconds: float, in_flight: int) -> None:
    units = [Unit(n, "short", "text", 0, 1, 1, 1, seconds, "") for n in range(4)]
    assert units_in_flight(units, 30.0) == in_flight
