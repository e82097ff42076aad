"""Server-sent events: how one is written, and several sent together where many are under way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from typing import Any

# Sending costs every process on the way: so long is waited for more, and longer by so much for each
# stream that is under way, but never longer than a reader would notice.
_LEAST_SECONDS, _SECONDS_A_STREAM, _MOST_SECONDS = 0.025, 0.005, 0.1
# OpenAI's first event says only who speaks: with the second the answer begins.
_AT_ONCE = 2


def event(name: str, data: Any) -> str:
    """One event; its data as JSON in one line."""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def read_events(text: str) -> list[tuple[str, Any]]:
    """Whole events as pairs of name and data."""
    found = []
    for each in text.split("\n\n"):
        name, _, data = each.partition("\ndata: ")
        if data:
            found.append((name.removeprefix("event: "), json.loads(data)))
    return found


async def gathered(
    events: AsyncIterator[str], streams: Callable[[], int]
) -> AsyncGenerator[str, None]:
    """The events as they come: the first two at once, later ones together with what came meanwhile.

    `streams`: how many are under way. Raises what `events` raises, after what came before it.
    """
    waiting: list[str] = []
    sent = 0
    came = asyncio.Event()

    async def collect() -> None:
        try:
            async for each in events:
                waiting.append(each)
                came.set()
        finally:
            came.set()

    collecting = asyncio.create_task(collect())
    try:
        while True:
            await came.wait()
            came.clear()
            if waiting:
                together = "".join(waiting)
                sent += len(waiting)
                waiting.clear()
                yield together
            if collecting.done():
                if waiting:
                    continue
                await collecting
                return
            if sent >= _AT_ONCE:
                pause = min(_MOST_SECONDS, _LEAST_SECONDS + _SECONDS_A_STREAM * (streams() - 1))
                await asyncio.wait({collecting}, timeout=pause)
    finally:
        collecting.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await collecting
