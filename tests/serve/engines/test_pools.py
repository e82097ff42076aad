"""A pool on Ray Serve: requests of dead replicas are sent again once, unneeded ones cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from typing import Any

import pytest
from ray.exceptions import RayActorError

from serve.engines.pools import RayServePool
from serve.engines.replica import OK, OVERLOADED, REFUSED, EventBatch, ReplicaReply, ReplicaRequest
from serve.errors import EngineRejected, Overloaded, ReplicasDied

# raised by Ray Serve when it is imported
pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword arguments on .Field.")
WORK = ReplicaRequest("text", "r", prompt_ids=((1, 2),), body={})
SENT, BEGUN = EventBatch("data: a\n\n"), EventBatch("event: progress\n\n", has_answer=False)


class FakeResponse:
    """A handle's response: gives or raises these in turn, and then waits forever."""

    def __init__(self, replies: list[ReplicaReply | Exception]) -> None:
        self._replies = iter(replies)
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def __await__(self) -> Generator[Any, None, ReplicaReply]:
        return self._next().__await__()

    def __aiter__(self) -> AsyncIterator[ReplicaReply]:
        return self

    async def __anext__(self) -> ReplicaReply:
        reply = await self._next()
        if reply == END:
            raise StopAsyncIteration
        return reply

    async def _next(self) -> ReplicaReply:
        for reply in self._replies:
            if isinstance(reply, Exception):
                raise reply
            return reply
        await asyncio.Event().wait()
        raise AssertionError


END: ReplicaReply = ("end", None)
"""Ends a streaming response."""


class FakeHandle:
    """A deployment's handle; its calls return these responses in turn."""

    def __init__(self, *responses: list[ReplicaReply | Exception]) -> None:
        self.responses = [FakeResponse(replies) for replies in responses]
        self._next = iter(self.responses)

    def options(self, **_: Any) -> FakeHandle:
        return self

    def remote(self, work: ReplicaRequest) -> FakeResponse:
        assert work is WORK
        return next(self._next)


async def all_of(pool: RayServePool) -> list[EventBatch]:
    return [batch async for batch in pool.stream(WORK)]


async def test_a_request_whose_replica_dies_is_sent_again_once() -> None:
    pool = RayServePool(FakeHandle([RayActorError()], [(OK, {"a": 1})]))
    assert await pool.answer(WORK) == {"a": 1}
    with pytest.raises(ReplicasDied):
        await RayServePool(FakeHandle([RayActorError()], [RayActorError()])).answer(WORK)


async def test_a_stream_is_sent_again_only_if_nothing_was_received() -> None:
    whole = RayServePool(FakeHandle([RayActorError()], [(OK, SENT), END]))
    assert await all_of(whole) == [SENT]
    broken = RayServePool(FakeHandle([(OK, SENT), RayActorError()])).stream(WORK)
    assert await anext(broken) == SENT
    with pytest.raises(ReplicasDied):
        await anext(broken)


async def test_a_stream_without_a_part_of_the_answer_is_sent_again_and_repeats_no_event() -> None:
    first: list[ReplicaReply | Exception] = [(OK, BEGUN), RayActorError()]
    whole = RayServePool(FakeHandle(first, [(OK, BEGUN), (OK, SENT), END]))
    assert await all_of(whole) == [BEGUN, SENT]
    busy = RayServePool(FakeHandle(first, [(OVERLOADED, 7)])).stream(WORK)
    assert await anext(busy) == BEGUN
    with pytest.raises(ReplicasDied):
        await anext(busy)


async def test_a_rejection_of_a_replica_is_raised() -> None:
    with pytest.raises(Overloaded) as overloaded:
        await RayServePool(FakeHandle([(OVERLOADED, 7)])).answer(WORK)
    assert overloaded.value.retry_after == 7
    with pytest.raises(EngineRejected) as rejected:
        await all_of(RayServePool(FakeHandle([(REFUSED, (400, {"error": {}}))])))
    assert rejected.value.status == 400


async def test_an_answer_after_the_deadline_is_cancelled_in_its_replica() -> None:
    handle = FakeHandle([])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await RayServePool(handle).answer(WORK)
    assert handle.responses[0].cancelled


@pytest.mark.parametrize("sent", [0, 1])
async def test_a_stream_after_the_deadline_is_cancelled_in_its_replica(sent: int) -> None:
    handle = FakeHandle([(OK, SENT)] * sent)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await all_of(RayServePool(handle))
    assert handle.responses[0].cancelled


async def test_a_stream_that_is_closed_early_is_cancelled_in_its_replica() -> None:
    handle = FakeHandle([(OK, SENT)])
    stream = RayServePool(handle).stream(WORK)
    await anext(stream)
    await stream.aclose()
    assert handle.responses[0].cancelled
