"""The core algorithm: answer all tasks of one document with an engine.

A document is read whole, or in several passages if it is longer than the model reads well, or in
parts (`opening.py`, `reading.py`). Then each task is concluded from the findings of the passages
(`concluding.py`) while other documents keep the engine busy. The batch worker and the online
endpoint both await `answer_document`.

Pure: no Ray, no vLLM, no files. `protocols.py` states what it needs of an engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pipelines.answering.concluding import conclude
from pipelines.answering.opening import Reading, open_readings
from pipelines.answering.passages import Passage
from pipelines.answering.protocols import Engine, ProgressCallback
from pipelines.answering.reading import PassageReader
from pipelines.answering.records import TaskRecord
from pipelines.answering.seeds import seeded
from pipelines.documents import TOO_LONG, Document, DocumentResult, Problem
from pipelines.tasks.kinds import TaskSet
from pipelines.text.search import DocumentSearch

# One thread keeps ahead of any engine; several would fight the event loop for the interpreter.
_TOKENIZING = ThreadPoolExecutor(1, "tokenize")
T = TypeVar("T")


async def answer_document(
    document: Document, tasks: TaskSet, engine: Engine, on_progress: ProgressCallback | None = None
) -> DocumentResult:
    """Answer every task of one document, of any length.

    The answer of a task that fails has a problem instead of a value. A document without text, or
    too long for the job, is returned with its problem and without answers. `on_progress` is called
    with every chunk's value (None if it failed) and every task's answer, each once it is known.
    Raises EngineError if the engine itself fails, in an ExceptionGroup.
    """
    text = document.text
    if text is None:
        return DocumentResult(document, problem=document.problem)
    # In one step of the tokenizing thread: other texts that wait to be tokenized must not come
    # between the opening of a text and its first passage.
    readings = await _in_thread(open_readings, text, tasks)
    if readings is None:
        return DocumentResult(document, problem=_too_long(tasks.reading.max_single_pass_tokens))
    search = DocumentSearch(text)
    records = {
        task.spec.name: TaskRecord(seeded(task, document.doc_id), reading.split.strategy)
        for reading in readings
        for task in reading.tasks
    }
    async with asyncio.TaskGroup() as group:
        for reading in readings:
            asked = [records[task.spec.name] for task in reading.tasks]
            reader = PassageReader(search, tasks, engine, asked, on_progress)
            group.create_task(_read(reading, reader))
    async with asyncio.TaskGroup() as group:
        answers = [
            group.create_task(conclude(records[task.spec.name], search, tasks, engine, on_progress))
            for task in tasks.all
        ]
    return DocumentResult(document, tuple(answer.result() for answer in answers))


async def _read(reading: Reading, reader: PassageReader) -> None:
    """Read all passages; each is cut once the one before has its KV cache reserved."""
    async with asyncio.TaskGroup() as group:
        passage: Passage | None = reading.first
        while passage is not None:
            admitted = asyncio.Event()
            group.create_task(reader.read(passage, admitted))
            await admitted.wait()
            several = reader.records[0].in_chunks
            passage = await _in_thread(next, reading.split.passages, None) if several else None


async def _in_thread(function: Callable[..., T], *arguments: object) -> T:
    return await asyncio.get_running_loop().run_in_executor(_TOKENIZING, function, *arguments)


def _too_long(max_tokens: int) -> Problem:
    return Problem(
        TOO_LONG,
        f"more than {max_tokens} tokens, the maximum that this job reads in one pass; "
        "set long_documents.strategy: auto to read it in chunks",
    )
