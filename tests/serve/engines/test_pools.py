"""A pool's handle: what dies is asked once more, and what nobody waits for is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from typing import Any

import pytest
from ray.exceptions import RayActorError

from serve.engines.pools import RayServePool
from serve.engines.replica import OK, OVERLOADED, REFUSED, EventBatch, ReplicaReply, ReplicaRequest
from serve.errors import EngineRejected, Overloaded, ReplicasDied

# Ray Serve's own, when it is imported
pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword arguments on .Field.")
WORK = ReplicaRequest("text", "r", prompt_ids=((1, 2),), body={})
SENT, BEGUN = EventBatch("data: a\n\n"), EventBatch("event: progress\n\n", has_answer=False)


class FakeResponse:
    """What a handle gives back: it tells what it is given, raises an exception of it, and waits for
    ever where there is nothing more."""

    def __init__(self, told: list[ReplicaReply | Exception]) -> None:
        self._told = iter(told)
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def __await__(self) -> Generator[Any, None, ReplicaReply]:
        return self._next().__await__()

    def __aiter__(self) -> AsyncIterator[ReplicaReply]:
        return self

    async def __anext__(self) -> ReplicaReply:
        told = await self._next()
        if told == END:
            raise StopAsyncIteration
        return told

    async def _next(self) -> ReplicaReply:
        for each in self._told:
            if isinstance(each, Exception):
                raise each
            return each
        await asyncio.Event().wait()
        raise AssertionError


END: ReplicaReply = ("end", None)


class FakeHandle:
    """A deployment's handle; its calls are answered by these in turn."""

    def __init__(self, *responses: list[ReplicaReply | Exception]) -> None:
        self.responses = [FakeResponse(told) for told in responses]
        self._next = iter(self.responses)

    def options(self, **_: Any) -> FakeHandle:
        return self

    def remote(self, work: ReplicaRequest) -> FakeResponse:
        assert work is WORK
        return next(self._next)


async def all_of(pool: RayServePool) -> list[EventBatch]:
    return [each async for each in pool.stream(WORK)]


async def test_a_replica_that_dies_is_replaced_once() -> None:
    pool = RayServePool(FakeHandle([RayActorError()], [(OK, {"a": 1})]))
    assert await pool.answer(WORK) == {"a": 1}
    with pytest.raises(ReplicasDied):
        await RayServePool(FakeHandle([RayActorError()], [RayActorError()])).answer(WORK)


async def test_a_stream_is_begun_again_only_where_nothing_was_sent() -> None:
    whole = RayServePool(FakeHandle([RayActorError()], [(OK, SENT), END]))
    assert await all_of(whole) == [SENT]
    broken = RayServePool(FakeHandle([(OK, SENT), RayActorError()])).stream(WORK)
    assert await anext(broken) == SENT
    with pytest.raises(ReplicasDied):
        await anext(broken)


async def test_a_stream_that_told_of_no_answer_yet_is_begun_again_and_says_so_once() -> None:
    first: list[ReplicaReply | Exception] = [(OK, BEGUN), RayActorError()]
    whole = RayServePool(FakeHandle(first, [(OK, BEGUN), (OK, SENT), END]))
    assert await all_of(whole) == [BEGUN, SENT]
    busy = RayServePool(FakeHandle(first, [(OVERLOADED, 7)])).stream(WORK)
    assert await anext(busy) == BEGUN
    with pytest.raises(ReplicasDied):
        await anext(busy)


async def test_what_a_replica_refuses_is_raised() -> None:
    with pytest.raises(Overloaded) as busy:
        await RayServePool(FakeHandle([(OVERLOADED, 7)])).answer(WORK)
    assert busy.value.retry_after == 7
    with pytest.raises(EngineRejected) as refused:
        await all_of(RayServePool(FakeHandle([(REFUSED, (400, {"error": {}}))])))
    assert refused.value.status == 400


async def test_an_answer_that_comes_too_late_is_stopped_in_its_replica() -> None:
    handle = FakeHandle([])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await RayServePool(handle).answer(WORK)
    assert handle.responses[0].cancelled


@pytest.mark.parametrize("sent", [0, 1])
async def test_a_stream_that_comes_too_late_is_stopped_in_its_replica(sent: int) -> None:
    handle = FakeHandle([(OK, SENT)] * sent)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await all_of(RayServePool(handle))
    assert handle.responses[0].cancelled


async def test_a_stream_that_nobody_reads_on_is_stopped_in_its_replica() -> None:
    handle = FakeHandle([(OK, SENT)])
    stream = RayServePool(handle).stream(WORK)
    await anext(stream)
    await stream.aclose()
    assert handle.responses[0].cancelled
