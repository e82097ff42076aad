"""The core algorithm: one document, its tasks and an engine give one outcome.

A document is read whole, or passage by passage where it is longer than the model reads well
(`reading.py`), and then each task is concluded from what its passages gave (`concluding.py`) while
other documents keep the engine busy. Awaited alike by the batch worker and by the online endpoint.

Pure: no Ray, no vLLM, no files. `protocols.py` states what it needs of an engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pipelines.answering.concluding import conclude
from pipelines.answering.passages import Passage, SplitText, split_into_passages
from pipelines.answering.protocols import Engine, ProgressCallback
from pipelines.answering.reading import PassageReader, TaskRecord
from pipelines.documents import TOO_LONG, Document, DocumentResult, Problem
from pipelines.tasks.kinds import TaskSet
from pipelines.text.lengths import MAP_REDUCE

# One thread keeps ahead of any engine; several would fight the event loop for the interpreter.
_TOKENIZING = ThreadPoolExecutor(1, "tokenize")
T = TypeVar("T")


async def answer_document(
    document: Document, tasks: TaskSet, engine: Engine, on_progress: ProgressCallback | None = None
) -> DocumentResult:
    """Answer every task of one document, however long it is.

    A task that fails leaves a problem in its answer's place. Raises EngineError.
    """
    text = document.text
    if text is None:
        return DocumentResult(document, problem=document.problem)
    opened = await _in_thread(_open, text, tasks)
    if opened is None:
        return DocumentResult(document, problem=_too_long(tasks.reading.max_single_pass_tokens))
    records = [TaskRecord(task, opened[0].strategy) for task in tasks.all]
    await _read(*opened, PassageReader(text, tasks, engine, records, on_progress))
    async with asyncio.TaskGroup() as group:
        answers = [
            group.create_task(conclude(record, text, tasks, engine, on_progress))
            for record in records
        ]
    return DocumentResult(document, tuple(answer.result() for answer in answers))


async def _read(opened: SplitText, first: Passage, reader: PassageReader) -> None:
    """Read all passages, each cut once the one before has its place in the engine's cache."""
    async with asyncio.TaskGroup() as group:
        passage: Passage | None = first
        while passage is not None:
            admitted = asyncio.Event()
            group.create_task(reader.read(passage, admitted))
            await admitted.wait()
            more = opened.strategy == MAP_REDUCE
            passage = await _in_thread(next, opened.passages, None) if more else None


async def _in_thread(function: Callable[..., T], *arguments: object) -> T:
    return await asyncio.get_running_loop().run_in_executor(_TOKENIZING, function, *arguments)


def _open(text: str, tasks: TaskSet) -> tuple[SplitText, Passage] | None:
    """Open a text and cut its first passage in one step of the tokenizing thread.

    Other texts that wait to be tokenized must not come between the two. None where the job reads
    no text as long as this one.
    """
    opened = split_into_passages(text, tasks)
    return None if opened is None else (opened, next(opened.passages))


def _too_long(most_tokens: int) -> Problem:
    return Problem(
        TOO_LONG,
        f"more than {most_tokens} tokens, the most that this job reads in one pass; "
        "long_documents.strategy: auto reads it in chunks",
    )
