"""Server-sent events, one at a time and together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from serve.events import event, gathered


async def sent(events: AsyncIterator[str], streams: int = 100) -> list[str]:
    return [each async for each in gathered(events, lambda: streams)]


async def test_the_first_two_are_sent_at_once_and_the_others_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # more than anybody here waits for
    for name in ("_LEAST_SECONDS", "_MOST_SECONDS"):
        monkeypatch.setattr(f"serve.events.{name}", 3600)
    heard = asyncio.Queue[str]()

    async def events() -> AsyncIterator[str]:
        for each in "ab":
            yield each
            assert await asyncio.wait_for(heard.get(), 5) == each
        for each in "cde":
            yield each
            await asyncio.sleep(0.001)

    got = []
    async for each in gathered(events(), lambda: 100):
        got.append(each)
        heard.put_nowait(each)
    assert got == ["a", "b", "cde"]


@pytest.mark.parametrize("count", [0, 1, 2, 500])
@pytest.mark.parametrize("streams", [1, 3])
async def test_nothing_is_lost_or_changed_in_order(count: int, streams: int) -> None:
    async def events() -> AsyncIterator[str]:
        for number in range(count):
            if number % 7 == 0:
                await asyncio.sleep(0)
            yield f"{number},"

    got = "".join(await sent(events(), streams))
    assert got == "".join(f"{number}," for number in range(count))


async def test_an_error_comes_after_what_came_before_it() -> None:
    async def events() -> AsyncIterator[str]:
        yield "a"
        yield "b"
        raise KeyError("gone")

    got = []
    with pytest.raises(KeyError):
        async for each in gathered(events(), lambda: 1):
            got += [each]
    assert "".join(got) == "ab"


async def test_who_stops_listening_stops_the_work() -> None:
    ended = asyncio.Event()

    async def events() -> AsyncIterator[str]:
        try:
            while True:
                yield "a"
                await asyncio.sleep(0.001)
        finally:
            ended.set()

    listening = gathered(events(), lambda: 1)
    assert await anext(listening) == "a"
    await listening.aclose()
    await asyncio.wait_for(ended.wait(), 5)


def test_an_event_is_one_line_of_json() -> None:
    assert event("part", {"a": "x\ny"}) == 'event: part\ndata: {"a": "x\\ny"}\n\n'
