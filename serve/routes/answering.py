"""A checked request put to its pool: answered whole or streamed, in time, and paid for.

What a pool raises becomes what the client is told. Knows no routes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from fastapi.responses import JSONResponse, Response, StreamingResponse

from serve.access.gate import Record
from serve.access.keys import ApiKey, Keyring
from serve.access.quota import Quota
from serve.engines.offer import PreparedEndpoint
from serve.engines.pools import EnginePool
from serve.engines.replica import DOCUMENT, EventBatch, ReplicaRequest
from serve.errors import (
    DeadlineExceeded,
    EngineRejected,
    InternalError,
    Overloaded,
    QuotaExceeded,
    ReplicasDied,
)
from serve.events import event
from serve.routes.feedback import FeedbackWriter

FirstToken = Callable[[float], None]
_LOGGER = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class EndpointContext:
    """What the routes need. `ready` says why the endpoint is not; `first_token` is told seconds."""

    prepared: PreparedEndpoint
    pools: Mapping[str, EnginePool]
    keyring: Keyring
    quota: Quota
    record: Record = lambda path, code, seconds: None
    first_token: FirstToken = lambda seconds: None
    feedback: FeedbackWriter | None = None
    ready: Callable[[], Awaitable[str | None]] | None = None
    started: int = field(default_factory=lambda: int(time.time()))

    @property
    def seconds(self) -> float:
        return self.prepared.spec.limits.request_seconds

    def deadline(self) -> float:
        """Until when a request that begins now is answered, by the event loop's clock."""
        return asyncio.get_running_loop().time() + self.seconds


@asynccontextmanager
async def within_deadline(endpoint: EndpointContext, until: float) -> AsyncIterator[None]:
    """Raises DeadlineExceeded where the block is not done by then."""
    try:
        async with asyncio.timeout_at(until):
            yield
    except TimeoutError:
        raise _late(endpoint) from None


async def answer_whole(
    endpoint: EndpointContext, key: ApiKey, pool: str, work: ReplicaRequest, until: float
) -> Response:
    bill = _Bill(endpoint.quota, key, work)
    async with within_deadline(endpoint, until):
        with _told(bill):
            answer = await endpoint.pools[pool].answer(work)
    used = answer.get("usage", {})
    output = used.get("output_tokens", used.get("completion_tokens", 0))
    bill.settle(used.get("prompt_tokens", 0) + output)
    return JSONResponse(answer)


async def answer_stream(
    endpoint: EndpointContext, key: ApiKey, pool: str, work: ReplicaRequest, until: float
) -> Response:
    """The answer as it is made; an error before its first event is an error of the request."""
    began = time.monotonic()
    bill = _Bill(endpoint.quota, key, work)
    stream = endpoint.pools[pool].stream(work)
    async with within_deadline(endpoint, until):
        with _told(bill):
            first = await anext(stream)
    if work.kind != DOCUMENT:
        # a document's first event tells of no token
        endpoint.first_token(time.monotonic() - began)

    async def all_events() -> AsyncIterator[str]:
        answers = first.has_answer
        try:
            async with asyncio.timeout_at(until):
                async with aclosing(stream):
                    bill.note(first)
                    yield first.events
                    async for each in stream:
                        answers |= each.has_answer
                        bill.note(each)
                        yield each.events
        except TimeoutError:
            yield event("error", _late(endpoint).body)
        except (ReplicasDied, EngineRejected) as ended:
            if not answers:
                bill.settle(0)
            yield event("error", ended.body)
        except Exception:
            _LOGGER.exception("a stream of %s broke off", work.kind)
            yield event("error", InternalError().body)

    return StreamingResponse(all_events(), media_type="text/event-stream")


class _Bill:
    """What a request takes of its key's minute: the tokens that it brings at once, so that no
    number of requests passes together, and what it took in all once that is known. One that is
    broken off has taken what it brought, and a token for each event.

    Raises QuotaExceeded where the key is in debt by now.
    """

    def __init__(self, quota: Quota, key: ApiKey, work: ReplicaRequest) -> None:
        self._quota = quota
        self._key = key
        wait = quota.debt_seconds(key.name, key.tokens_per_minute)
        if wait is not None:
            raise QuotaExceeded(key.name, wait)
        self._paid = 0
        self.settle(work.prompt_tokens)

    def settle(self, tokens: int) -> None:
        """Have paid so much."""
        self._quota.spend(self._key.name, self._key.tokens_per_minute, tokens - self._paid)
        self._paid = tokens

    def note(self, sent: EventBatch) -> None:
        if sent.used is not None:
            self.settle(sent.used.prompt_tokens + sent.used.output_tokens)
        else:
            self.settle(self._paid + sent.events.count("\n\n"))


@contextmanager
def _told(bill: _Bill) -> Iterator[None]:
    """Refund the tokens of a request that no engine answered."""
    try:
        yield
    except (Overloaded, EngineRejected, ReplicasDied):
        bill.settle(0)
        raise


def _late(endpoint: EndpointContext) -> DeadlineExceeded:
    return DeadlineExceeded(f"no answer within {endpoint.seconds:g} s")
