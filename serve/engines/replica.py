"""A replica of a pool: one engine behind Ray Serve, which answers documents and completions.

A replica receives a `ReplicaRequest` and replies with a tagged tuple, in which a rejected request
is not an exception, because Ray Serve would log each as an error. If the engine dies, the replica's
process ends: the fronts notice at once and send their requests to another replica.
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
from pipelines.engine.config import EngineConfig
from pipelines.engine.grammars import grammar_fault
from pipelines.engine.vllm_engine import VllmEngine
from pipelines.errors import EngineDied, flatten_errors
from pipelines.job.task_specs import TaskSpec
from pipelines.run.metrics import EngineMetrics
from pipelines.tasks.guidance import own_words
from pipelines.tasks.kinds import Sampling, TaskSet
from serve.engines.chat import TEXT
from serve.engines.completions import METRICS, Completions
from serve.engines.completions import parse_usage as completion_usage
from serve.engines.grammars import check_format, check_tasks
from serve.engines.load import LoadLimiter
from serve.engines.offer import PreparedEndpoint
from serve.errors import EngineRejected, Overloaded
from serve.events import batched_events, event
from serve.spec import ServeSpec
from serve.wire import answers_json, chunk_event, document_json, error_json, total_usage

DOCUMENT = "document"
"""The kind of a request for a document; completions have the kinds CHAT and TEXT."""
OK, REFUSED, OVERLOADED = "ok", "refused", "overloaded"
"""The tags of a `ReplicaReply`: answered, answered with an error, and rejected for its load."""
ReplicaReply = tuple[str, Any]
"""A tag and its content: OK with an answer or an `EventBatch`, REFUSED with an HTTP status and an
error body, OVERLOADED with the seconds after which to retry."""

FULLNESS = "fullness"
"""The key of the autoscaling metric, an engine's outstanding prompt tokens divided by its capacity
(see `record_autoscaling_stats`)."""
FULL = "full"
"""The key of the routing metric, which is True if the replica rejects further requests."""
# An estimate, to count a document's tokens without tokenizing it.
_BYTES_PER_TOKEN = 4
_LOGGER = logging.getLogger("ray.serve")


@dataclass(frozen=True, slots=True)
class ReplicaRequest:
    """A checked request to a replica.

    `kind` is DOCUMENT, CHAT or TEXT. With DOCUMENT the request has `text` and `specs`, the tasks to
    answer about it. Otherwise it has `body`, OpenAI's request, and `prompt_ids`, the token ids of
    each of its prompts. `request_id` is returned as the answer's id of a document.
    """

    kind: str
    request_id: str
    text: str = ""
    specs: tuple[TaskSpec, ...] = ()
    prompt_ids: tuple[tuple[int, ...], ...] = ()
    body: dict[str, Any] | None = None

    @property
    def prompt_tokens(self) -> int:
        """The number of prompt tokens, at least 1: summed over the prompts of a completion; for a
        document an estimate, a quarter of the bytes of its text, and of its tasks' instructions and
        examples, whatever else these ask."""
        if self.kind == DOCUMENT:
            texts = [self.text, *map(own_words, self.specs)]
            return max(1, sum(len(text.encode()) for text in texts) // _BYTES_PER_TOKEN)
        return max(1, sum(map(len, self.prompt_ids)))


@dataclass(frozen=True, slots=True)
class EventBatch:
    """One or more server-sent events of a streamed answer, as text.

    `used` has the token counts of the whole answer, if they are known already. `has_answer` is
    False for events without any part of the answer: if the replica dies after these, another one
    can still send the complete answer.
    """

    events: str
    used: Usage | None = None
    has_answer: bool = True


class EngineReplica:
    """One replica of a pool's deployment on Ray Serve: an engine with load limit and metrics."""

    async def __init__(self, spec: ServeSpec, pool: str, gpu: bool) -> None:  # type: ignore[misc]
        """Start an engine of the pool `pool`, on GPUs or on the CPU, and send it two requests to
        warm it up. Ray Serve awaits this method. Raises SpecError, ModelError, EngineError."""
        self._prepared = PreparedEndpoint(spec, weights=True)
        config = self._prepared.engine_config(pool, gpu=gpu)
        self._engine, self._completions = self.start(config)
        self._load = LoadLimiter(
            max(1, int(self._engine.kv_cache_tokens * spec.limits.outstanding_share))
        )
        self._streams = 0
        self._metrics = self.create_metrics({"app": spec.name, "pool": pool})
        await self._warm_up()

    def start(self, config: EngineConfig) -> tuple[VllmEngine, Completions]:
        """Start the engine, and return it with OpenAI's completions on it. Called once, when the
        replica starts; a test overrides it. Raises EngineError if it does not start."""
        engine = VllmEngine(config, self._prepared.tokenizer, ray_metrics=True)
        return engine, Completions(engine, self._prepared.spec.model.name)

    def create_metrics(self, tags: dict[str, str]) -> EngineMetrics:
        """Create the metrics in which the replica records its requests, with `tags` as labels.
        Called once, when the replica starts; a test overrides it."""
        return EngineMetrics(tags)

    async def _warm_up(self) -> None:
        """Check a schema, and send a completion and a decoding by the schema, for which libraries
        load and compile code at first: the first client is not to wait for that."""
        (ids,) = self._prepared.prompts(TEXT, {"prompt": "a"})
        body = {"model": self._prepared.spec.model.name, "prompt": "a", "max_tokens": 1}
        await self._completions.answer(TEXT, body, [ids])
        schema = json.dumps({"type": "object", "properties": {"a": {"type": "null"}}})
        await asyncio.to_thread(grammar_fault, schema)
        await self._engine.generate(ids, Sampling(1, schema=schema))

    async def answer(self, work: ReplicaRequest) -> ReplicaReply:
        """Return the complete answer to a request as (OK, JSON object of the response).

        If there is no answer, returns a REFUSED or OVERLOADED reply instead. If the engine dies,
        this process ends. Called by the front, through Ray Serve."""
        try:
            with self._held(work), _ending_with_the_engine():
                return OK, await self._answer(work)
        except Overloaded as error:
            return OVERLOADED, error.retry_after
        except EngineRejected as error:
            return REFUSED, (error.status, error.body)

    async def stream(self, work: ReplicaRequest) -> AsyncIterator[ReplicaReply]:
        """Yield the answer to a request in batches of server-sent events, as (OK, EventBatch).

        If the answer fails, the last reply is REFUSED or OVERLOADED. If the engine dies, this
        process ends. Called by the front, through Ray Serve."""
        self._streams += 1
        used: list[Usage] = []
        try:
            with self._held(work), _ending_with_the_engine():
                events = batched_events(self._events(work, used.append), lambda: self._streams)
                first = _progress(work, 0)
                async with aclosing(events):
                    async for batch in events:
                        yield OK, EventBatch(batch, used[0] if used else None, batch != first)
        except Overloaded as error:
            yield OVERLOADED, error.retry_after
        except EngineRejected as error:
            yield REFUSED, (error.status, error.body)
        finally:
            self._streams -= 1

    @contextmanager
    def _held(self, work: ReplicaRequest) -> Iterator[None]:
        """Count the request as outstanding during the block. Raises Overloaded."""
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
        await check_format(work.body)
        answer = await self._completions.answer(work.kind, work.body, work.prompt_ids)
        self._metrics.tokens(completion_usage(answer))
        answer.pop(METRICS, None)
        return answer

    async def _tasks(self, work: ReplicaRequest) -> TaskSet:
        """Return the request's tasks. Raises EngineRejected if the engine cannot decode one."""
        # in a thread, because it can take long enough to stop the other answers
        tasks = await asyncio.to_thread(self._prepared.tasks, work.specs)
        await check_tasks(tasks)
        return tasks

    async def _read(
        self, work: ReplicaRequest, tasks: TaskSet, watch: ProgressCallback | None = None
    ) -> DocumentResult:
        began = time.monotonic()
        document = Document(work.request_id, work.text)
        result = await answer_document(document, tasks, self._engine, watch)
        self._metrics.document(result, time.monotonic() - began)
        return result

    def _events(self, work: ReplicaRequest, note: Callable[[Usage], None]) -> AsyncIterator[str]:
        """Return the events of an answer. `note` is called with its token counts."""
        events = self._document_events if work.kind == DOCUMENT else self._completion_events
        return events(work, note)

    async def _completion_events(
        self, work: ReplicaRequest, note: Callable[[Usage], None]
    ) -> AsyncIterator[str]:
        assert work.body is not None
        await check_format(work.body)
        async for item in self._completions.events(work.kind, work.body, work.prompt_ids):
            if isinstance(item, Usage):
                self._metrics.tokens(item)
                note(item)
            else:
                yield item

    async def _document_events(
        self, work: ReplicaRequest, note: Callable[[Usage], None]
    ) -> AsyncIterator[str]:
        """Yield `part` and `progress` for each chunk, `answer` for each task, and `done` with all
        answers."""
        tasks = await self._tasks(work)
        names = {task.spec.name: task for task in tasks.all}
        results: asyncio.Queue[ChunkResult | Answer | None] = asyncio.Queue()
        reading = asyncio.create_task(self._read(work, tasks, results.put_nowait))
        reading.add_done_callback(lambda _: results.put_nowait(None))
        read = 0
        try:
            yield _progress(work, 0)
            while (item := await results.get()) is not None:
                if isinstance(item, Answer):
                    yield event("answer", answers_json([names[item.task]], [item]))
                    continue
                yield event("part", chunk_event(names[item.task], item))
                if item.end > read:
                    read = item.end
                    yield _progress(work, read)
            result = await reading
            body = _body(work, tasks, result)
            note(total_usage(result.answers))
            yield event("done", body)
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Return the fullness for the autoscaler: the outstanding prompt tokens divided by the KV
        cache's capacity, or by the load limit if that is less. 2 means that they would fill two
        engines. Called by Ray Serve."""
        capacity = min(self._load.limit, self._engine.kv_cache_tokens)
        return {FULLNESS: self._load.outstanding / capacity}

    def record_routing_stats(self) -> dict[str, bool]:
        """Return {FULL: whether the replica rejects further requests}, for the router. Called by
        Ray Serve."""
        return {FULL: self._load.full}

    async def check_health(self) -> None:
        """Raise RuntimeError if the engine is dead, so that Ray Serve replaces the replica."""
        if self._engine.dead:
            raise RuntimeError("the engine is dead; Ray Serve replaces this replica")

    def __del__(self) -> None:
        engine = getattr(self, "_engine", None)
        if engine is not None:
            engine.shutdown()


@contextmanager
def _ending_with_the_engine() -> Iterator[None]:
    """End this process if the engine dies during the block.

    The fronts see at once that the replica has ended, and Ray Serve starts another one.
    """
    try:
        yield
    except* EngineDied as errors:
        _LOGGER.error(
            "this replica ends, and Ray Serve starts another one: %s", flatten_errors(errors)[0]
        )
        os._exit(1)


def _progress(work: ReplicaRequest, read: int) -> str:
    """Return a `progress` event: `read` of the text's characters have been read."""
    return event("progress", {"read_characters": read, "characters": len(work.text)})


def _body(work: ReplicaRequest, tasks: TaskSet, result: DocumentResult) -> dict[str, Any]:
    """Return the answer's body. Raises EngineRejected if the document was not read at all."""
    if problem := result.problem:
        body = error_json(problem.message, "invalid_request_error", problem.reason)
        raise EngineRejected(422, body)
    return document_json(work.request_id, tasks.all, result.answers)
