"""The watchdog over an engine that fails as the test says, with a clock and a sleep of the test."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from pipelines.engine.watchdog import Pulse, Watchdog, WatchedEngine, error_summary
from pipelines.errors import EngineDied, EngineHung

HANG_SECONDS = 100.0


@dataclass
class FailingEngine:
    """Dies when `dead` is set, or is killed. `now` is the time of its pulse, in seconds."""

    dead: bool = False
    kills: int = 0
    now: float = 0.0

    def kill(self) -> None:
        self.kills += 1
        self.dead = True

    def watchdog(self) -> Watchdog:
        watched = WatchedEngine(
            is_dead=lambda: self.dead,
            is_death=lambda error: isinstance(error, ConnectionError),
            kill=self.kill,
        )
        return Watchdog(watched, Pulse(lambda: self.now), HANG_SECONDS, sleep=_yield_to_others)


async def _yield_to_others(seconds: float) -> None:
    assert seconds > 0
    await asyncio.sleep(0)


@pytest.fixture
def engine() -> FailingEngine:
    return FailingEngine()


async def test_a_request_that_waits_for_a_dead_engine_is_ended(engine: FailingEngine) -> None:
    with pytest.raises(EngineDied, match="the engine died: ") as raised:
        async with engine.watchdog().watch():
            engine.dead = True
            await asyncio.Future()
    assert not isinstance(raised.value, EngineHung)
    assert engine.kills == 0


async def test_an_engine_without_steps_is_killed_and_its_requests_end(
    engine: FailingEngine,
) -> None:
    with pytest.raises(EngineHung, match="the engine made no step in 100 s"):
        async with engine.watchdog().watch():
            engine.now = HANG_SECONDS + 1
            await asyncio.Future()
    assert engine.kills > 0


async def test_silence_before_a_request_does_not_count(engine: FailingEngine) -> None:
    watchdog = engine.watchdog()
    async with watchdog.watch():
        await asyncio.sleep(0)
    engine.now = HANG_SECONDS + 1
    async with watchdog.watch():
        for _ in range(10):
            await asyncio.sleep(0)
    assert engine.kills == 0


async def test_an_error_that_reports_the_death_is_a_death(engine: FailingEngine) -> None:
    with pytest.raises(EngineDied, match="the engine died: socket closed"):
        async with engine.watchdog().watch():
            raise ConnectionError("socket closed")


async def test_any_error_is_a_death_if_the_engine_is_dead(engine: FailingEngine) -> None:
    with pytest.raises(EngineDied, match="the engine died: KeyError"):
        async with engine.watchdog().watch():
            engine.dead = True
            raise KeyError


async def test_an_error_of_a_running_engine_passes_unchanged(engine: FailingEngine) -> None:
    with pytest.raises(ValueError, match="too long"):
        async with engine.watchdog().watch():
            raise ValueError("too long")


async def test_a_watchdog_without_requests_has_no_loop_to_stop(engine: FailingEngine) -> None:
    watchdog = engine.watchdog()
    assert watchdog.stop() is None
    async with watchdog.watch():
        await asyncio.sleep(0)
    assert watchdog.stop() is asyncio.get_running_loop()


def test_an_error_is_summarized_on_one_line() -> None:
    assert error_summary(ValueError("one\n  two")) == "one two"
    assert error_summary(KeyError()) == "KeyError"
    assert error_summary(ValueError("x" * 500)) == "x" * 400 + "..."
