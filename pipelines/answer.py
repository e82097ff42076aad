"""The algorithm: one document, some tasks and an engine give one outcome.

All tasks of a document go to the same engine with the document first, so its prefill is shared. A
document that the engine prefills in one step may be asked all questions at once; of a longer one
the first question goes alone until its first token, by when the document lies in the prefix cache.
Awaited alike by the batch worker and by the online endpoint.

Pure: no Ray, no vLLM, no files. What it knows of an engine is the protocol below.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from pipelines.documents import (
    INVALID_ANSWER,
    REJECTED,
    TOO_LONG,
    Answer,
    Document,
    Outcome,
    Problem,
    Usage,
)
from pipelines.errors import RequestRejected
from pipelines.tasks import InvalidAnswer, Sampling, Task, read_answer
from pipelines.tokens import Tokens

SINGLE = "single"
# One thread keeps ahead of any engine; several would fight the event loop for the interpreter.
_TOKENIZING = ThreadPoolExecutor(1, "tokenize")


@dataclass(frozen=True, slots=True)
class Completion:
    """What an engine gave for one prompt."""

    text: str
    usage: Usage
    finish_reason: str


class Engine(Protocol):
    """What answering needs of an engine. `instruction_ids` stand before every document;
    `kv_tokens` is what its KV cache holds, `step_tokens` what it prefills in one step, and
    `sequence_tokens` the least of its KV cache that a request is counted as, so that no more
    requests enter than it can have under way or next."""

    tokens: Tokens
    instruction_ids: tuple[int, ...]
    max_model_len: int
    kv_tokens: int
    step_tokens: int
    sequence_tokens: int

    def admit(self, tokens: int) -> AbstractAsyncContextManager[None]:
        """Wait for room for this many tokens of KV cache, and hold it."""

    async def generate(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        on_first_token: Callable[[], None] | None = None,
    ) -> Completion:
        """Complete one prompt. Raises RequestRejected for this prompt, EngineError for all."""


async def answer_document(document: Document, tasks: Sequence[Task], engine: Engine) -> Outcome:
    """Answer every task of one document in a single pass.

    A task that fails leaves a problem in its answer's place; only a dead engine raises.
    """
    if document.text is None:
        return Outcome(document, problem=document.problem)
    shared = [*engine.instruction_ids, *await _encode(document.text, engine.tokens)]
    prompts = [engine.tokens.frame(shared, task.question_ids) for task in tasks]
    needed = max(
        len(prompt) + task.sampling.max_tokens for prompt, task in zip(prompts, tasks, strict=True)
    )
    if needed > engine.max_model_len:
        return Outcome(document, problem=_too_long(needed, engine.max_model_len))
    room = max(_cache_tokens(len(shared), prompts, tasks), len(tasks) * engine.sequence_tokens)
    async with engine.admit(room):
        completions = await _complete(prompts, tasks, engine)
    answers = [
        _answer(task, completion, document.text)
        for task, completion in zip(tasks, completions, strict=True)
    ]
    return Outcome(document, tuple(answers))


async def _encode(text: str, tokens: Tokens) -> list[int]:
    return await asyncio.get_running_loop().run_in_executor(_TOKENIZING, tokens.encode, text)


def _too_long(needed: int, most: int) -> Problem:
    return Problem(TOO_LONG, f"needs {needed} tokens in one pass; the most is {most}")


def _cache_tokens(shared: int, prompts: Sequence[Sequence[int]], tasks: Sequence[Task]) -> int:
    """KV cache the document takes: its own tokens once, each question and answer besides."""
    own = sum(
        len(prompt) - shared + task.sampling.max_tokens
        for prompt, task in zip(prompts, tasks, strict=True)
    )
    return shared + own


async def _complete(
    prompts: Sequence[Sequence[int]], tasks: Sequence[Task], engine: Engine
) -> list[Completion | RequestRejected]:
    one_step = len(tasks) == 1 or max(map(len, prompts)) <= engine.step_tokens
    cached = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        told = None if one_step else cached.set
        asked = [group.create_task(_ask(prompts[0], tasks[0], engine, told))]
        asked[0].add_done_callback(lambda _: cached.set())
        if not one_step:
            await cached.wait()
        for prompt, task in zip(prompts[1:], tasks[1:], strict=True):
            asked.append(group.create_task(_ask(prompt, task, engine)))
    return [task.result() for task in asked]


async def _ask(
    prompt: Sequence[int],
    task: Task,
    engine: Engine,
    on_first_token: Callable[[], None] | None = None,
) -> Completion | RequestRejected:
    try:
        return await engine.generate(prompt, task.sampling, on_first_token)
    except RequestRejected as error:
        return error


def _answer(task: Task, completion: Completion | RequestRejected, text: str) -> Answer:
    name = task.spec.name
    if isinstance(completion, RequestRejected):
        return Answer(name, None, Problem(REJECTED, completion.message), SINGLE)
    problem = None
    value = None
    try:
        value = read_answer(task.spec, completion.text, text)
    except InvalidAnswer as error:
        problem = Problem(INVALID_ANSWER, str(error))
    return Answer(name, value, problem, SINGLE, 1, completion.usage, completion.finish_reason)
