"""A digest of the prompts that `tiny` learns: one that differs from the trained model's own says
that phifleet now asks in other words than it was taught.

Every form of prompt is made once, about texts and tasks that never change, by the code that asks
the engine.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence

from pipelines.chunking import ChunkSize, cut
from pipelines.combining import Combiner, Finding
from pipelines.documents import Fields, Label, Quote, Reply, Summary, Usage, Value
from pipelines.outline import opening
from pipelines.prompts import Prompts
from pipelines.spec import (
    CANNOT_TELL,
    AskTask,
    ClassifyTask,
    ExtractTask,
    SummarizeTask,
    TaskSpec,
)
from pipelines.tasks import Completion, Question, Task, prepare, repair_question
from pipelines.tokens import Tokens

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
    ExtractTask(name="facts", fields={"owner": "string", "opened": "date", "ships": ["string"]}),
)
_SUMMARIES = (Summary("A report."), Summary("It rained."))
_LABELS = (Label("ships"), Label("weather"))
_UNTOLD = (Label(CANNOT_TELL), Label(CANNOT_TELL))


def prompts_digest(tokens: Tokens) -> str:
    """16 hex digits that change with any word of a prompt."""
    digest = hashlib.sha256()
    for text in _prompts(tokens):
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()[:16]


def _prompts(tokens: Tokens) -> Iterator[str]:
    prompts = Prompts(tokens)
    chunks = cut(_TEXT, ChunkSize(48, 8), tokens)
    parts = [prompts.part(_TEXT, chunk, opening(_TEXT)) for chunk in chunks]
    for each in (prompts.whole(tokens.encode(_TEXT)), *parts):
        yield tokens.decode(tokens.frame(each.ids, []))
    for task in prepare(_SPECS, tokens):
        again = repair_question(task.question, "not JSON", tokens)
        for asked in (task.question, task.part_question, again):
            yield f"{tokens.decode(asked.ids)} {asked.sampling.choices} {asked.sampling.schema}"
        for values in _said(task.spec):
            yield from _combining(tokens, task, values)


def _said(spec: TaskSpec) -> tuple[tuple[Value, Value], ...]:
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


def _combining(tokens: Tokens, task: Task, values: Sequence[Value]) -> list[str]:
    put: list[str] = []

    async def ask(shared: Sequence[int], asked: Question) -> Completion:
        put.append(tokens.decode(tokens.frame(shared, asked.ids)))
        return Completion(asked.sampling.choices[0] if asked.sampling.choices else "", Usage(), "")

    half = len(_TEXT) // 2
    findings = [Finding(0, half, values[0]), Finding(half, len(_TEXT), values[1])]
    asyncio.run(Combiner(_TEXT, Prompts(tokens), _LIMIT_TOKENS, ask).combine(task, findings))
    return put
