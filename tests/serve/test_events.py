"""Tests of server-sent events, single and in batches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from serve.events import batched_events, event


async def batches(events: AsyncIterator[str], streams: int) -> list[str]:
    return [batch async for batch in batched_events(events, lambda: streams)]


async def test_the_first_two_events_are_sent_at_once_and_the_others_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # longer than this test waits, so that a pause would make it fail
    for name in ("_MIN_PAUSE_SECONDS", "_MAX_PAUSE_SECONDS"):
        monkeypatch.setattr(f"serve.events.{name}", 3600)
    received = asyncio.Queue[str]()

    async def events() -> AsyncIterator[str]:
        for text in "ab":
            yield text
            assert await asyncio.wait_for(received.get(), 5) == text
        for text in "cde":
            yield text
            await asyncio.sleep(0.001)

    batches = []
    async for batch in batched_events(events(), lambda: 100):
        batches.append(batch)
        received.put_nowait(batch)
    assert batches == ["a", "b", "cde"]


@pytest.mark.parametrize("count", [0, 1, 2, 500])
@pytest.mark.parametrize("streams", [1, 3])
async def test_no_event_is_lost_or_reordered(count: int, streams: int) -> None:
    async def events() -> AsyncIterator[str]:
        for number in range(count):
            if number % 7 == 0:
                await asyncio.sleep(0)
            yield f"{number},"

    text = "".join(await batches(events(), streams))
    assert text == "".join(f"{number}," for number in range(count))


async def test_an_exception_is_raised_after_the_events_before_it() -> None:
    async def events() -> AsyncIterator[str]:
        yield "a"
        yield "b"
        raise KeyError("gone")

    batches = []
    with pytest.raises(KeyError):
        async for batch in batched_events(events(), lambda: 1):
            batches += [batch]
    assert "".join(batches) == "ab"


async def test_closing_the_stream_ends_the_source() -> None:
    ended = asyncio.Event()

    async def events() -> AsyncIterator[str]:
        try:
            while True:
                yield "a"
                await asyncio.sleep(0.001)
        finally:
            ended.set()

    stream = batched_events(events(), lambda: 1)
    assert await anext(stream) == "a"
    await stream.aclose()
    await asyncio.wait_for(ended.wait(), 5)


def test_an_event_is_one_line_of_json() -> None:
    assert event("part", {"a": "x\ny"}) == 'event: part\ndata: {"a": "x\\ny"}\n\n'
