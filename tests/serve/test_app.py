"""Tests of the Ray Serve application without a cluster: readiness and routing."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from serve.app import readiness
from serve.engines.replica import FULL

# Ray Serve raises the warning when it is imported
pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword arguments on .Field.")


async def test_readiness_is_reported_while_ray_serve_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answering, calls = threading.Event(), []

    def status() -> SimpleNamespace:
        calls.append(1)
        answering.wait(10)
        return SimpleNamespace(applications={})

    monkeypatch.setattr("ray.serve.status", status)
    monkeypatch.setattr("serve.app._READY_WAIT_SECONDS", 0.05)
    monkeypatch.setattr("serve.app._READY_SECONDS", 60)
    ready = readiness({"short": "app"})
    timed_out = (
        "Ray Serve did not report its engines within 0.05 s. Try again; if this lasts, check the "
        "cluster's head node."
    )
    assert set(await asyncio.gather(ready(), ready())) == {timed_out}
    answering.set()
    async with asyncio.timeout(10):
        while await ready() != "No engine is running in: short. Wait until one has started.":
            await asyncio.sleep(0.01)
    assert len(calls) == 1


async def test_replicas_with_free_capacity_come_before_full_ones() -> None:
    from serve.engines.routing import CapacityRouter

    busy, free, new = (
        SimpleNamespace(routing_stats=stats) for stats in ({FULL: True}, {FULL: False}, {})
    )
    router: Any = CapacityRouter.__new__(CapacityRouter)
    for _ in range(20):
        first, last = await router.choose_replicas([busy, free, new])
        assert sorted(map(id, first)) == sorted(map(id, (free, new)))
        assert last == [busy]
    pending = SimpleNamespace(routing_context=SimpleNamespace(should_backoff=False))
    assert await router.choose_replicas([busy], pending) == [[busy]]
    assert pending.routing_context.should_backoff
    assert await router.choose_replicas([]) == []
