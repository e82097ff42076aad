"""Tests of the OpenAPI document with schemathesis: generated requests cause no server error, and
every response is as the document describes it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
import uvicorn
from endpoints import (
    CHAT_BODY,
    CHATS,
    DOCUMENT_BODY,
    DOCUMENTS,
    KEY,
    TEXT_BODY,
    TEXTS,
    ScriptedPool,
    endpoint_of,
    prepared_endpoint,
)
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from pipelines.models.resolve import Model
from pipelines.storage import Storage
from serve.engines.replica import DOCUMENT, ReplicaRequest
from serve.routes.endpoint import make_app
from serve.routes.feedback import FeedbackWriter

_USAGE = {"prompt_tokens": 1, "cached_prompt_tokens": 0, "output_tokens": 1}


class AnsweringPool(ScriptedPool):
    """Answers each request like a replica, without an engine."""

    async def answer(self, work: ReplicaRequest) -> dict[str, Any]:
        await asyncio.sleep(0)
        if work.kind == DOCUMENT:
            return {"id": work.request_id, "answers": {}, "usage": _USAGE}
        assert work.body is not None
        return {
            "id": "a", "object": "text_completion", "created": 1, "model": work.body["model"],
            "choices": [], "usage": {},
        }  # fmt: skip


@pytest.fixture(scope="module")
def url(tiny_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a real server on loopback, and yield its URL."""
    assert tiny_model
    feedback = FeedbackWriter(Storage(str(tmp_path_factory.mktemp("feedback"))))
    app = make_app(endpoint_of(prepared_endpoint(), AnsweringPool(), feedback))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_operation_answers_as_described(url: str, mode: GenerationMode) -> None:
    described = schemathesis.openapi.from_url(f"{url}/openapi.json")
    results: list[Any] = list(described.get_all_operations())
    operations = [result.ok() for result in results]
    assert len(operations) >= 9
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not list(operation.body):
            continue

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
        def check(case: Any) -> None:
            # ignored_auth sends requests without a key, but these headers add it again;
            # positive_data_acceptance expects that the schema describes every invalid task and text
            case.call_and_validate(
                headers={"authorization": f"Bearer {KEY}"},
                excluded_checks=[ignored_auth, positive_data_acceptance],
            )

        check()


@pytest.mark.parametrize(
    ("path", "body"), [(DOCUMENTS, DOCUMENT_BODY), (CHATS, CHAT_BODY), (TEXTS, TEXT_BODY)]
)
def test_a_stream_is_as_described(url: str, path: str, body: dict[str, Any]) -> None:
    described = schemathesis.openapi.from_url(f"{url}/openapi.json")
    case = described[path]["POST"].Case(
        body={**body, "stream": True}, media_type="application/json"
    )
    response = case.call_and_validate(
        headers={"authorization": f"Bearer {KEY}"}, excluded_checks=[ignored_auth]
    )
    assert response.headers["content-type"][0].startswith("text/event-stream")


def test_the_document_is_valid_openapi(url: str) -> None:
    from openapi_spec_validator import validate

    validate(httpx.get(f"{url}/openapi.json").json())
