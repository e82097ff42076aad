"""A digest of the prompts that `tiny` learns: one that differs from the trained model's own says
that phifleet now asks in other words than it was taught.

Prompts of all forms are made by the code that asks the engine, about one text and a task of each
kind, and with them how the answers are decoded. The digest is of their ids: it is the tokenizer's
too. How long an answer may be does not count.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence

from pipelines.answering.combining import Combiner, Finding
from pipelines.documents import AnswerValue, Fields, Label, Quote, Reply, Summary, Usage
from pipelines.job.spec import (
    CANNOT_TELL,
    AskTask,
    ClassifyTask,
    ExtractTask,
    SummarizeTask,
    TaskSpec,
)
from pipelines.tasks.kinds import Completion, Question, Task, repair_question, tokenize_tasks
from pipelines.text.chunking import ChunkSize, cut
from pipelines.text.outline import opening
from pipelines.text.prompts import Prompts
from pipelines.text.tokens import ChatTokenizer

_TEXT = """A report on the harbour. It has three parts.

# Ships

The first ship came in spring, the second in autumn. Both carried grain.
owner: Ann Lee

# Weather

It rained on most days, and the wind came from the west.
opened: 1987-05-04
owner: Bo Berg
"""
_LIMIT_TOKENS = 4096
_SPECS: tuple[TaskSpec, ...] = (
    SummarizeTask(name="summary", max_words=30),
    ClassifyTask(name="topic", labels=("ships", "weather")),
    AskTask(name="who", question="Who is the owner?"),
    ExtractTask(
        name="facts",
        fields={
            "owner": "string",
            "opened": "date",
            "ships": ["string"],
            "berths": "integer",
            "depth": "number",
            "lit": "boolean",
        },
    ),
)
_SUMMARIES = (Summary("A report."), Summary("It rained."))
_LABELS = (Label("ships"), Label("weather"))
_UNTOLD = (Label(CANNOT_TELL), Label(CANNOT_TELL))


def prompts_digest(tokens: ChatTokenizer) -> str:
    """16 hex digits that change with the words of the prompts, and with how these are put."""
    digest = hashlib.sha256()
    for ids, asked in _prompts(tokens):
        decoding = (asked.sampling.choices, asked.sampling.schema) if asked else ()
        digest.update(repr((list(ids), decoding)).encode())
    return digest.hexdigest()[:16]


def _prompts(tokens: ChatTokenizer) -> Iterator[tuple[Sequence[int], Question | None]]:
    """What is shown, and after it the questions."""
    prompts = Prompts(tokens)
    chunks = cut(_TEXT, ChunkSize(48, 8), tokens)
    parts = [prompts.chunk_prefix(_TEXT, chunk, opening(_TEXT)) for chunk in chunks]
    for each in (prompts.document_prefix(tokens.encode(_TEXT)), *parts):
        yield tokens.build_prompt(each.token_ids, []), None
    for task in tokenize_tasks(_SPECS, tokens):
        again = repair_question(task.question, "not JSON", tokens)
        for asked in (task.question, task.chunk_question, again):
            yield asked.token_ids, asked
        for values in _said(task.spec):
            yield from _combining(tokens, task, values)


def _said(spec: TaskSpec) -> tuple[tuple[AnswerValue, AnswerValue], ...]:
    match spec:
        case SummarizeTask():
            return (_SUMMARIES,)
        case ClassifyTask():
            return _LABELS, _UNTOLD
    first, second = (
        Quote(f"owner: {name}", 0, 1, verified=True, field="owner") for name in ("Ann", "Bo")
    )
    if isinstance(spec, AskTask):
        return ((Reply("Ann", (first,)), Reply("Bo", (second,))),)
    return ((Fields({"owner": "Ann"}, (first,)), Fields({"owner": "Bo"}, (second,))),)


def _combining(
    tokens: ChatTokenizer, task: Task, values: Sequence[AnswerValue]
) -> list[tuple[Sequence[int], Question]]:
    """What the Combiner asks about the values of two chunks."""
    put: list[tuple[Sequence[int], Question]] = []

    async def ask(shared: Sequence[int], asked: Question) -> Completion:
        put.append((tokens.build_prompt(shared, asked.token_ids), asked))
        return Completion(asked.sampling.choices[0] if asked.sampling.choices else "", Usage(), "")

    half = len(_TEXT) // 2
    findings = [Finding(0, half, values[0]), Finding(half, len(_TEXT), values[1])]
    asyncio.run(Combiner(_TEXT, Prompts(tokens), _LIMIT_TOKENS, ask).combine(task, findings))
    return put
