"""The endpoint under more load than it can take, and under what is no request at all. Minutes."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from served import REPORT, Served, start, stop

from serve.wire import EXAMPLE_TASK

pytestmark = pytest.mark.slow
_SECONDS = 180
_CLIENTS, _TEXTS = 48, 32
_SCALES_WITHIN = 400


def memory(served: Served, kind: str) -> int:
    """Bytes of the replicas of one deployment."""
    return sum(each.memory_info().rss for each in served.replicas(kind))


def text_of(number: int) -> str:
    return f"Report {number}.\n" + "The ships lay still.\n" * (4 * number) + REPORT


async def answers_alone(client: httpx.AsyncClient) -> list[str]:
    """What is answered where nobody else asks."""
    bodies = [{"text": text_of(number), "tasks": ["auditor"]} for number in range(_TEXTS)]
    told = [(await client.post("/v1/documents", json=body)).json() for body in bodies]
    return [answer["answers"]["auditor"]["text"] for answer in told]


async def one_after_the_other(
    client: httpx.AsyncClient, until: float, alone: list[str], seed: int, counted: Counter[str]
) -> None:
    """Ask until it is time; whatever is accepted must be answered as it is alone."""
    dice = random.Random(seed)  # noqa: S311
    while time.monotonic() < until:
        number = dice.randrange(_TEXTS)
        body = {"text": text_of(number), "tasks": ["auditor"]}
        response = await client.post("/v1/documents", json=body)
        if response.status_code == 429:
            counted["refused"] += 1
            assert 1 <= int(response.headers["retry-after"]) <= 300
            await asyncio.sleep(dice.uniform(0.2, 0.6))
            continue
        assert response.status_code == 200, response.text
        answer = response.json()["answers"]["auditor"]
        counted["right" if answer["text"] == alone[number] else "wrong"] += 1


async def _until(reached: Any, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if await asyncio.to_thread(reached):
            return True
        await asyncio.sleep(2)
    return False


async def test_more_than_it_can_take(tmp_path: Path) -> None:
    served = start(
        tmp_path,
        limits={"outstanding_share": 0.03},
        pools={"short": {"min": 1, "max": 2, "up_after_seconds": 5, "down_after_seconds": 20}},
    )
    counted: Counter[str] = Counter()
    try:
        before = memory(served, "front")
        headers = {"authorization": f"Bearer {served.key}"}
        async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=120) as client:
            alone = await answers_alone(client)
            until = time.monotonic() + _SECONDS
            asking = asyncio.gather(
                *(
                    one_after_the_other(client, until, alone, seed, counted)
                    for seed in range(_CLIENTS)
                )
            )
            grown = await _until(lambda: len(served.replicas("short")) == 2, _SECONDS - 5)
            await asking
            grown_memory = memory(served, "front") - before
            shrunk = await _until(lambda: len(served.replicas("short")) == 1, _SCALES_WITHIN)
            last = await client.post("/v1/documents", json={"text": REPORT, "tasks": ["auditor"]})
    finally:
        stop(served)
    print(counted, grown_memory)
    assert grown, "there was never a second engine"
    assert shrunk, "the second engine never ended"
    assert last.status_code == 200
    assert counted["right"] > 100
    assert counted["refused"] > 100
    # beside others a sum may be rounded otherwise, and of two likely tokens the other one wins
    assert counted["wrong"] <= 0.02 * counted["right"]
    assert grown_memory < 100 * 2**20


def malformed(dice: random.Random) -> tuple[bytes, dict[str, str], set[int]]:
    """A body that is no request, its headers, and the codes that are right."""
    json_type = {"content-type": "application/json"}
    deep = dice.randint(100, 50_000)
    good = b'{"text": "%s", "tasks": [' % (b"a" * dice.randint(1, 100))
    choices: list[tuple[bytes, dict[str, str], set[int]]] = [
        (dice.randbytes(dice.randint(1, 2000)), json_type, {400, 422}),
        (b"[" * deep, json_type, {400, 422}),
        (good + b'{"a":' * deep + b"1" + b"}" * deep + b"]}", json_type, {400, 422}),
        (b'{"text": "\xff\xfe", "tasks": ["auditor"]}', json_type, {400, 422}),
        (b'{"text": "\\ud800", "tasks": ["auditor"]}', json_type, {400, 422}),
        (b'{"text": ' + str(dice.random()).encode() + b', "tasks": []}', json_type, {422}),
        (good + b'"nothing"]}', json_type, {422}),
        (good + b"null]}", json_type, {422}),
        (good[: dice.randint(1, len(good))], json_type, {400, 422}),
        (good + b'"auditor"]}', {"content-type": "text/plain"}, {200, 422}),
        (b"x" * (9 * 2**20), json_type, {413}),
        (b'{"text": "' + b"a" * (5 * 2**20) + b'", "tasks": ["auditor"]}', json_type, {413}),
    ]
    return dice.choice(choices)


async def test_two_thousand_bodies_that_are_no_requests(tmp_path: Path) -> None:
    served = start(tmp_path, limits={"body_seconds": 3})
    codes: Counter[int] = Counter()
    dice = random.Random(7)  # noqa: S311
    headers = {"authorization": f"Bearer {served.key}"}
    try:
        async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=60) as client:

            async def send(count: int) -> None:
                for _ in range(count):
                    body, more, right = malformed(dice)
                    path = dice.choice(("/v1/documents", "/v1/chat/completions", "/v1/feedback"))
                    response = await client.post(path, content=body, headers=more)
                    assert response.status_code in right | {422}, (path, body[:80], response.text)
                    codes[response.status_code] += 1

            await asyncio.gather(*(send(50) for _ in range(8)))
            before = memory(served, "front")
            await asyncio.gather(*(send(200) for _ in range(8)))
            after = memory(served, "front")

            async def slow() -> Any:
                for _ in range(20):
                    yield b"x"
                    await asyncio.sleep(0.5)

            late = await client.post("/v1/documents", content=slow())
            body = {"text": REPORT, "tasks": [EXAMPLE_TASK]}
            still = await client.post("/v1/documents", json=body)
        alive = psutil.Process(served.process.pid).is_running()
    finally:
        stop(served)
    print(codes, after - before)
    assert alive
    assert late.status_code == 408
    assert still.status_code == 200
    assert sum(codes.values()) == 2000
    assert after - before < 50 * 2**20
