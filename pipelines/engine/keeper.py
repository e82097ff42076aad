"""The engine of a worker, and the next one where it has died.

Units read beside each other, or one alone with the engine. Knows nothing of what they read.
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
"""Engines that died one after the other without a document answered in between: no document is to
blame for so many."""


class SupervisedEngine(Engine, Protocol):
    """An engine that can be replaced. `used` are the tokens of its finished requests; `dead`: it
    will answer nothing any more."""

    used: Usage

    @property
    def dead(self) -> bool: ...

    @property
    def kv_tokens_in_flight(self) -> int: ...

    def shutdown(self) -> None: ...


class EngineSupervisor:
    """Starts an engine (which takes tens of seconds), and another whenever it has died."""

    def __init__(self, start: Callable[[], SupervisedEngine]) -> None:
        self._start = start
        self.engine = start()
        self.restarts = 0
        self._used_before = Usage()
        self._deaths = 0
        self._replacing = asyncio.Lock()
        self._turns = asyncio.Condition()
        self._beside = 0
        self._alone = False
        self._waiting_alone = 0

    @property
    def used(self) -> Usage:
        """Tokens of all engines so far."""
        return self._used_before + self.engine.used

    def record_answer(self) -> None:
        """Note that an engine has answered a document: its death is not this machine's fault."""
        self._deaths = 0

    async def living(self) -> SupervisedEngine:
        """The engine, or the next one where it died while it read nothing. Raises EngineError."""
        if self.engine.dead:
            await self.replace(self.engine, EngineDied("the engine died while it read nothing"))
        return self.engine

    async def replace(self, dead: SupervisedEngine, died: EngineDied) -> None:
        """Start another engine, unless somebody has done so. Raises EngineError."""
        async with self._replacing:
            if self.engine is not dead:
                return
            self._deaths += 1
            if self._deaths >= MOST_DEATHS_IN_A_ROW:
                raise EngineError(
                    f"{self._deaths} engines one after the other answered nothing before they "
                    f"died; the last: {died.message}"
                )
            self._used_before += dead.used
            await asyncio.to_thread(dead.shutdown)
            self.engine = await asyncio.to_thread(self._start)
            self.restarts += 1

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[SupervisedEngine]:
        """Share the engine with others for the time of the block, in which who sees it die has to
        replace it: nobody is to be alone with a dead one."""
        async with self._turns:
            await self._turns.wait_for(lambda: not (self._alone or self._waiting_alone))
            self._beside += 1
        try:
            yield await self.living()
        finally:
            async with self._turns:
                self._beside -= 1
                self._turns.notify_all()

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Have the engine alone; who waits for that comes before others that would share it."""
        async with self._turns:
            self._waiting_alone += 1
            try:
                await self._turns.wait_for(lambda: not (self._alone or self._beside))
            finally:
                self._waiting_alone -= 1
                self._turns.notify_all()
            self._alone = True
        try:
            yield
        finally:
            async with self._turns:
                self._alone = False
                self._turns.notify_all()
