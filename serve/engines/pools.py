"""The engines behind the endpoint: a pool's Ray Serve handle, asked once more where a replica dies.

What a request met is raised as one of `serve.errors`; whoever calls knows no Ray.
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
# The first replica, and another where that one died.
_TRIES = 2


class EnginePool(Protocol):
    """Engines of one kind."""

    async def answer(self, work: ReplicaRequest) -> dict[str, Any]:
        """Raises Overloaded, EngineRejected, ReplicasDied."""

    def stream(self, work: ReplicaRequest) -> AsyncGenerator[EventBatch, None]:
        """Stream the reply to a request.

        Raises Overloaded, EngineRejected, ReplicasDied before the first events; EngineRejected,
        ReplicasDied after them.
        """


class RayServePool:
    """A pool by its deployment handle."""

    def __init__(self, handle: Any) -> None:
        self._answer = handle.options(method_name="answer")
        self._stream = handle.options(method_name="stream", stream=True)

    async def answer(self, work: ReplicaRequest) -> dict[str, Any]:
        for attempt in range(1, _TRIES + 1):
            try:
                told = await _awaited(self._answer.remote(work))
            except _deaths() as error:
                _note(work, error, attempt)
                continue
            answer: dict[str, Any] = _read(told)
            return answer
        raise ReplicasDied()

    async def stream(self, work: ReplicaRequest) -> AsyncGenerator[EventBatch, None]:
        begun = answers = False
        for attempt in range(1, _TRIES + 1):
            try:
                async with aclosing(_told(self._stream.remote(work))) as told:
                    async for each in told:
                        sent = _read(each)
                        answers |= sent.has_answer
                        if sent.has_answer or not begun:
                            yield sent
                        begun = True
                return
            except Overloaded:
                if begun:
                    raise ReplicasDied() from None
                raise
            except _deaths() as error:
                _note(work, error, attempt)
                if answers:
                    raise ReplicasDied() from error
        raise ReplicasDied()


async def _awaited(response: Any) -> ReplicaReply:
    """What a response holds; who waits no longer, as at the deadline, stops the engine's work."""
    try:
        told: ReplicaReply = await response
    except asyncio.CancelledError:
        response.cancel()
        raise
    return told


async def _told(response: Any) -> AsyncGenerator[ReplicaReply, None]:
    """What a streaming response holds; it is cancelled where nobody listens any more."""
    try:
        async for each in response:
            yield each
    except (GeneratorExit, asyncio.CancelledError):
        response.cancel()
        raise


def _read(told: ReplicaReply) -> Any:
    tag, content = told
    if tag == OK:
        return content
    if tag == OVERLOADED:
        raise Overloaded(content)
    raise EngineRejected(*content)


def _deaths() -> tuple[type[Exception], ...]:
    from ray.exceptions import RayActorError
    from ray.serve.exceptions import DeploymentUnavailableError

    return RayActorError, DeploymentUnavailableError


def _note(work: ReplicaRequest, error: Exception, attempt: int) -> None:
    kind = type(error).__name__
    # the name is the client's: as a literal it stays in its line
    _LOGGER.warning("%r: a replica died (%s), attempt %d", work.request_id, kind, attempt)
