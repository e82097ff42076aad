from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

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


async def test_tokens_given_back_before_the_block_ends_admit_the_next_one() -> None:
    admission = Admission(100)
    log: list[int] = []
    async with admission.hold(100) as hold:
        waiting = asyncio.create_task(_hold(admission, 70, log, 1))
        await asyncio.sleep(0)
        hold.shrink(31)
        await asyncio.sleep(0.01)
        assert log == [] and admission.in_flight_tokens == 31
        hold.shrink(30)
        await waiting
        assert log == [1] and admission.in_flight_tokens == 30
    assert admission.in_flight_tokens == 0


async def test_a_reservation_never_grows() -> None:
    admission = Admission(100)
    async with admission.hold(40) as hold:
        hold.shrink(50)
        assert hold.tokens == admission.in_flight_tokens == 40


async def test_a_request_larger_than_the_capacity_gives_back_what_it_needs_no_more() -> None:
    admission = Admission(100)
    async with admission.hold(250) as hold:
        hold.shrink(120)
        assert admission.in_flight_tokens == 100
        hold.shrink(60)
        assert admission.in_flight_tokens == 60


async def test_a_waiting_request_is_counted_again_until_it_is_admitted() -> None:
    admission = Admission(100)
    sizes = iter([90, 80, 50, 40])
    async with admission.hold(60) as first:
        waiting = asyncio.create_task(_size_of(admission, lambda: next(sizes)))
        await asyncio.sleep(0)
        for tokens in (59, 58):
            first.shrink(tokens)
            await asyncio.sleep(0)
        assert not waiting.done()
        first.shrink(50)
        assert await waiting == 40
    assert admission.in_flight_tokens == 0


async def _size_of(admission: Admission, count: Callable[[], int]) -> int:
    async with admission.hold(count) as hold:
        return hold.tokens


@dataclass(frozen=True)
class _Holder:
    """A request of the property test: its size when counted first and later, what it keeps after
    each step, and after how many turns of the loop it is cancelled, if ever."""

    sizes: tuple[int, int]
    keeps: tuple[int, ...]
    fails: bool
    cancelled_after: int | None

    async def run(self, admission: Admission, started: list[int], number: int) -> None:
        sizes = iter(self.sizes)
        last = self.sizes[-1]
        async with admission.hold(lambda: next(sizes, last)) as hold:
            started.append(number)
            for tokens in self.keeps:
                await asyncio.sleep(0)
                hold.shrink(tokens)
                assert 0 <= admission.in_flight_tokens <= admission.capacity_tokens
            if self.fails:
                raise ZeroDivisionError


_HOLDERS = st.builds(
    _Holder,
    st.tuples(st.integers(0, 150), st.integers(0, 150)),
    st.lists(st.integers(0, 150), max_size=4).map(tuple),
    st.booleans(),
    st.none() | st.integers(0, 12),
)


@given(st.lists(_HOLDERS, max_size=25))
def test_every_holder_is_admitted_in_order_and_all_tokens_return_after_errors_and_cancellation(
    holders: list[_Holder],
) -> None:
    async def run() -> None:
        admission = Admission(100)
        started: list[int] = []
        tasks = [
            asyncio.create_task(holder.run(admission, started, number))
            for number, holder in enumerate(holders)
        ]
        for turn in range(13):
            for holder, task in zip(holders, tasks, strict=True):
                if holder.cancelled_after == turn:
                    task.cancel()
            await asyncio.sleep(0)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for holder, result in zip(holders, results, strict=True):
            cancelled = isinstance(result, asyncio.CancelledError)
            assert (cancelled and holder.cancelled_after is not None) or (
                isinstance(result, ZeroDivisionError) if holder.fails else result is None
            )
        assert started == sorted(started)
        assert admission.in_flight_tokens == 0

    asyncio.run(run())


def test_a_capacity_of_zero_is_an_error() -> None:
    with pytest.raises(ValueError, match="capacity_tokens is 0"):
        Admission(0)
