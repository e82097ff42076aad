"""One engine of a pool behind Ray Serve: what it answers, what it refuses, how full it is.

A request is a `ReplicaRequest`, an answer a tagged tuple, so that a refusal is no error in
anybody's log. An
engine that dies takes its replica with it: whoever waits is told at once and asks another.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pipelines.answering.answer import answer_document
from pipelines.answering.protocols import ChunkResult, ProgressCallback
from pipelines.documents import Answer, Document, DocumentResult, Usage
from pipelines.engine.vllm_engine import EngineConfig, VllmEngine
from pipelines.errors import EngineDied, flatten_errors
from pipelines.job.spec import TaskSpec
from pipelines.run.metrics import EngineMetrics
from pipelines.tasks.kinds import Sampling, TaskSet
from serve.engines.chat import TEXT
from serve.engines.completions import Completions, WorkRejected
from serve.engines.completions import parse_usage as completion_usage
from serve.engines.load import LoadLimiter, Overloaded
from serve.engines.offer import PreparedEndpoint
from serve.events import batched_events, event
from serve.spec import ServeSpec
from serve.wire import answers_json, chunk_event, error_json, usage_json

DOCUMENT = "document"
OK, REFUSED, OVERLOADED = "ok", "refused", "overloaded"
ReplicaReply = tuple[str, Any]
"""A tag, and what goes with it: an answer or a `EventBatch`, a status with an error, or seconds to
wait."""

FULLNESS = "fullness"
"""What the autoscaler is told: how many engines the outstanding tokens would fill."""
FULL = "full"
"""What the router is told: whether whoever comes is refused."""
_BYTES_PER_TOKEN = 4
_LOGGER = logging.getLogger("ray.serve")


@dataclass(frozen=True, slots=True)
class ReplicaRequest:
    """One request, checked: a document with its tasks, or prompts as ids with OpenAI's body."""

    kind: str
    request_id: str
    text: str = ""
    specs: tuple[TaskSpec, ...] = ()
    prompt_ids: tuple[tuple[int, ...], ...] = ()
    body: dict[str, Any] | None = None

    @property
    def prompt_tokens(self) -> int:
        """What it asks an engine to read, about."""
        if self.kind == DOCUMENT:
            return max(1, len(self.text.encode()) // _BYTES_PER_TOKEN)
        return max(1, sum(map(len, self.prompt_ids)))


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Some server-sent events of an answer, and what the whole of it took, once that is known.
    `answers`: they tell of the answer; else another replica can still give all of it."""

    events: str
    used: Usage | None = None
    has_answer: bool = True


class EngineReplica:
    """A deployment's class: starts the engine of `pool`, then answers."""

    async def __init__(self, spec: ServeSpec, pool: str, gpu: bool) -> None:  # type: ignore[misc]
        # Ray Serve awaits it
        self._offer = PreparedEndpoint(spec, weights=True)
        config = self._offer.engine_config(pool, gpu=gpu)
        self._engine, self._completions = self.start(config)
        self._load = LoadLimiter(
            max(1, int(self._engine.kv_cache_tokens * spec.limits.outstanding_share))
        )
        self._streams = 0
        self._metrics = self.measure({"app": spec.name, "pool": pool})
        await self._warm_up()

    def start(self, config: EngineConfig) -> tuple[VllmEngine, Completions]:
        """The engine, and OpenAI's completions over it. Raises EngineError."""
        engine = VllmEngine(config, self._offer.tokenizer, ray_metrics=True)
        return engine, Completions(engine, self._offer.spec.model.name)

    def measure(self, tags: dict[str, str]) -> EngineMetrics:
        return EngineMetrics(tags)

    async def _warm_up(self) -> None:
        """What vLLM loads and makes at its first requests would keep the first client waiting."""
        (ids,) = self._offer.prompts(TEXT, {"prompt": "a"})
        body = {"model": self._offer.spec.model.name, "prompt": "a", "max_tokens": 1}
        await self._completions.answer(TEXT, body, [ids])
        schema = json.dumps({"type": "object", "properties": {"a": {"type": "null"}}})
        await self._engine.generate(ids, Sampling(1, schema=schema))

    async def answer(self, work: ReplicaRequest) -> ReplicaReply:
        """A whole answer."""
        try:
            with self._held(work), _ending_with_the_engine():
                return OK, await self._answer(work)
        except Overloaded as error:
            return OVERLOADED, error.retry_after
        except WorkRejected as error:
            return REFUSED, (error.status, error.error)

    async def stream(self, work: ReplicaRequest) -> AsyncIterator[ReplicaReply]:
        """An answer as server-sent events, some at a time."""
        self._streams += 1
        used: list[Usage] = []
        try:
            with self._held(work), _ending_with_the_engine():
                events = batched_events(self._events(work, used.append), lambda: self._streams)
                begun = _progress(work, 0)
                async with aclosing(events):
                    async for together in events:
                        yield OK, EventBatch(together, used[0] if used else None, together != begun)
        except Overloaded as error:
            yield OVERLOADED, error.retry_after
        except WorkRejected as error:
            yield REFUSED, (error.status, error.error)
        finally:
            self._streams -= 1

    @contextmanager
    def _held(self, work: ReplicaRequest) -> Iterator[None]:
        """Be counted as outstanding. Raises Overloaded."""
        try:
            with self._load.hold(work.prompt_tokens):
                self._metrics.in_flight(self._load.outstanding)
                yield
        finally:
            self._metrics.in_flight(self._load.outstanding)

    async def _answer(self, work: ReplicaRequest) -> dict[str, Any]:
        if work.kind == DOCUMENT:
            tasks = await self._tasks(work)
            return _body(work, tasks, await self._read(work, tasks))
        assert work.body is not None
        answer = await self._completions.answer(work.kind, work.body, work.prompt_ids)
        self._metrics.tokens(completion_usage(answer["usage"]))
        return answer

    async def _tasks(self, work: ReplicaRequest) -> TaskSet:
        # other answers go on while these are made ready
        return await asyncio.to_thread(self._offer.tasks, work.specs)

    async def _read(
        self, work: ReplicaRequest, tasks: TaskSet, watch: ProgressCallback | None = None
    ) -> DocumentResult:
        began = time.monotonic()
        document = Document(work.request_id, work.text)
        outcome = await answer_document(document, tasks, self._engine, watch)
        self._metrics.document(outcome, time.monotonic() - began)
        return outcome

    def _events(self, work: ReplicaRequest, note: Callable[[Usage], None]) -> AsyncIterator[str]:
        return (self._document_events if work.kind == DOCUMENT else self._completed)(work, note)

    async def _completed(
        self, work: ReplicaRequest, note: Callable[[Usage], None]
    ) -> AsyncIterator[str]:
        assert work.body is not None
        async for each in self._completions.events(work.kind, work.body, work.prompt_ids):
            if isinstance(each, Usage):
                self._metrics.tokens(each)
                note(each)
            else:
                yield each

    async def _document_events(
        self, work: ReplicaRequest, note: Callable[[Usage], None]
    ) -> AsyncIterator[str]:
        """`part` and `progress` for every chunk, `answer` for every task, `done` with them all."""
        tasks = await self._tasks(work)
        names = {task.spec.name: task for task in tasks.all}
        told: asyncio.Queue[ChunkResult | Answer | None] = asyncio.Queue()
        reading = asyncio.create_task(self._read(work, tasks, told.put_nowait))
        reading.add_done_callback(lambda _: told.put_nowait(None))
        read = 0
        try:
            yield _progress(work, 0)
            while (each := await told.get()) is not None:
                if isinstance(each, Answer):
                    yield event("answer", answers_json([names[each.task]], [each]))
                    continue
                yield event("part", chunk_event(names[each.task], each))
                if each.end > read:
                    read = each.end
                    yield _progress(work, read)
            outcome = await reading
            body = _body(work, tasks, outcome)
            note(_used(outcome))
            yield event("done", body)
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading

    def record_autoscaling_stats(self) -> dict[str, float]:
        """How many engines the outstanding tokens would fill."""
        full = min(self._load.limit, self._engine.kv_cache_tokens)
        return {FULLNESS: self._load.outstanding / full}

    def record_routing_stats(self) -> dict[str, bool]:
        """Whether it refuses whoever comes: then another is asked."""
        return {FULL: self._load.full}

    async def check_health(self) -> None:
        """Raises where the engine will answer nothing any more."""
        if self._engine.dead:
            raise RuntimeError("the engine is dead")

    def __del__(self) -> None:
        engine = getattr(self, "_engine", None)
        if engine is not None:
            engine.shutdown()


@contextmanager
def _ending_with_the_engine() -> Iterator[None]:
    """End this process where the engine dies within the block: nobody is served by one that is
    dead, who waits is told at once, and Ray starts another."""
    try:
        yield
    except* EngineDied as errors:
        _LOGGER.error("this replica ends: %s", flatten_errors(errors)[0])
        os._exit(1)


def _progress(work: ReplicaRequest, read: int) -> str:
    return event("progress", {"read_characters": read, "characters": len(work.text)})


def _body(work: ReplicaRequest, tasks: TaskSet, outcome: DocumentResult) -> dict[str, Any]:
    """Raises Refused where the document as a whole has no answer."""
    if outcome.problem:
        told = error_json(outcome.problem.message, "invalid_request_error", outcome.problem.reason)
        raise WorkRejected(422, told)
    return {
        "id": work.request_id,
        "answers": answers_json(tasks.all, outcome.answers),
        "usage": usage_json(_used(outcome)),
    }


def _used(outcome: DocumentResult) -> Usage:
    return sum((answer.usage for answer in outcome.answers), start=Usage())
