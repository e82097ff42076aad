"""A checked request put to its pool: answered whole or streamed, in time, and paid for.

What a pool raises becomes what the client is told. Knows no routes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from fastapi.responses import JSONResponse, Response, StreamingResponse

from serve.events import event, read_events
from serve.feedback import FeedbackKeeper
from serve.gate import Record, Refused
from serve.keys import Key, Keyring
from serve.offer import Offer
from serve.pools import Busy, Gone, Pool, Refusal
from serve.quota import Quota
from serve.replica import DOCUMENT, Work
from serve.wire import error_json

FirstToken = Callable[[float], None]
_SERVER = "server_error"
_LOGGER = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class Endpoint:
    """What the routes need. `ready` says why the endpoint is not; `first_token` is told seconds."""

    offer: Offer
    pools: Mapping[str, Pool]
    keyring: Keyring
    quota: Quota
    record: Record = lambda path, code, seconds: None
    first_token: FirstToken = lambda seconds: None
    feedback: FeedbackKeeper | None = None
    ready: Callable[[], Awaitable[str | None]] | None = None
    started: int = field(default_factory=lambda: int(time.time()))

    @property
    def seconds(self) -> float:
        return self.offer.spec.limits.request_seconds


async def answered(endpoint: Endpoint, key: Key, pool: str, work: Work) -> Response:
    async with _deadline(endpoint):
        answer = await endpoint.pools[pool].answer(work)
    used = answer.get("usage", {})
    _spend(
        endpoint,
        key,
        used.get("prompt_tokens", 0),
        used.get("output_tokens", used.get("completion_tokens", 0)),
    )
    return JSONResponse(answer)


async def streamed(endpoint: Endpoint, key: Key, pool: str, work: Work) -> Response:
    """The answer as it is made; an error before its first event is an error of the request."""
    began = time.monotonic()
    events = endpoint.pools[pool].stream(work)
    async with _deadline(endpoint):
        first = await anext(events)
    endpoint.first_token(time.monotonic() - began)

    async def all_events() -> AsyncIterator[str]:
        used = _Used(work)
        try:
            async with asyncio.timeout(endpoint.seconds - (time.monotonic() - began)):
                async with aclosing(events):
                    used.note(first)
                    yield first
                    async for each in events:
                        used.note(each)
                        yield each
        except TimeoutError:
            yield _error_event(_late(endpoint))
        except Gone:
            yield _error_event(_died())
        except Refusal as refusal:
            yield event("error", refusal.error)
        except Exception:
            _LOGGER.exception("a stream of %s broke off", work.kind)
            yield event("error", error_json("internal error", _SERVER, "internal_error"))
        finally:
            _spend(endpoint, key, *used.tokens)

    return StreamingResponse(all_events(), media_type="text/event-stream")


class _Used:
    """The tokens of a stream, by its events: of a document what the last one says, of OpenAI's one
    for each event, which is what vLLM sends for a token."""

    def __init__(self, work: Work) -> None:
        self.tokens = (work.prompt_tokens, 0)
        self._document = work.kind == DOCUMENT

    def note(self, events: str) -> None:
        if not self._document:
            prompt, output = self.tokens
            self.tokens = (prompt, output + events.count("data: "))
            return
        for name, data in read_events(events) if "event: done" in events else ():
            if name == "done":
                usage = data["usage"]
                self.tokens = (usage["prompt_tokens"], usage["output_tokens"])


def _spend(endpoint: Endpoint, key: Key, prompt: int, output: int) -> None:
    endpoint.quota.spend(key.name, key.tokens_per_minute, prompt + output)


@asynccontextmanager
async def _deadline(endpoint: Endpoint) -> AsyncIterator[None]:
    """Turn what a pool raises, and its being late, into what the client is told."""
    try:
        async with asyncio.timeout(endpoint.seconds):
            yield
    except TimeoutError:
        raise _late(endpoint) from None
    except Gone:
        raise _died() from None
    except Busy as busy:
        raise Refused(
            429,
            f"The engines have enough to do. Try again in {busy.retry_after} s.",
            "rate_limit_error",
            "overloaded",
            {"retry-after": str(busy.retry_after)},
        ) from None


def _late(endpoint: Endpoint) -> Refused:
    return Refused(504, f"no answer within {endpoint.seconds:g} s", _SERVER, "deadline_exceeded")


def _died() -> Refused:
    return Refused(
        503, "the engines that were asked died; try again", _SERVER, "engine_died",
        {"retry-after": "5"},
    )  # fmt: skip


def _error_event(refused: Refused) -> str:
    return event("error", refused.body)
