"""The algorithm: one document, some tasks and an engine give one outcome.

A document is read whole, or passage by passage where it is longer than the model reads well. All
tasks of a passage go to the same engine with the passage first, so its prefill is shared. One that
the engine prefills in one step may be asked all questions at once; of a longer one the first
question goes alone until its first token, by when the passage lies in the prefix cache. What chunks
said is combined at the end, while other documents keep the engine busy. Awaited alike by the batch
worker and by the online endpoint.

Pure: no Ray, no vLLM, no files. What it knows of an engine is the protocol below.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from pipelines.answering.combining import Combiner, Finding
from pipelines.answering.passages import Passage, SplitText, split_into_passages
from pipelines.documents import (
    INVALID_ANSWER,
    REJECTED,
    TOO_LONG,
    Answer,
    AnswerValue,
    Document,
    DocumentResult,
    Problem,
    Usage,
)
from pipelines.errors import InvalidAnswer, RequestRejected
from pipelines.tasks.kinds import (
    Completion,
    Question,
    Sampling,
    Task,
    TaskSet,
    parse_answer,
    question_for,
    repair_question,
)
from pipelines.text.lengths import MAP_REDUCE

PARTIAL = "partial"
"""The finish reason of an answer that leaves out chunks which gave none."""
_LENGTH, _STOP = "length", "stop"
# One thread keeps ahead of any engine; several would fight the event loop for the interpreter.
_TOKENIZING = ThreadPoolExecutor(1, "tokenize")
T = TypeVar("T")


class Engine(Protocol):
    """What answering needs of an engine. `kv_cache_tokens` is what its KV cache holds,
    `max_batched_tokens` what
    it prefills in one step, and `min_request_tokens` the least of its KV cache that a request is
    counted as, so that no more requests enter than it can have under way or next."""

    kv_cache_tokens: int
    max_batched_tokens: int
    min_request_tokens: int

    def admit(self, tokens: int) -> AbstractAsyncContextManager[None]:
        """Wait for room for this many tokens of KV cache, and hold it."""

    async def generate(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        on_first_token: Callable[[], None] | None = None,
    ) -> Completion:
        """Complete one prompt. Raises RequestRejected for this prompt, EngineError for all."""


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """What one task was told by text[start:end], a chunk; None where that gave nothing."""

    task: str
    start: int
    end: int
    value: AnswerValue | None


ProgressCallback = Callable[[ChunkResult | Answer], None]
"""Is told, while a document is read, of every chunk as each task has read it, and of every answer
as it is made."""


async def answer_document(
    document: Document, tasks: TaskSet, engine: Engine, on_progress: ProgressCallback | None = None
) -> DocumentResult:
    """Answer every task of one document, however long it is.

    A task that fails leaves a problem in its answer's place; only a dead engine raises.
    """
    text = document.text
    if text is None:
        return DocumentResult(document, problem=document.problem)
    begun = await _aside(_open, text, tasks)
    if begun is None:
        return DocumentResult(document, problem=_too_long(tasks.reading.max_single_pass_tokens))
    opened, first = begun
    records = [_Record(task, opened.strategy) for task in tasks.all]
    read = _PassageReader(text, tasks, engine, records, on_progress)
    async with asyncio.TaskGroup() as group:
        passage: Passage | None = first
        while passage is not None:
            entered = asyncio.Event()
            group.create_task(read(passage, entered))
            # the next passage is cut when this one has its place in the engine's cache
            await entered.wait()
            more = opened.strategy == MAP_REDUCE
            passage = await _aside(next, opened.passages, None) if more else None
    async with asyncio.TaskGroup() as group:
        concluded = [
            group.create_task(_conclude(record, text, tasks, engine, on_progress))
            for record in records
        ]
    return DocumentResult(document, tuple(task.result() for task in concluded))


async def _aside(function: Callable[..., T], *arguments: object) -> T:
    return await asyncio.get_running_loop().run_in_executor(_TOKENIZING, function, *arguments)


def _too_long(most: int) -> Problem:
    told = f"more than {most} tokens, the most that this job reads in one pass"
    return Problem(TOO_LONG, f"{told}; long_documents.strategy: auto reads it in chunks")


def _open(text: str, tasks: TaskSet) -> tuple[SplitText, Passage] | None:
    """The text with its first passage: the other texts that wait to be tokenized must not come
    between the two. None where the job reads no text as long as this one."""
    opened = split_into_passages(text, tasks)
    return None if opened is None else (opened, next(opened.passages))


@dataclass
class _Record:
    """What one task has been told so far: findings by passage, problems, tokens."""

    task: Task
    strategy: str
    findings: dict[int, Finding] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    passages: int = 0
    usage: Usage = field(default_factory=Usage)
    last_reason: str | None = None
    cut_off: bool = False

    @property
    def question(self) -> Question:
        """What is asked about each passage."""
        return question_for(self.task, chunk=self.strategy == MAP_REDUCE)

    def count(self, completion: Completion) -> Completion:
        self.usage += completion.usage
        self.last_reason = completion.finish_reason
        return completion

    def answer(
        self, value: AnswerValue | None, problem: Problem | None, reason: str | None
    ) -> Answer:
        name = self.task.spec.name
        return Answer(name, value, problem, self.strategy, self.passages, self.usage, reason)


@dataclass(frozen=True)
class _PassageReader:
    """Puts all questions to one passage, and notes in the records what it said."""

    text: str
    tasks: TaskSet
    engine: Engine
    records: Sequence[_Record]
    watch: ProgressCallback | None

    async def __call__(self, passage: Passage, entered: asyncio.Event) -> None:
        frame = self.tasks.tokenizer.build_prompt
        asked = [record.question for record in self.records]
        prompts = [frame(passage.prefix.token_ids, each.token_ids) for each in asked]
        needed = _cache_tokens(len(passage.prefix.token_ids), prompts, asked)
        room = max(needed, len(prompts) * self.engine.min_request_tokens)
        async with self.engine.admit(room):
            entered.set()
            completions = await _complete(prompts, asked, self.engine)
            async with asyncio.TaskGroup() as group:
                for record, completion in zip(self.records, completions, strict=True):
                    group.create_task(self._note(record, passage, completion))

    async def _note(
        self, record: _Record, passage: Passage, completion: Completion | RequestRejected
    ) -> None:
        record.passages += 1
        chunk = passage.chunk
        value: AnswerValue | None = None
        try:
            value = await self._value(record, passage, completion)
        except (RequestRejected, InvalidAnswer) as error:
            record.problems.append(_problem(error))
        else:
            record.findings[passage.number] = Finding(chunk.start, chunk.end, value)
            record.cut_off |= record.last_reason == _LENGTH
        if self.watch is not None and record.strategy == MAP_REDUCE:
            self.watch(ChunkResult(record.task.spec.name, chunk.start, chunk.end, value))

    async def _value(
        self, record: _Record, passage: Passage, completion: Completion | RequestRejected
    ) -> AnswerValue:
        """The answer's value; one that breaks its schema is asked for once more."""
        if isinstance(completion, RequestRejected):
            raise completion
        task = record.task
        try:
            return self._read(record, passage, completion)
        except InvalidAnswer as fault:
            if task.schema is None:
                raise
            again = repair_question(record.question, fault.message, self.tasks.tokenizer)
        prompt = self.tasks.tokenizer.build_prompt(passage.prefix.token_ids, again.token_ids)
        second = await self.engine.generate(prompt, again.sampling)
        return self._read(record, passage, second)

    def _read(self, record: _Record, passage: Passage, completion: Completion) -> AnswerValue:
        counted = record.count(completion)
        part = record.strategy == MAP_REDUCE
        return parse_answer(record.task, counted, self.text, passage.span, chunk=part)


