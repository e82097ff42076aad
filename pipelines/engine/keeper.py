"""The engine of a worker: started, shared between units, and replaced if it has died.

Knows nothing of documents or units.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from pipelines.answering.protocols import Engine
from pipelines.documents import Usage
from pipelines.errors import EngineDied, EngineError

MOST_DEATHS_IN_A_ROW = 10
"""The number of engines of a worker that die in a row, without an answered document in between, at
which the run fails: so many deaths are the machine's fault, not a document's."""


class SupervisedEngine(Engine, Protocol):
    """An engine that can be shut down, to be replaced by another one.

    Attributes:
        used: tokens of its finished requests.
    """

    used: Usage

    @property
    def dead(self) -> bool:
        """True once it has died: it answers no more requests, and must be replaced."""
        ...

    @property
    def kv_tokens_in_flight(self) -> int:
        """KV cache tokens that admitted requests reserve now."""
        ...

    def shutdown(self) -> None:
        """End the engine and its processes, even if it hangs."""


class EngineObserver(Protocol):
    """Is told when a worker's engines start and die."""

    def started(self) -> None:
        """Called after each start of an engine."""

    def died(self, error: EngineDied) -> None:
        """Called before a dead engine is replaced; `error` is the one that reported the death."""


class EngineSupervisor:
    """Starts a worker's engine, and replaces it after each death.

    Attributes:
        engine: the latest engine; it may have died.
        restarts: number of engines that were replaced.
    """

    def __init__(
        self, start: Callable[[], SupervisedEngine], observer: EngineObserver | None = None
    ) -> None:
        """Start the first engine by calling `start`, which may take tens of seconds and may raise
        EngineError. Each replacement calls `start` again, in another thread. `observer` is told of
        the starts and deaths."""
        self._start = start
        self._observer = observer
        self.engine = start()
        if observer is not None:
            observer.started()
        self.restarts = 0
        self._used_before = Usage()
        self._deaths_in_a_row = 0
        self._replacing = asyncio.Lock()
        self._access = asyncio.Condition()
        self._sharing = 0
        self._exclusive = False
        self._waiting_exclusive = 0

    @property
    def used(self) -> Usage:
        """Tokens of finished requests of all engines so far."""
        return self._used_before + self.engine.used

    def record_answer(self) -> None:
        """Set the count of deaths in a row back to zero. Call it when an engine has answered a
        document."""
        self._deaths_in_a_row = 0

    async def running_engine(self) -> SupervisedEngine:
        """Return the engine; if it has died since its last use, replace it first and return the new
        one. Raises EngineError as `replace` does."""
        if self.engine.dead:
            await self.replace(self.engine, EngineDied("the engine died while it was idle"))
        return self.engine

    async def replace(self, dead: SupervisedEngine, died: EngineDied) -> None:
        """Shut `dead` down and start another engine, unless another caller has already done so.

        `died` is the error that reported the death. Raises EngineError if the engine does not
        start, or if 10 engines in a row died without answering a document.
        """
        async with self._replacing:
            if self.engine is not dead:
                return
            self._deaths_in_a_row += 1
            if self._deaths_in_a_row >= MOST_DEATHS_IN_A_ROW:
                raise EngineError(
                    f"{self._deaths_in_a_row} engines in a row died without answering a document; "
                    f"the last error: {died.message}. Check the run's log and the node's kernel "
                    "log for driver errors and out-of-memory kills, and remove the cause"
                )
            self._used_before += dead.used
            if self._observer is not None:
                self._observer.died(died)
            await asyncio.to_thread(dead.shutdown)
            self.engine = await asyncio.to_thread(self._start)
            self.restarts += 1
            if self._observer is not None:
                self._observer.started()

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[SupervisedEngine]:
        """Hold shared access to the engine during the block, and yield the engine.

        Waits while another unit has exclusive access or waits for it. If the engine dies inside the
        block, the caller must call `replace` before the block ends, so that no unit gets exclusive
        access to a dead engine. Raises EngineError if no engine can be started.
        """
        async with self._access:
            await self._access.wait_for(lambda: not (self._exclusive or self._waiting_exclusive))
            self._sharing += 1
        try:
            yield await self.running_engine()
        finally:
            async with self._access:
                self._sharing -= 1
                self._access.notify_all()

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Hold exclusive access to the engine during the block. Waits until no other block holds
        access; calls of `shared` that come later wait until the block ends. In the block,
        `running_engine` returns the engine."""
        async with self._access:
            self._waiting_exclusive += 1
            try:
                await self._access.wait_for(lambda: not (self._exclusive or self._sharing))
            finally:
                self._waiting_exclusive -= 1
                self._access.notify_all()
            self._exclusive = True
        try:
            yield
        finally:
            async with self._access:
                self._exclusive = False
                self._access.notify_all()
