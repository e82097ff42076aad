"""The watchdog of one engine: detects that it died or hangs, and fails the waiting requests.

Knows the engine by three callbacks; nothing of vLLM.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pipelines.errors import EngineDied, EngineHung

_CHECK_SECONDS = 1.0
# Seconds that vLLM has to report a death to its requests itself, before the watchdog does.
_GRACE_SECONDS = 2.0
_MAX_REASON_CHARACTERS = 400


class Pulse:
    """The time of an engine's latest step."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Count the creation as the first step. `clock` returns seconds."""
        self._clock = clock
        self.beat()

    def beat(self) -> None:
        """Record that the engine has made a step now."""
        self._last = self._clock()

    @property
    def silent_seconds(self) -> float:
        """Seconds since the latest step."""
        return self._clock() - self._last


@dataclass(frozen=True, slots=True)
class WatchedEngine:
    """The watchdog's view of an engine.

    Attributes:
        is_dead: returns whether the engine can answer no more requests.
        is_death: returns whether an error that a request raised reports the engine's death.
        kill: kills the engine's processes.
    """

    is_dead: Callable[[], bool]
    is_death: Callable[[Exception], bool]
    kill: Callable[[], None]


class Watchdog:
    """Watches one engine, from the event loop of its requests.

    An engine that makes no step in `hang_seconds` while a request waits for it is killed. `pulse`
    must have a beat for each step of the engine; `sleep` pauses for a number of seconds.
    """

    def __init__(
        self,
        engine: WatchedEngine,
        pulse: Pulse,
        hang_seconds: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sleep = sleep
        self._engine = engine
        self._pulse = pulse
        self._hang_seconds = hang_seconds
        self._waiting: set[asyncio.Timeout] = set()
        self._task: asyncio.Task[None] | None = None
        self._hung = False

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[None]:
        """Watch the engine while the block waits for it. Any number of blocks may overlap.

        Raises EngineHung if the watchdog killed the engine because it hung, and EngineDied if it
        died of another cause. Other errors of the block pass unchanged.
        """
        self._start()
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._waiting.add(scope)
                yield
        except Exception as error:
            # a request sent while the engine dies may fail with a closed socket or similar
            if self._engine.is_death(error) or self._engine.is_dead():
                raise self._death(error) from error
            raise
        finally:
            self._waiting.discard(scope)

    def stop(self) -> asyncio.AbstractEventLoop | None:
        """Stop watching, and return the event loop in which the engine was watched, or None if
        `watch` was never used. May be called from any thread."""
        if self._task is None:
            return None
        loop = self._task.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._task.cancel)
        return loop

    def _start(self) -> None:
        if not self._waiting:
            self._pulse.beat()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        """Kill an engine that hangs, and end every wait for a dead one: vLLM fails no request that
        was sent while the engine died."""
        while True:
            await self._sleep(_CHECK_SECONDS)
            if self._waiting and self._pulse.silent_seconds > self._hang_seconds:
                self._hung = True
                self._engine.kill()
            elif not self._engine.is_dead():
                continue
            await self._sleep(_GRACE_SECONDS)
            for scope in self._waiting:
                if not scope.expired():
                    scope.reschedule(asyncio.get_running_loop().time())

    def _death(self, error: Exception) -> EngineDied:
        if self._hung:
            return EngineHung(f"the engine made no step in {self._hang_seconds:.0f} s")
        return EngineDied(f"the engine died: {error_summary(error)}")


def error_summary(error: BaseException) -> str:
    """Return an error's text on one line, or the name of its class if it has no text. Of a text
    over 400 characters, the first 400 and an ellipsis are returned."""
    text = " ".join(str(error).split()) or type(error).__name__
    shortened = f"{text[:_MAX_REASON_CHARACTERS]}..."
    return text if len(text) <= _MAX_REASON_CHARACTERS else shortened