def _problem(error: BaseException) -> Problem:
    reason = REJECTED if isinstance(error, RequestRejected) else INVALID_ANSWER
    return Problem(reason, str(error))


def _cache_tokens(shared: int, prompts: Sequence[Sequence[int]], asked: Sequence[Question]) -> int:
    """KV cache a passage takes: its own tokens once, each question and answer besides."""
    return shared + sum(
        len(prompt) - shared + question.sampling.max_tokens
        for prompt, question in zip(prompts, asked, strict=True)
    )


async def _complete(
    prompts: Sequence[Sequence[int]], questions: Sequence[Question], engine: Engine
) -> list[Completion | RequestRejected]:
    one_step = len(prompts) == 1 or max(map(len, prompts)) <= engine.max_batched_tokens
    cached = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        told = None if one_step else cached.set
        asked = [group.create_task(_ask(prompts[0], questions[0], engine, told))]
        asked[0].add_done_callback(lambda _: cached.set())
        if not one_step:
            await cached.wait()
        for prompt, question in zip(prompts[1:], questions[1:], strict=True):
            asked.append(group.create_task(_ask(prompt, question, engine)))
    return [task.result() for task in asked]


async def _ask(
    prompt: Sequence[int],
    question: Question,
    engine: Engine,
    on_first_token: Callable[[], None] | None = None,
) -> Completion | RequestRejected:
    try:
        return await engine.generate(prompt, question.sampling, on_first_token)
    except RequestRejected as error:
        return error


async def _conclude(
    record: _Record, text: str, tasks: TaskSet, engine: Engine, watch: ProgressCallback | None
) -> Answer:
    answer = await _concluded(record, text, tasks, engine)
    if watch is not None:
        watch(answer)
    return answer


async def _concluded(record: _Record, text: str, tasks: TaskSet, engine: Engine) -> Answer:
    """The task's answer from what its passages said."""
    found = [record.findings[number] for number in sorted(record.findings)]
    if not found:
        return record.answer(None, record.problems[0], record.last_reason)
    if record.strategy != MAP_REDUCE:
        return record.answer(found[0].value, None, record.last_reason)
    record.last_reason = None

    async def ask(shared: Sequence[int], question: Question) -> Completion:
        prompt = tasks.tokenizer.build_prompt(shared, question.token_ids)
        async with engine.admit(len(prompt) + question.sampling.max_tokens):
            return record.count(await engine.generate(prompt, question.sampling))

    combiner = Combiner(text, tasks.prompts, tasks.reading.combine_prompt_limit, ask)
    value, problem = None, None
    try:
        value = await combiner.combine(record.task, found)
    except* (RequestRejected, InvalidAnswer) as errors:
        problem = _problem(errors.exceptions[0])
    return record.answer(value, problem, _reason(record))


def _reason(record: _Record) -> str:
    """How a combined answer ended: the last question's end, or where there was none the worst."""
    if record.problems:
        return PARTIAL
    return record.last_reason or (_LENGTH if record.cut_off else _STOP)
