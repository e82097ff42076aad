"""Sends a checked request to its pool and makes the response: whole or streamed, within its time.

Charges the key's token quota. Knows no routes and no Ray.
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
"""Is called once for each streamed completion, with the seconds from its request to its first
token."""
_LOGGER = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class EndpointContext:
    """Everything that the routes need, made once for each front process.

    `prepared` is the serve file with its model, `keyring` the valid keys, and `quota` what remains
    of their quotas. `pools` are the pools of engines by name (SHORT, LONG). `record` is called with
    every finished request, `first_token` at the first token of every streamed completion.
    `feedback` is None if feedback is not stored. `ready` returns the reason why the endpoint is not
    ready, or None if it is; without `ready` it always is. `started` is the time of the start in
    seconds since 1970.
    """

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
    def request_seconds(self) -> float:
        """The maximum duration of a request: `limits.request_seconds` of the serve file."""
        return self.prepared.spec.limits.request_seconds

    def deadline(self) -> float:
        """Return the deadline of a request that begins now, in the event loop's time (seconds)."""
        return asyncio.get_running_loop().time() + self.request_seconds


@asynccontextmanager
async def within_deadline(endpoint: EndpointContext, deadline: float) -> AsyncIterator[None]:
    """Run the block until `deadline`, in seconds of the event loop's clock.

    If it still runs then, cancels it and raises DeadlineExceeded.
    """
    try:
        async with asyncio.timeout_at(deadline):
            yield
    except TimeoutError:
        raise _deadline_exceeded(endpoint) from None


async def answer_whole(
    endpoint: EndpointContext, key: ApiKey, pool: str, work: ReplicaRequest, deadline: float
) -> Response:
    """Answer the request `work` with one JSON object.

    `pool` is the name of the pool that answers, `deadline` in seconds of the event loop's clock.
    Charges the prompt and answer tokens to the quota of `key`. Raises QuotaExceeded,
    DeadlineExceeded, and the errors of `EnginePool.answer`.
    """
    charge = _TokenCharge(endpoint.quota, key, work)
    async with within_deadline(endpoint, deadline):
        with _refund_if_unanswered(charge):
            answer = await endpoint.pools[pool].answer(work)
    usage = answer.get("usage", {})
    # documents count `output_tokens`, OpenAI's completions `completion_tokens`
    output = usage.get("output_tokens", usage.get("completion_tokens", 0))
    charge.set_total(usage.get("prompt_tokens", 0) + output)
    return JSONResponse(answer)


async def answer_stream(
    endpoint: EndpointContext, key: ApiKey, pool: str, work: ReplicaRequest, deadline: float
) -> Response:
    """Answer a request with server-sent events, as the engine makes them.

    Takes the arguments of `answer_whole` and raises its errors, but only before the first event.
    A later error is sent as the event `error`, the last of the stream.
    """
    began = time.monotonic()
    charge = _TokenCharge(endpoint.quota, key, work)
    batches = endpoint.pools[pool].stream(work)
    async with within_deadline(endpoint, deadline):
        with _refund_if_unanswered(charge):
            first = await anext(batches)
    if work.kind != DOCUMENT:
        # the first event of a document reports progress and has no token
        endpoint.first_token(time.monotonic() - began)

    async def events() -> AsyncIterator[str]:
        has_answer = first.has_answer
        try:
            async with asyncio.timeout_at(deadline):
                async with aclosing(batches):
                    charge.add(first)
                    yield first.events
                    async for batch in batches:
                        has_answer |= batch.has_answer
                        charge.add(batch)
                        yield batch.events
        except TimeoutError:
            yield event("error", _deadline_exceeded(endpoint).body)
        except (ReplicasDied, EngineRejected) as error:
            if not has_answer:
                charge.set_total(0)
            yield event("error", error.body)
        except Exception:
            _LOGGER.exception(
                "unexpected error in a stream of kind %s after its first event; please report this "
                "traceback",
                work.kind,
            )
            yield event("error", InternalError().body)

    return StreamingResponse(events(), media_type="text/event-stream")


class _TokenCharge:
    """The tokens that one request is charged in its key's quota.

    The tokens of its prompt are charged at once, so that concurrent requests cannot all pass
    before the first is charged; the difference to its real usage when that is known. A stream
    that is broken off is charged its prompt and one token for each event. Raises QuotaExceeded if
    the key's token quota is overdrawn.
    """

    def __init__(self, quota: Quota, key: ApiKey, work: ReplicaRequest) -> None:
        self._quota = quota
        self._key = key
        wait = quota.debt_seconds(key.name, key.tokens_per_minute)
        if wait is not None:
            raise QuotaExceeded(key.name, wait)
        self._total = 0
        self.set_total(work.prompt_tokens)

    def set_total(self, tokens: int) -> None:
        """Charge, or refund, the difference between `tokens` and what was charged before."""
        self._quota.spend(self._key.name, self._key.tokens_per_minute, tokens - self._total)
        self._total = tokens

    def add(self, batch: EventBatch) -> None:
        """Charge the events of a batch, or the usage of the whole answer if the batch has it."""
        if batch.used is not None:
            self.set_total(batch.used.prompt_tokens + batch.used.output_tokens)
        else:
            self.set_total(self._total + batch.events.count("\n\n"))


@contextmanager
def _refund_if_unanswered(charge: _TokenCharge) -> Iterator[None]:
    """Refund a request's tokens if its pool did not answer it."""
    try:
        yield
    except (Overloaded, EngineRejected, ReplicasDied):
        charge.set_total(0)
        raise


def _deadline_exceeded(endpoint: EndpointContext) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"No answer within {endpoint.request_seconds:g} s, the limit of this endpoint "
        "(limits.request_seconds). Send fewer tasks, or a shorter text."
    )
