from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.engine.admission import Admission


async def _hold(admission: Admission, tokens: int, log: list[int], name: int) -> None:
    async with admission.hold(tokens):
        log.append(name)
        assert admission.in_flight_tokens <= admission.capacity_tokens
        await asyncio.sleep(0)


@given(st.lists(st.integers(1, 150), max_size=30))
def test_tokens_in_flight_stay_within_the_capacity_and_waiters_keep_their_order(
    sizes: list[int],
) -> None:
    async def run() -> None:
        admission = Admission(100)
        log: list[int] = []
        await asyncio.gather(*(_hold(admission, s, log, i) for i, s in enumerate(sizes)))
        assert log == sorted(log)
        assert admission.in_flight_tokens == 0

    asyncio.run(run())


async def test_a_request_larger_than_the_capacity_is_admitted_when_nothing_else_is_in_flight() -> (
    None
):
    admission = Admission(100)
    async with admission.hold(1_000):
        assert admission.in_flight_tokens == 100
        waiting = asyncio.create_task(_hold(admission, 1, [], 0))
        await asyncio.sleep(0.01)
        assert not waiting.done()
    await waiting


async def test_a_small_request_does_not_overtake_a_large_one() -> None:
    admission = Admission(100)
    log: list[int] = []
    async with admission.hold(60):
        large = asyncio.create_task(_hold(admission, 80, log, 1))
        await asyncio.sleep(0)
        small = asyncio.create_task(_hold(admission, 10, log, 2))
        await asyncio.sleep(0.01)
        assert log == []
    await asyncio.gather(large, small)
    assert log == [1, 2]


async def test_cancelling_a_waiter_admits_the_next_one() -> None:
    admission = Admission(100)
    log: list[int] = []
    async with admission.hold(60):
        large = asyncio.create_task(_hold(admission, 80, log, 1))
        await asyncio.sleep(0)
        small = asyncio.create_task(_hold(admission, 10, log, 2))
        await asyncio.sleep(0)
        large.cancel()
        await asyncio.sleep(0.01)
        assert log == [2]
    await small
    assert admission.in_flight_tokens == 0


async def test_cancelling_one_just_admitted_returns_its_tokens() -> None:
    admission = Admission(100)
    async with admission.hold(100):
        waiting = asyncio.create_task(_hold(admission, 50, [], 0))
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert admission.in_flight_tokens == 0


def test_a_capacity_of_zero_is_an_error() -> None:
    with pytest.raises(ValueError, match="capacity_tokens is 0"):
        Admission(0)
