"""The pools of engines behind the endpoint: a protocol, and its implementation on Ray Serve.

A request whose replica dies is sent to another replica once. Failures are raised as errors of
`serve.errors`, so callers need no knowledge of Ray.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Protocol

from serve.engines.replica import OK, OVERLOADED, EventBatch, ReplicaReply, ReplicaRequest
from serve.errors import EngineRejected, Overloaded, ReplicasDied

_LOGGER = logging.getLogger("ray.serve")
# The first replica, and another one if that dies.
_MAX_ATTEMPTS = 2


class EnginePool(Protocol):
    """Engines of one kind, any of which can answer a request."""

    async def answer(self, work: ReplicaRequest) -> dict[str, Any]:
        """Return the complete answer to `work`, as the JSON object of the HTTP response.

        Raises Overloaded if the chosen engine is at its load limit, EngineRejected if the engine
        answers with an error, and ReplicasDied if the replicas that received `work` died.
        """

    def stream(self, work: ReplicaRequest) -> AsyncGenerator[EventBatch, None]:
        """Yield the answer to `work` as batches of server-sent events.

        Raises the errors of `answer`. Overloaded is raised only before the first batch.
        """


class RayServePool:
    """A pool that is a deployment of Ray Serve, given by its `DeploymentHandle`.

    A request that is cancelled, as at its deadline, is cancelled in its replica too.
    """

    def __init__(self, handle: Any) -> None:
        self._answer = handle.options(method_name="answer")
        self._stream = handle.options(method_name="stream", stream=True)

    async def answer(self, work: ReplicaRequest) -> dict[str, Any]:
        """Return the complete answer to `work`; see `EnginePool.answer`."""
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            try:
                reply = await _result(self._answer.remote(work))
            except _deaths() as error:
                _log_death(work, error, attempt)
                continue
            answer: dict[str, Any] = _content(reply)
            return answer
        raise ReplicasDied()

    async def stream(self, work: ReplicaRequest) -> AsyncGenerator[EventBatch, None]:
        """Yield the answer to `work` in batches; see `EnginePool.stream`.

        If a replica dies before it has sent any part of the answer, the request is sent to another
        one, once, and the events that precede the answer are not repeated.
        """
        begun = has_answer = False
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            try:
                async with aclosing(_replies(self._stream.remote(work))) as replies:
                    async for reply in replies:
                        batch = _content(reply)
                        has_answer |= batch.has_answer
                        if batch.has_answer or not begun:
                            yield batch
                        begun = True
                return
            except Overloaded:
                if begun:
                    # the response's status is sent already, so it cannot become a 429
                    raise ReplicasDied() from None
                raise
            except _deaths() as error:
                _log_death(work, error, attempt)
                if has_answer:
                    raise ReplicasDied() from error
        raise ReplicasDied()


async def _result(response: Any) -> ReplicaReply:
    """Await a `DeploymentResponse`, and cancel its request if the caller is cancelled."""
    try:
        reply: ReplicaReply = await response
    except asyncio.CancelledError:
        response.cancel()
        raise
    return reply


async def _replies(response: Any) -> AsyncGenerator[ReplicaReply, None]:
    """Iterate a `DeploymentResponseGenerator`, and cancel its request if the caller stops early."""
    try:
        async for reply in response:
            yield reply
    except (GeneratorExit, asyncio.CancelledError):
        response.cancel()
        raise


def _content(reply: ReplicaReply) -> Any:
    """Return a reply's answer or events. Raises Overloaded, EngineRejected."""
    tag, content = reply
    if tag == OK:
        return content
    if tag == OVERLOADED:
        raise Overloaded(content)
    raise EngineRejected(*content)


def _deaths() -> tuple[type[Exception], ...]:
    """Return Ray's exceptions for a replica that died. Imports Ray when it is first needed."""
    from ray.exceptions import RayActorError
    from ray.serve.exceptions import DeploymentUnavailableError

    return RayActorError, DeploymentUnavailableError


def _log_death(work: ReplicaRequest, error: Exception, attempt: int) -> None:
    kind = type(error).__name__
    # the id may be the client's: `repr` escapes line breaks in it
    _LOGGER.warning(
        "request %r: a replica died (%s) in attempt %d of %d; see the replica's log for the cause",
        work.request_id, kind, attempt, _MAX_ATTEMPTS,
    )  # fmt: skip
