"""Scores the answers of an engine against the rules of `tiny`.

The expected answers are computed in the way that phifleet reads a document: from the whole text if
it is read in one pass, else from its chunks, combined with the code of real runs.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.answering.answer import answer_document
from pipelines.answering.combining import Combiner, Finding
from pipelines.answering.limits import AnswerLimits, limited_combining
from pipelines.answering.passages import Passage, passages, single_pass_ids
from pipelines.answering.protocols import Engine
from pipelines.answering.records import TaskRecord
from pipelines.documents import (
    AnswerValue,
    Document,
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
from pipelines.tasks.kinds import Completion, Question, Task, TaskSet
from pipelines.tasks.merging import merge
from pipelines.tasks.replies import NOT_STATED
from pipelines.tasks.statements import ChunkFields
from pipelines.tasks.voting import vote
from pipelines.text.prompts import END_OF_NOTES, NOTES_INSTRUCTION
from pipelines.text.search import DocumentSearch
from pipelines.tiny import rules
from pipelines.tiny.author import Text

ASK, UNSTATED, EXTRACT, CLASSIFY, SUMMARIZE, QUOTE = CATEGORIES = (
    "ask", "not stated", "extract", "classify", "summarize", "quote",
)  # fmt: skip
"""The scored categories: answers to ask tasks whose key the text states, and does not state;
extract fields; labels; summaries; and the quotes for facts that the text states."""
QUESTION_PREFIX = "What is the "
"""The start of the question of every ask task; the key and a question mark follow."""

_QUOTED = ("quotes", "anchors")

Score = Counter[tuple[str, bool]]
"""The number of items by their category, one of CATEGORIES, and whether they are correct."""

Spans = Sequence[tuple[int, int]]
"""Start and end, in characters, of the parts of a text that are sent to the engine."""


@dataclass(frozen=True)
class Paper:
    """An evaluation document: a text, and `specs`, the tasks to run on it."""

    text: Text
    specs: tuple[TaskSpec, ...]


async def score_answers(paper: Paper, tasks: TaskSet, engine: Engine) -> Score:
    """Run the tasks of an evaluation document on `engine`, and return the score of the answers.

    `tasks` are `paper.specs`, prepared for the engine's model. A task that failed counts as wrong.
    """
    document = Document("d", paper.text.text)
    result = await answer_document(document, tasks, engine)
    _, parts = _read_passages(paper.text.text, tasks)
    spans = [(part.chunk.start, part.chunk.end) for part in parts]
    score: Score = Counter()
    for task, answer in zip(tasks.all, result.answers, strict=True):
        items = _score_task(paper.text.text, spans, task, answer.value, tasks, engine.max_model_len)
        score.update([item async for item in items])
    return score


async def _score_task(
    text: str,
    spans: Spans,
    task: Task,
    value: AnswerValue | None,
    tasks: TaskSet,
    max_model_len: int,
) -> AsyncIterator[tuple[str, bool]]:
    """Yield the category of each scored item in the answer of one task, and if it is correct."""
    spec = task.spec
    match spec:
        case AskTask():
            key = spec.question.removeprefix(QUESTION_PREFIX).removesuffix("?")
            stated = rules.stated(text, key)
            expected = stated[0] if stated else NOT_STATED
            is_correct = isinstance(value, Reply) and value.text == expected
            yield ASK if stated else UNSTATED, is_correct
            if stated and spec.evidence in _QUOTED:
                yield QUOTE, _is_quoted(value, key, stated)
        case ExtractTask(fields=dict() as fields):
            answers = value.values if isinstance(value, Fields) else {}
            for name, expected_value in _expected_fields(text, fields, spans, task).items():
                yield EXTRACT, answers.get(name, "") == expected_value
                key = rules.key_of(name)
                if (stated := rules.stated(text, key)) and spec.evidence in _QUOTED:
                    yield QUOTE, _is_quoted(value, key, stated, name)
        case ClassifyTask():
            label = value.label if isinstance(value, Label) else None
            yield CLASSIFY, label in await _expected_labels(text, spans, task, tasks)
        case SummarizeTask():
            summary = value.text if isinstance(value, Summary) else None
            yield SUMMARIZE, summary == await _expected_summary(text, task, tasks, max_model_len)


def _is_quoted(
    value: AnswerValue | None, key: str, stated: Sequence[str], field: str | None = None
) -> bool:
    """Return whether an answer has a verified quote that is a line `key: value` of the text."""
    evidence = value.evidence if isinstance(value, Reply | Fields) else ()
    lines = {rules.line(key, stated_value) for stated_value in stated}
    paths = re.compile(rf"{re.escape(field or '')}(?:[.\[].*)?")
    return any(
        row.status is EvidenceStatus.SHOWN and row.text in lines
        for row in evidence
        if paths.fullmatch(row.path)
    )


def _read_passages(text: str, tasks: TaskSet) -> tuple[str, Iterator[Passage]]:
    """Return how a text is read, and the passages that are sent to the engine."""
    ids = single_pass_ids(text, tasks)
    strategy = tasks.reading.strategy(len(ids) if ids is not None else sys.maxsize)
    assert strategy is not None
    return strategy, passages(text, ids, strategy, tasks)


def _expected_fields(
    text: str, fields: Mapping[str, Any], spans: Spans, task: Task
) -> dict[str, Any]:
    """Return the expected values by field name: single values from the whole text, lists merged
    from those of each span."""

    assert task.schema is not None
    parts = [
        ChunkFields(start, end, Fields(rules.values(text[start:end], fields)))
        for start, end in spans
    ]
    merged = merge(parts, task.schema).values
    lists = (name for name, kind in fields.items() if isinstance(kind, list))
    return rules.values(text, fields) | {name: merged[name] for name in lists}


async def _expected_labels(text: str, spans: Spans, task: Task, tasks: TaskSet) -> Sequence[str]:
    """Return the correct label, or all correct ones if the chunks' vote is tied."""
    spec = task.spec
    assert isinstance(spec, ClassifyTask)
    if len(spans) == 1:
        return [rules.label(text, spec.label_names)]
    labels = [rules.label(text[start:end], (*spec.labels, CANNOT_TELL)) for start, end in spans]
    votes = [Label(label) for label in labels if label != CANNOT_TELL]
    if votes:
        return vote(votes).tied

    def answer(notes: str, question: Question) -> str:
        return rules.label(notes, question.sampling.choices or ())

    label = await _combine(text, spans, task, [Label(CANNOT_TELL)] * len(spans), answer, tasks)
    assert isinstance(label, Label)
    return [label.label]


