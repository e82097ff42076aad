"""The application of Ray Serve, without a cluster."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from serve.app import readiness
from serve.engines.replica import FULL

# Ray Serve's own, when it is imported
pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword arguments on .Field.")


async def test_whether_it_is_ready_is_told_though_ray_serve_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers, asked = threading.Event(), []

    def status() -> SimpleNamespace:
        asked.append(1)
        answers.wait(10)
        return SimpleNamespace(applications={})

    monkeypatch.setattr("ray.serve.status", status)
    monkeypatch.setattr("serve.app._READY_WAIT_SECONDS", 0.05)
    monkeypatch.setattr("serve.app._READY_SECONDS", 60)
    ready = readiness({"short": "app"})
    untold = "Ray Serve does not tell which engines there are"
    assert set(await asyncio.gather(ready(), ready())) == {untold}
    answers.set()
    async with asyncio.timeout(10):
        while await ready() != "no engine yet in: short":
            await asyncio.sleep(0.01)
    assert len(asked) == 1


async def test_those_with_room_are_asked_before_those_that_are_full() -> None:
    from serve.engines.routing import CapacityRouter

    busy, free, new = (
        SimpleNamespace(routing_stats=told) for told in ({FULL: True}, {FULL: False}, {})
    )
    router: Any = CapacityRouter.__new__(CapacityRouter)
    for _ in range(20):
        first, last = await router.choose_replicas([busy, free, new])
        assert sorted(map(id, first)) == sorted(map(id, (free, new)))
        assert last == [busy]
    asked = SimpleNamespace(routing_context=SimpleNamespace(should_backoff=False))
    assert await router.choose_replicas([busy], asked) == [[busy]]
    assert asked.routing_context.should_backoff
    assert await router.choose_replicas([]) == []
