"""The kinds of task: the question each puts, how it is decoded, and how its answer is read back.

`prepare` makes a job's tasks ready for one model: their questions as ids. What the model is shown
around a question, `prompts.py` says; a question's words count for PROMPT_VERSION too. Knows no
engine and no files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.documents import AnswerValue, Label, Quote, Reply, Summary, Usage
from pipelines.errors import InvalidAnswer
from pipelines.job.spec import (
    CANNOT_TELL,
    AskTask,
    ClassifyTask,
    ExtractTask,
    SummarizeTask,
    TaskSpec,
)
from pipelines.tasks.columns import AnswerColumn
from pipelines.tasks.extraction import (
    answer_schema,
    form_template,
    max_answer_tokens,
    parse_fields,
    schema_of,
)
from pipelines.tasks.merging import normalize_text
from pipelines.tasks.schema import nullable
from pipelines.tasks.validation import JsonSchema
from pipelines.text.grounding import locate
from pipelines.text.lengths import ReadingPlan
from pipelines.text.prompts import Prompts
from pipelines.text.tokens import ChatTokenizer

NOT_STATED = "Not stated"
QUOTE_PREFIX = "Quote:"
# What a second question about a refused answer may add to the first.
REPAIR_TOKENS = 96


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the engine decodes one answer; always greedy. `choices`: the only texts allowed;
    `schema`: a JSON Schema, as JSON, under which the answer is decoded."""

    max_tokens: int
    choices: tuple[str, ...] | None = None
    schema: str | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """What an engine gave for one prompt. `logprob` is the natural logarithm of the probability of
    the whole answer among those that the sampling allows, where there are choices."""

    text: str
    usage: Usage
    finish_reason: str
    logprob: float | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, as text and ids, and how the answer is decoded."""

    text: str
    token_ids: tuple[int, ...]
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class Task:
    """A task of the job file made ready to be asked.

    `question` is put to a document, `chunk_question` to a chunk of it, and `combining` to the notes
    taken of chunks, where the kind of task has such a question. `schema` is what an extraction
    fills in, `chunk_schema` the same where any field may be null, for a chunk need not state it.
    """

    spec: TaskSpec
    question: Question
    chunk_question: Question
    combine_question: Question | None = None
    schema: dict[str, Any] | None = None
    chunk_schema: dict[str, Any] | None = None

    @property
    def column(self) -> AnswerColumn:
        return AnswerColumn(self.spec.name, self.spec.kind, self.schema)


@dataclass(frozen=True)
class TaskSet:
    """A job's tasks made ready for one model, and how its documents are read for them."""

    all: tuple[Task, ...]
    prompts: Prompts
    reading: ReadingPlan

    @property
    def tokenizer(self) -> ChatTokenizer:
        return self.prompts.tokenizer


def tokenize_tasks(specs: Sequence[TaskSpec], tokens: ChatTokenizer) -> tuple[Task, ...]:
    """The tasks with their questions tokenized, in the job's order. Raises SpecError."""
    return tuple(_task(spec, tokens) for spec in specs)


def make_question(text: str, sampling: Sampling, tokens: ChatTokenizer) -> Question:
    """A question in the form that every prompt has it."""
    whole = f"Question: {text}\n"
    return Question(whole, tuple(tokens.encode(whole)), sampling)


def question_for(task: Task, *, chunk: bool) -> Question:
    """What is asked about a chunk, or about a whole document."""
    return task.chunk_question if chunk else task.question


def _task(spec: TaskSpec, tokens: ChatTokenizer) -> Task:
    match spec:
        case SummarizeTask():
            sampling = Sampling(max_tokens=2 * spec.max_words + 16)
            asked = f"Sum this up in at most {spec.max_words} words."
            combining = f"Write one summary of the document in at most {spec.max_words} words."
            own = make_question(asked, sampling, tokens)
            return Task(spec, own, own, make_question(combining, sampling, tokens))
        case ClassifyTask():
            whole = label_question(spec.labels, tokens)
            return Task(spec, whole, label_question((*spec.labels, CANNOT_TELL), tokens))
        case AskTask():
            return _ask(spec, tokens)
        case ExtractTask():
            return _extract(spec, tokens)


def label_question(labels: Sequence[str], tokens: ChatTokenizer) -> Question:
    """Which of these labels fits."""
    listed = "\n".join(f"- {label}" for label in labels)
    text = f"Which label fits this best?\n{listed}\nAnswer with one label."
    longest = max(len(label.encode()) for label in labels)
    return make_question(text, Sampling(longest + 2, choices=tuple(labels)), tokens)


