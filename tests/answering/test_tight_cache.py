"""Admission by expected answers against admission by whole limits, with a KV cache that is full."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from statistics import mean

import pytest
from tight_cache import Asked, Paper, TightEngine

LIMITS = {"summary": 120, "owner": 128, "code": 128, "record": 300}
_PAPERS = 150
Length = Callable[[int, str], int]
"""The length of the answer to a question about the passage of a number."""


def _papers(length: Length) -> Iterator[Paper]:
    sizes = random.Random("sizes")  # noqa: S311
    for index in range(_PAPERS):
        asked = [
            Asked(name, 30, limit, min(limit, length(index, name)))
            for name, limit in LIMITS.items()
        ]
        yield Paper(sizes.randint(200, 1800), asked)


def _run(papers: Sequence[Paper], *, whole_limits: bool) -> TightEngine:
    engine = TightEngine(10_240, whole_limits=whole_limits)
    asyncio.run(engine.read_all(papers))
    return engine


def _short(index: int, name: str) -> int:
    return {"summary": 60, "owner": 12, "code": 10, "record": 40}[name]


def _long_later(index: int, name: str) -> int:
    return _short(index, name) if index < _PAPERS // 2 else 300


def _now_and_then_long(index: int, name: str) -> int:
    return 300 if (index * 7 + len(name)) % 10 == 0 else _short(index, name)


def _all_long(index: int, name: str) -> int:
    return 300


def _tiny_and_then_long(index: int, name: str) -> int:
    return 300 if (index // 15) % 4 == 3 else 2


def test_short_answers_fill_the_cache_and_take_less_time() -> None:
    papers = list(_papers(_short))
    whole = _run(papers, whole_limits=True)
    shares = _run(papers, whole_limits=False)
    assert shares.preemptions == 0
    assert shares.prefilled == whole.prefilled
    assert shares.steps < 0.75 * whole.steps
    assert mean(shares.use) > mean(whole.use) + 0.1


@pytest.mark.parametrize(
    "length", [_all_long, _long_later, _now_and_then_long, _tiny_and_then_long]
)
def test_long_answers_take_no_more_time_than_with_whole_limits(length: Length) -> None:
    papers = list(_papers(length))
    whole = _run(papers, whole_limits=True)
    shares = _run(papers, whole_limits=False)
    assert shares.seconds <= whole.seconds
    # what preemptions cost
    assert shares.prefilled <= 1.06 * whole.prefilled