async def _expected_summary(text: str, task: Task, tasks: TaskSet, max_model_len: int) -> str:
    """Return the summary that results if every prompt is answered by the rules, and cut off at its
    limit in a real run."""
    tokenizer = tasks.tokenizer

    def cut_off(summary: str, question: Question) -> str:
        return tokenizer.decode_output(tokenizer.encode(summary)[: question.sampling.max_tokens])

    def answer(notes: str, question: Question) -> str:
        return cut_off(rules.combined_summary(rules.notes(notes)), question)

    strategy, parts = _read_passages(text, tasks)
    record = TaskRecord(task, strategy)
    limits = AnswerLimits(text, tasks, strategy, max_model_len)
    spans, values = [], []
    for part in parts:
        prompt = tokenizer.build_prompt(part.prefix.token_ids, record.question.token_ids)
        question = limits.limited(record.question, part.chunk, len(prompt))
        start, end = part.chunk.start, part.chunk.end
        record.add_passage(part.chunk)
        spans.append((start, end))
        values.append(Summary(cut_off(rules.summary(text[start:end]), question).strip()))
    limited = limited_combining(task, text, record.tokens_per_character, tasks)
    summary = await _combine(text, spans, limited, values, answer, tasks)
    assert isinstance(summary, Summary)
    return summary.text


async def _combine(
    text: str,
    spans: Spans,
    task: Task,
    values: Sequence[AnswerValue],
    answer: Callable[[str, Question], str],
    tasks: TaskSet,
) -> AnswerValue:
    """Combine the answers of chunks as in a real run. `answer` replaces the engine: it receives the
    notes of a combining prompt and the question, and returns the answer."""

    async def ask(prefix_ids: Sequence[int], question: Question) -> Completion:
        after_instruction = tasks.tokenizer.decode(prefix_ids).partition(NOTES_INSTRUCTION)[2]
        notes = after_instruction.rpartition(END_OF_NOTES)[0].strip()
        return Completion(answer(notes, question), Usage(), "stop")

    findings = [
        Finding(start, end, value) for (start, end), value in zip(spans, values, strict=True)
    ]
    combiner = Combiner(
        DocumentSearch(text), tasks.prompts, tasks.reading.combine_prompt_limit, ask
    )
    return await combiner.combine(task, findings)
