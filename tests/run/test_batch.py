"""Tests of the parts of a batch run that need no cluster."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipelines.corpus.units import LONG, SHORT, Unit
from pipelines.run.pools import share_engines


def _unit(pool: str, seconds: float) -> Unit:
    return Unit(0, pool, "text.parquet", 0, 1, 1, 1, seconds, "ids")


def test_pools_share_engines_in_proportion_to_their_seconds() -> None:
    pools = [[_unit(SHORT, 300.0)], [_unit(LONG, 100.0)]]
    assert share_engines(pools, 10) == [7, 3]
    assert share_engines(pools, 2) == [1, 1]
    assert share_engines(pools[:1], 4) == [4]
    assert share_engines([[_unit(SHORT, 0.0)]], 4) == [1]


@given(
    st.lists(st.floats(1e-3, 1e9), min_size=1, max_size=2), st.integers(min_value=2, max_value=64)
)
def test_every_engine_belongs_to_a_pool(seconds: list[float], engines: int) -> None:
    shares = share_engines([[_unit(SHORT, share)] for share in seconds], engines)
    assert sum(shares) == engines
    assert min(shares) >= 1
