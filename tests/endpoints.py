"""An endpoint without Ray for tests: its ASGI application over a scripted pool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import httpx

from pipelines.corpus.units import SHORT
from serve.access.keys import ApiKey, Keyring, key_digest
from serve.access.quota import Quota
from serve.engines.offer import PreparedEndpoint
from serve.engines.replica import EventBatch, ReplicaRequest
from serve.routes.answering import EndpointContext
from serve.routes.endpoint import make_app
from serve.routes.feedback import FeedbackWriter
from serve.spec import parse_serve

KEY = "pf-test"
OTHER_KEY = "pf-other"
TASKS: list[dict[str, Any]] = [
    {"name": "summary", "kind": "summarize", "max_words": 20},
    {"name": "auditor", "kind": "ask", "question": "Who audited it?"},
]

DOCUMENTS = "/v1/documents"
CHATS = "/v1/chat/completions"
TEXTS = "/v1/completions"
DOCUMENT_BODY = {"text": "A text.", "tasks": ["summary"]}
CHAT_BODY = {"model": "tiny-random", "messages": [{"role": "user", "content": "Hello"}]}
TEXT_BODY = {"model": "tiny-random", "prompt": "Hello"}
LIMITS = {
    "body_bytes": 20_000, "text_characters": 5_000, "request_seconds": 2, "tasks": 3,
    "body_seconds": 0.5, "output_tokens": 300,
}  # fmt: skip


class ScriptedPool:
    """A pool of engines that a test scripts.

    `answer` returns `reply`, or raises it if it is an exception, after `seconds`. `stream` yields
    or raises each of `events`, with `seconds` after each. `works` are the requests it received;
    `cancelled` is set when a request is cancelled or a stream ends.
    """

    def __init__(self) -> None:
        self.reply: Any = {"id": "x", "answers": {}, "usage": {"prompt_tokens": 7}}
        self.events: list[Any] = ["data: a\n\n", "data: [DONE]\n\n"]
        self.seconds = 0.0
        self.works: list[ReplicaRequest] = []
        self.cancelled = asyncio.Event()

    async def answer(self, work: ReplicaRequest) -> dict[str, Any]:
        self.works.append(work)
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if isinstance(self.reply, Exception):
            raise self.reply
        answer: dict[str, Any] = self.reply
        return answer

    async def stream(self, work: ReplicaRequest) -> AsyncGenerator[EventBatch, None]:
        self.works.append(work)
        try:
            for step in self.events:
                if isinstance(step, Exception):
                    raise step
                yield step if isinstance(step, EventBatch) else EventBatch(step)
                await asyncio.sleep(self.seconds)
        finally:
            self.cancelled.set()


def prepared_endpoint(**spec: Any) -> PreparedEndpoint:
    """A prepared endpoint of the random model with two named tasks; `spec` adds to its file."""
    return PreparedEndpoint(parse_serve({"model": {"name": "tiny-random"}, "tasks": TASKS, **spec}))


def endpoint_of(
    prepared: PreparedEndpoint,
    pool: ScriptedPool,
    feedback: FeedbackWriter | None = None,
    **quota: int,
) -> EndpointContext:
    """A context with the keys `KEY`, without quotas, and `OTHER_KEY` with these quotas."""
    keys = [
        ApiKey(name="test", sha256=key_digest(KEY)),
        ApiKey(name="other", sha256=key_digest(OTHER_KEY), **quota),
    ]
    return EndpointContext(
        prepared, dict.fromkeys((SHORT,), pool), Keyring(keys), Quota(), feedback=feedback
    )


def client_of(endpoint: EndpointContext, key: str | None = KEY) -> httpx.AsyncClient:
    """A client that calls the endpoint's application directly, with this key."""
    headers: Mapping[str, str] = {"authorization": f"Bearer {key}"} if key else {}
    transport = httpx.ASGITransport(make_app(endpoint), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://endpoint", headers=headers)


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The error of a response, which must have OpenAI's shape."""
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error
