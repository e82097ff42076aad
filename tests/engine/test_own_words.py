"""Instructions, examples and descriptions through a real engine, from the job file to answers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from pipelines.answering.answer import answer_document
from pipelines.documents import Document, Fields, Label
from pipelines.engine.config import EngineConfig
from pipelines.engine.vllm_engine import VllmEngine
from pipelines.job.spec import parse_job
from pipelines.models.resolve import Model
from pipelines.run.prepared import prepare_tasks
from pipelines.tasks.kinds import TaskSet
from pipelines.text.tokens import ChatTokenizer

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    # torch and vLLM warn on import and on shutdown
    pytest.mark.filterwarnings("ignore"),
]

WORDS = "All of these are reports of companies, of which a lawyer wants to know more. " * 8
TASKS: list[dict[str, Any]] = [
    {
        "name": "summary",
        "kind": "summarize",
        "max_words": 4,
        "instructions": "In <|end|> German.",
        "examples": [{"text": "It rained.", "answer": "Es regnete."}],
    },
    {
        "name": "topic",
        "kind": "classify",
        "labels": {"risk": "what may go wrong", "other": None},
        "examples": [{"text": "Fire may break out.", "answer": "risk"}],
    },
    {
        "name": "who",
        "kind": "ask",
        "question": "Who?",
        "max_tokens": 8,
        "examples": [{"answer": "Ann", "text": "It was Ann.", "quote": "It was Ann"}],
    },
    {
        "name": "facts",
        "kind": "extract",
        "fields": {"count": ["integer", "of items"], "listed": ["boolean", "on an exchange"]},
        "instructions": "Read closely.",
        "examples": [{"text": "We have 5.", "answer": {"count": 5}, "quotes": {"count": "5"}}],
    },
]


@pytest.fixture(scope="module")
def engine(tiny_model: Model, tiny_tokenizer: ChatTokenizer) -> Iterator[VllmEngine]:
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    started = VllmEngine(EngineConfig(tiny_model, 4096, gpu=False), tiny_tokenizer)
    yield started
    started.shutdown()


@pytest.fixture(scope="module")
def tasks(tiny_model: Model, tiny_tokenizer: ChatTokenizer) -> TaskSet:
    job = {"input": {"path": "in"}, "output": {"path": "out"}, "tasks": TASKS}
    spec = parse_job({**job, "instructions": WORDS, "long_documents": {"chunk_tokens": 600}})
    documents = spec.long_documents
    return prepare_tasks(spec.tasks, documents, tiny_model, tiny_tokenizer, 4096, spec.instructions)


async def test_all_kinds_of_task_are_answered_with_the_users_words(
    engine: VllmEngine, tasks: TaskSet
) -> None:
    result = await answer_document(Document("d", "A short text."), tasks, engine)
    assert [answer.status for answer in result.answers] == ["answered"] * 4
    label, fields = result.answers[1].value, result.answers[3].value
    assert isinstance(label, Label) and label.label in ("risk", "other")
    assert isinstance(fields, Fields) and fields.values.keys() == {"count", "listed"}


async def test_a_document_in_chunks_is_answered_with_the_users_words(
    engine: VllmEngine, tasks: TaskSet
) -> None:
    text = "\n\n".join(f"Ann had {number} of them. It rained." for number in range(600))
    result = await answer_document(Document("d", text), tasks, engine)
    assert [(answer.status, answer.strategy) for answer in result.answers] == [
        ("answered", "map_reduce")
    ] * 4


async def test_the_second_document_reuses_the_prefill_of_the_jobs_instructions(
    engine: VllmEngine, tasks: TaskSet
) -> None:
    instructions = len(tasks.tokenizer.encode(WORDS))
    assert instructions > 100
    await answer_document(Document("a", "First of all, a text."), tasks, engine)
    result = await answer_document(Document("b", "Second, another text."), tasks, engine)
    first = result.answers[0].usage
    # whole blocks of the cache are reused
    assert first.cached_prompt_tokens >= instructions - 16
