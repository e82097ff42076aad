"""The access middleware before the routes: keys, quotas, bodies, CORS, and what is recorded."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
from endpoints import (
    CHATS,
    DOCUMENT_BODY,
    DOCUMENTS,
    KEY,
    LIMITS,
    OTHER_KEY,
    TEXT_BODY,
    TEXTS,
    ScriptedPool,
    client_of,
    endpoint_of,
    error_of,
    prepared_endpoint,
)  # fmt: skip

from pipelines.documents import Usage
from pipelines.models.resolve import Model
from serve.engines.offer import PreparedEndpoint
from serve.engines.replica import EventBatch
from serve.errors import EngineRejected, Overloaded, ReplicasDied
from serve.events import event
from serve.wire import error_json


@pytest.fixture(scope="module")
def prepared(tiny_model: Model) -> PreparedEndpoint:
    assert tiny_model
    return prepared_endpoint(limits=LIMITS)


@pytest.fixture
def pool() -> ScriptedPool:
    return ScriptedPool()


@pytest.fixture
async def client(
    prepared: PreparedEndpoint, pool: ScriptedPool
) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(endpoint_of(prepared, pool)) as client:
        yield client


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", 422),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b'{"text": "\xff", "tasks": ["summary"]}', 400),
        (b'{"text": "\\ud800", "tasks": ["summary"]}', 422),
        (b"[" * 10_000, 400),
        (b"NaN", 422),
        (b"5", 422),
        (b'{"text": ' + b"9" * 5000 + b"}", 400),
        (b"x" * 20_001, 413),
    ],
)
async def test_a_body_that_is_not_a_request_is_rejected(
    client: httpx.AsyncClient, pool: ScriptedPool, content: bytes, code: int
) -> None:
    headers = {"content-type": "application/json"}
    for path in (DOCUMENTS, CHATS, TEXTS, "/v1/feedback"):
        response = await client.post(path, content=content, headers=headers)
        assert response.status_code == code, (path, response.text)
        assert error_of(response)["message"]
    assert not pool.works


async def test_a_body_of_unknown_length_is_read_no_further_than_the_limit(
    client: httpx.AsyncClient,
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1000
            yield b"x" * 1000

    response = await client.post(DOCUMENTS, content=endless())
    assert response.status_code == 413
    assert sent <= 30_000


async def test_a_slow_body_is_rejected(client: httpx.AsyncClient) -> None:
    async def slow() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x"
            await asyncio.sleep(0.1)

    response = await client.post(DOCUMENTS, content=slow())
    assert response.status_code == 408


@pytest.mark.parametrize("key", [None, "wrong", "pf-test2"])
@pytest.mark.parametrize("path", [DOCUMENTS, CHATS, "/v1/models", "/v1/tasks", "/nothing"])
async def test_a_request_without_a_valid_key_is_rejected(
    prepared: PreparedEndpoint, pool: ScriptedPool, key: str | None, path: str
) -> None:
    async with client_of(endpoint_of(prepared, pool), key) as client:
        response = await client.post(path, json=DOCUMENT_BODY)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert error_of(response)["code"] == "invalid_api_key"
    assert KEY not in response.text


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/openapi.json"])
async def test_public_paths_need_no_key(
    prepared: PreparedEndpoint, pool: ScriptedPool, path: str
) -> None:
    async with client_of(endpoint_of(prepared, pool), None) as client:
        assert (await client.get(path)).status_code == 200


async def test_a_request_over_the_quota_is_rejected_with_the_time_to_wait(
    prepared: PreparedEndpoint, pool: ScriptedPool
) -> None:
    endpoint = endpoint_of(prepared, pool, requests_per_minute=2)
    async with client_of(endpoint, OTHER_KEY) as client:
        codes = [(await client.get("/v1/models")).status_code for _ in range(2)]
        response = await client.get("/v1/models")
    assert codes == [200, 200]
    assert response.status_code == 429
    assert response.headers["retry-after"] == "30"
    assert error_of(response)["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_are_charged_when_they_are_used(
    prepared: PreparedEndpoint, pool: ScriptedPool, stream: bool
) -> None:
    pool.reply["usage"] = {"prompt_tokens": 50, "output_tokens": 70}
    pool.events = [EventBatch(event("done", {}), Usage(50, 0, 70))]
    endpoint = endpoint_of(prepared, pool, tokens_per_minute=60)
    async with client_of(endpoint, OTHER_KEY) as client:
        first = await client.post(DOCUMENTS, json={**DOCUMENT_BODY, "stream": stream})
        second = await client.post(DOCUMENTS, json=DOCUMENT_BODY)
    assert first.status_code == 200
    assert second.status_code == 429
    assert 1 <= int(second.headers["retry-after"]) <= 62


@pytest.mark.parametrize("stream", [False, True])
async def test_concurrent_requests_do_not_all_pass_before_the_first_is_charged(
    prepared: PreparedEndpoint, pool: ScriptedPool, stream: bool
) -> None:
    pool.seconds = 0.1
    endpoint = endpoint_of(prepared, pool, tokens_per_minute=60)
    body = {"text": "word " * 100, "tasks": ["summary"], "stream": stream}
    async with client_of(endpoint, OTHER_KEY) as client:
        responses = await asyncio.gather(*(client.post(DOCUMENTS, json=body) for _ in range(5)))
    assert sorted(response.status_code for response in responses) == [200, 429, 429, 429, 429]
    assert len(pool.works) == 1


async def test_a_request_that_no_engine_accepted_is_refunded(
    prepared: PreparedEndpoint, pool: ScriptedPool
) -> None:
    pool.reply = Overloaded(1)
    endpoint = endpoint_of(prepared, pool, tokens_per_minute=60)
    body = {"text": "word " * 100, "tasks": ["summary"]}
    async with client_of(endpoint, OTHER_KEY) as client:
        errors = [error_of(await client.post(DOCUMENTS, json=body)) for _ in range(3)]
    assert [error["code"] for error in errors] == ["overloaded"] * 3


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ReplicasDied(), "engine_died"),
        (EngineRejected(422, error_json("m", "t", "too_long")), "too_long"),
    ],
)
async def test_a_stream_that_fails_before_its_answer_is_refunded(
    prepared: PreparedEndpoint, pool: ScriptedPool, error: Exception, code: str
) -> None:
    pool.events = [EventBatch("event: progress\n\n", has_answer=False), error]
    endpoint = endpoint_of(prepared, pool, tokens_per_minute=60)
    body = {"text": "word " * 100, "tasks": ["summary"], "stream": True}
    async with client_of(endpoint, OTHER_KEY) as client:
        streams = [(await client.post(DOCUMENTS, json=body)).text for _ in range(3)]
    assert all(code in stream for stream in streams)


async def test_a_stream_that_fails_later_is_charged_its_prompt_and_its_events(
    prepared: PreparedEndpoint, pool: ScriptedPool
) -> None:
    pool.events = ["data: a\n\n" * 30, ReplicasDied()]
    endpoint = endpoint_of(prepared, pool, tokens_per_minute=60)
    body = {**TEXT_BODY, "prompt": [5] * 40, "stream": True}
    async with client_of(endpoint, OTHER_KEY) as client:
        await client.post(TEXTS, json=body)
        late = await client.post(TEXTS, json=body)
    # 70 of 60 tokens are charged: one is free again after 11 s
    assert 8 <= int(late.headers["retry-after"]) <= 11


async def test_other_origins_are_allowed_only_if_the_serve_file_names_them(
    tiny_model: Model, pool: ScriptedPool
) -> None:
    assert tiny_model
    headers = {
        "origin": "https://app.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type, x-stainless-lang",
    }
    allowed: list[list[str]] = [[], ["https://app.example"]]
    for origins in allowed:
        prepared = prepared_endpoint(http={"cors_origins": origins})
        async with client_of(endpoint_of(prepared, pool), None) as client:
            response = await client.options(DOCUMENTS, headers=headers)
            answer = await client.get("/healthz", headers={"origin": headers["origin"]})
        assert response.is_success == bool(origins)
        assert response.headers.get("access-control-allow-origin") == next(iter(origins), None)
        exposed = answer.headers.get("access-control-expose-headers")
        assert exposed == ("retry-after" if origins else None)


async def test_a_request_that_needs_no_key_must_have_no_body(client: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"a"

    for content in (b"a", endless()):
        response = await client.request("GET", "/readyz", content=content)
        assert response.status_code == 413
        assert error_of(response)["code"] == "request_too_large"
    assert (await client.get("/readyz", headers={"content-length": "0"})).status_code == 200


async def test_requests_are_recorded_with_path_and_status(
    prepared: PreparedEndpoint, pool: ScriptedPool
) -> None:
    recorded: list[tuple[str, int]] = []
    base = endpoint_of(prepared, pool)
    endpoint = replace(base, record=lambda path, code, seconds: recorded.append((path, code)))
    async with client_of(endpoint) as client:
        await client.post(DOCUMENTS, json=DOCUMENT_BODY)
        await client.post(DOCUMENTS, json={})
        await client.post(DOCUMENTS, json=DOCUMENT_BODY, headers={"authorization": "Bearer no"})
        pool.seconds = 30
        leaving = asyncio.create_task(client.post(DOCUMENTS, json=DOCUMENT_BODY))
        while len(pool.works) < 2:
            await asyncio.sleep(0.001)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
    codes = [200, 422, 401, 499]
    assert recorded == [(DOCUMENTS, code) for code in codes]


async def test_the_bodies_of_all_requests_together_are_limited(
    prepared: PreparedEndpoint, pool: ScriptedPool
) -> None:
    pool.seconds = 0.2
    body = {"text": "a" * 4_000, "tasks": ["summary"], "id": "i" * 200}
    padded = json.dumps(body).encode() + b" " * 15_000
    headers = {"content-type": "application/json"}
    async with client_of(endpoint_of(prepared, pool)) as client:

        async def send() -> int:
            return (await client.post(DOCUMENTS, content=padded, headers=headers)).status_code

        codes = Counter(await asyncio.gather(*(send() for _ in range(40))))
        pool.seconds = 0
        afterwards = await send()
    assert codes.keys() == {200, 429}
    assert 30 <= codes[200] <= 34
    assert afterwards == 200
