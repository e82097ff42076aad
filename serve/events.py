"""Server-sent events: writing and reading them, and sending several of a stream together."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from typing import Any

# Each message of a stream costs CPU time in the replica, the front and HAProxy. So events are
# collected for a while before they are sent: longer the more streams are open, but never so long
# that a reader would notice.
_MIN_PAUSE_SECONDS, _PAUSE_SECONDS_PER_STREAM, _MAX_PAUSE_SECONDS = 0.025, 0.005, 0.1
# The number of events that are sent immediately. The first event of an OpenAI stream has no text,
# only the role; the text begins with the second.
_IMMEDIATE_EVENTS = 2


def event(name: str, data: Any) -> str:
    """Return the text of one server-sent event: its type `name`, and `data` as JSON in a line."""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def read_events(text: str) -> list[tuple[str, Any]]:
    """Return the events of a complete stream, in order, as pairs of an event's name and its data,
    parsed from JSON. Events without a name, as in OpenAI's streams, are skipped."""
    events = []
    for block in text.split("\n\n"):
        name, _, data = block.partition("\ndata: ")
        if data:
            events.append((name.removeprefix("event: "), json.loads(data)))
    return events


async def batched_events(
    events: AsyncIterator[str], open_streams: Callable[[], int]
) -> AsyncGenerator[str, None]:
    """Yield the events in order, joined into batches to save messages.

    The first two are yielded as they come. Before each later batch, further events are collected
    for 25 ms, and 5 ms more for each other open stream, at most 100 ms. `open_streams` returns the
    number of streams that are open now, this one included. An exception of `events` is raised after
    all events that came before it.
    """
    waiting: list[str] = []
    sent = 0
    changed = asyncio.Event()

    async def collect() -> None:
        try:
            async for text in events:
                waiting.append(text)
                changed.set()
        finally:
            changed.set()

    collecting = asyncio.create_task(collect())
    try:
        while True:
            await changed.wait()
            changed.clear()
            if waiting:
                batch = "".join(waiting)
                sent += len(waiting)
                waiting.clear()
                yield batch
            if collecting.done():
                if waiting:
                    continue
                await collecting
                return
            if sent >= _IMMEDIATE_EVENTS:
                others = open_streams() - 1
                pause = min(
                    _MAX_PAUSE_SECONDS, _MIN_PAUSE_SECONDS + _PAUSE_SECONDS_PER_STREAM * others
                )
                await asyncio.wait({collecting}, timeout=pause)
    finally:
        collecting.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await collecting