def _ask(spec: AskTask, tokens: ChatTokenizer) -> Task:
    sampling = Sampling(max_tokens=spec.max_tokens)
    asked = (
        f"{spec.question}\nAnswer briefly, or with {NOT_STATED!r} where the text does not say. "
        f"Then, on a line of its own that begins with {QUOTE_PREFIX} copy the words that show it."
    )
    combining = (
        f"{spec.question}\nAnswer briefly. Then, on a line of its own that begins with "
        f"{QUOTE_PREFIX} copy the quote from the notes that shows it."
    )
    own = make_question(asked, sampling, tokens)
    return Task(spec, own, own, make_question(combining, sampling, tokens))


def _extract(spec: ExtractTask, tokens: ChatTokenizer) -> Task:
    schema = schema_of(spec)
    of_part = nullable(schema)
    return Task(
        spec,
        _form_question(schema, tokens),
        _form_question(of_part, tokens),
        schema=schema,
        chunk_schema=of_part,
    )


def _form_question(schema: JsonSchema, tokens: ChatTokenizer) -> Question:
    most = max_answer_tokens(schema, lambda text: len(tokens.encode(text)))
    sampling = Sampling(most, schema=json.dumps(answer_schema(schema)))
    asked = (
        f"Fill in this form:\n{form_template(schema)}\n"
        "Write null, or an empty list, for what the text does "
        'not state. In "quotes", give for each field the words of the text that show it. Answer '
        "with JSON only."
    )
    return make_question(asked, sampling, tokens)


def repair_question(asked: Question, fault: str, tokens: ChatTokenizer) -> Question:
    """A question again, with what was wrong with the first answer."""
    told = f"Your answer was refused ({fault}). Answer again, briefly and by the form.\n"
    more = tokens.encode(told)[:REPAIR_TOKENS]
    return Question(asked.text + told, (*asked.token_ids, *more), asked.sampling)


def parse_answer(
    task: Task, completion: Completion, text: str, span: tuple[int, int], *, chunk: bool = False
) -> AnswerValue:
    """The value in the engine's answer about text[start:end], a chunk or the whole of what was
    read. Raises InvalidAnswer."""
    answer, spec = completion.text, task.spec
    match spec:
        case SummarizeTask():
            return Summary(answer.strip())
        case ClassifyTask():
            return parse_label(completion, (*spec.labels, CANNOT_TELL))
        case AskTask():
            return _read_reply(spec, answer, text, span)
        case ExtractTask():
            schema = task.chunk_schema if chunk else task.schema
            assert schema is not None
            return parse_fields(answer, schema, text, span, only_verified=spec.only_verified)


def parse_label(completion: Completion, labels: Sequence[str]) -> Label:
    """The label answered, with its probability among the labels."""
    label = completion.text.strip()
    if label not in labels:
        raise InvalidAnswer(f"{label[:80]!r} is none of the labels")
    logprob = completion.logprob
    return Label(label, None if logprob is None else min(1.0, math.exp(logprob)))


def _read_reply(spec: AskTask, answer: str, text: str, span: tuple[int, int]) -> Reply:
    spoken, quoted = split_reply(answer)
    return normalize_reply(spec, spoken, tuple(locate(words, text, *span) for words in quoted))


def normalize_reply(spec: TaskSpec, spoken: str, quotes: tuple[Quote, ...]) -> Reply:
    """The reply to a question: one that says nothing always in the same words, one that nothing
    verifies null where the task wants only verified ones."""
    if spoken and is_not_stated(spoken):
        return Reply(NOT_STATED)
    only_verified = isinstance(spec, AskTask) and spec.only_verified
    if only_verified and not any(quote.verified for quote in quotes):
        return Reply(None, quotes)
    return Reply(spoken, quotes)


def split_reply(answer: str) -> tuple[str, list[str]]:
    """An answer in free words, and the words of its quotes."""
    lines = [line.strip() for line in answer.strip().splitlines()]
    spoken = [line for line in lines if not line.startswith(QUOTE_PREFIX)]
    quoted = [line[len(QUOTE_PREFIX) :] for line in lines if line.startswith(QUOTE_PREFIX)]
    bare = [words.strip().strip('"“”') for words in quoted]
    return "\n".join(spoken).strip(), [words for words in bare if words]


def is_not_stated(answer: str | None) -> bool:
    """Whether an answer says that the document does not say."""
    return answer is None or normalize_text(answer.strip("'\"‘’“”")) in (
        "",
        normalize_text(NOT_STATED),
    )
