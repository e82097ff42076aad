"""A digest of phifleet's prompts. It is stored with the weights of `tiny`: if the digest of today's
prompts differs, the model was trained on other prompts and must be trained again.

The digest covers the token ids of every form of prompt for one text and one task of each kind, made
by the code that asks the engine, and the choices of an answer. It thus depends on the tokenizer,
but neither on the maximum length of answers nor on the grammar that they are decoded under.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence

from pipelines.answering.combining import Combiner, Finding
from pipelines.documents import (
    AnswerValue,
    Evidence,
    EvidenceStatus,
    Fields,
    Label,
    Reply,
    Summary,
    Usage,
)
from pipelines.job.task_specs import (
    CANNOT_TELL,
    AskTask,
    ClassifyTask,
    ExtractTask,
    SummarizeTask,
    TaskSpec,
)
from pipelines.tasks.kinds import Completion, Question, Task
from pipelines.tasks.questions import repair_question, tokenize_tasks
from pipelines.text.chunking import ChunkSize, cut
from pipelines.text.outline import opening
from pipelines.text.prompts import Prompts
from pipelines.text.search import DocumentSearch
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
_MAX_PROMPT_TOKENS = 4096
_SPECS: tuple[TaskSpec, ...] = (
    SummarizeTask(name="summary", max_words=30),
    ClassifyTask(name="topic", labels=("ships", "weather")),
    AskTask(name="who", question="Who is the owner?"),
    AskTask(name="when", question="When was it opened?", evidence="anchors"),
    ExtractTask(name="values", fields={"owner": "string"}, evidence="values"),
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
_SUMMARY_VALUES = (Summary("A report."), Summary("It rained."))
_LABEL_VALUES = (Label("ships"), Label("weather"))
_UNDECIDED_VALUES = (Label(CANNOT_TELL), Label(CANNOT_TELL))


def prompts_digest(tokenizer: ChatTokenizer) -> str:
    """Return 16 hex digits that change if any form of prompt, as token ids of `tokenizer`, or the
    choices of its answer change."""
    digest = hashlib.sha256()
    for ids, question in _prompts(tokenizer):
        choices = question.sampling.choices if question else ()
        digest.update(repr((list(ids), choices)).encode())
    return digest.hexdigest()[:16]


def _prompts(tokenizer: ChatTokenizer) -> Iterator[tuple[Sequence[int], Question | None]]:
    """Yield the token ids of prompt prefixes with None, then those of questions and of combining
    prompts with the question."""
    prompts = Prompts(tokenizer)
    chunks = cut(_TEXT, ChunkSize(48, 8), tokenizer)
    chunk_prefixes = [prompts.chunk_prefix(_TEXT, chunk, opening(_TEXT)) for chunk in chunks]
    for prefix in (prompts.document_prefix(tokenizer.encode(_TEXT)), *chunk_prefixes):
        yield tokenizer.build_prompt(prefix.token_ids, []), None
    for task in tokenize_tasks(_SPECS, tokenizer):
        repair = repair_question(task.question, "not JSON", tokenizer)
        for question in (task.question, task.chunk_question, repair):
            yield question.token_ids, question
        for values in _chunk_values(task.spec):
            yield from _combining_prompts(tokenizer, task, values)


def _chunk_values(spec: TaskSpec) -> tuple[tuple[AnswerValue, AnswerValue], ...]:
    """Return pairs of answers from two chunks that a combining prompt is needed for."""
    match spec:
        case SummarizeTask():
            return (_SUMMARY_VALUES,)
        case ClassifyTask():
            return _LABEL_VALUES, _UNDECIDED_VALUES
    path = "" if isinstance(spec, AskTask) else "owner"
    first, second = (
        Evidence(path, EvidenceStatus.SHOWN, f"owner: {name}", 0, 1) for name in ("Ann", "Bo")
    )
    if isinstance(spec, AskTask):
        return ((Reply("Ann", (first,)), Reply("Bo", (second,))),)
    return ((Fields({"owner": "Ann"}, (first,)), Fields({"owner": "Bo"}, (second,))),)


def _combining_prompts(
    tokenizer: ChatTokenizer, task: Task, values: Sequence[AnswerValue]
) -> list[tuple[Sequence[int], Question]]:
    """Return the prompts, with their questions, that the Combiner sends for two chunks' answers."""
    requests: list[tuple[Sequence[int], Question]] = []

    async def ask(prefix_ids: Sequence[int], question: Question) -> Completion:
        requests.append((tokenizer.build_prompt(prefix_ids, question.token_ids), question))
        choices = question.sampling.choices
        return Completion(choices[0] if choices else "", Usage(), "")

    half = len(_TEXT) // 2
    findings = [Finding(0, half, values[0]), Finding(half, len(_TEXT), values[1])]
    combiner = Combiner(DocumentSearch(_TEXT), Prompts(tokenizer), _MAX_PROMPT_TOKENS, ask)
    asyncio.run(combiner.combine(task, findings))
    return requests
