"""The four kinds of task: their questions, how the answers are decoded, and how they are parsed.

`tokenize_tasks` tokenizes the questions of a job's tasks for one model. The prompt around a
question is built by `text/prompts.py`. The wording of the questions is part of the prompts:
changing it requires a new PROMPT_VERSION. Knows no engine and no files.
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
from pipelines.tasks.decoding import answer_schema, quotes_key
from pipelines.tasks.extraction import (
    allowed_schema,
    form_template,
    max_answer_tokens,
    parse_fields,
    schema_of,
)
from pipelines.tasks.merging import normalize_text
from pipelines.tasks.schema import JsonSchema, nullable
from pipelines.text.grounding import locate
from pipelines.text.lengths import ReadingPlan
from pipelines.text.prompts import Prompts
from pipelines.text.tokens import ChatTokenizer

NOT_STATED = "Not stated"
"""The reply to an `ask` task if the document does not contain the answer."""
QUOTE_PREFIX = "Quote:"
"""The beginning of a line of a reply that quotes the document."""
REPAIR_TOKENS = 96
"""The maximum number of tokens by which a repair question is longer than the first question."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling parameters of one answer. Decoding is always greedy.

    Attributes:
        max_tokens: the maximum length of the answer, in tokens.
        choices: if not None, the answer is one of these texts.
        schema: if not None, a JSON Schema, as JSON text, that the answer is decoded under.
    """

    max_tokens: int
    choices: tuple[str, ...] | None = None
    schema: str | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """An engine's output for one prompt.

    Attributes:
        text: the generated text.
        usage: tokens of the prompt and the output.
        finish_reason: why generation ended, such as `stop` or `length`.
        logprob: with `Sampling.choices`, the natural logarithm of the probability of this choice
            among all choices; None otherwise.
    """

    text: str
    usage: Usage
    finish_reason: str
    logprob: float | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A question as text and as token ids, with the sampling parameters of its answer."""

    text: str
    token_ids: tuple[int, ...]
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class Task:
    """A task of the job file with its questions tokenized for one model.

    Attributes:
        spec: the task as in the job file.
        question: the question about a whole document.
        chunk_question: the question about one chunk of a document.
        combine_question: the question about the notes taken from chunks; None for kinds that are
            combined without one.
        schema: the normalized schema that the answers of an `extract` task follow; None for other
            kinds. Required fields may be null unless the task is strict.
        chunk_schema: the same schema with every field nullable, since a chunk need not state it.
    """

    spec: TaskSpec
    question: Question
    chunk_question: Question
    combine_question: Question | None = None
    schema: dict[str, Any] | None = None
    chunk_schema: dict[str, Any] | None = None

    @property
    def column(self) -> AnswerColumn:
        """The output column of this task's answers."""
        return AnswerColumn(self.spec.name, self.spec.kind, self.schema)


@dataclass(frozen=True)
class TaskSet:
    """A job's tasks prepared for one model.

    Attributes:
        all: the tasks in the job's order.
        prompts: builds the part of a prompt before the question.
        reading: decides by a document's length whether it is read whole or in chunks.
    """

    all: tuple[Task, ...]
    prompts: Prompts
    reading: ReadingPlan

    @property
    def tokenizer(self) -> ChatTokenizer:
        """The model's tokenizer and chat template."""
        return self.prompts.tokenizer


def tokenize_tasks(specs: Sequence[TaskSpec], tokenizer: ChatTokenizer) -> tuple[Task, ...]:
    """Return the tasks with their questions tokenized, in the order of `specs`.

    Raises SpecError if the schema of an extraction is not supported.
    """
    return tuple(_task(spec, tokenizer) for spec in specs)


def make_question(text: str, sampling: Sampling, tokenizer: ChatTokenizer) -> Question:
    """Return a tokenized question: `text` after the word that begins every question in a prompt."""
    full_text = f"Question: {text}\n"
    return Question(full_text, tuple(tokenizer.encode(full_text)), sampling)


def question_for(task: Task, *, chunk: bool) -> Question:
    """Return the task's question about a chunk if `chunk`, else the one about a whole document."""
    return task.chunk_question if chunk else task.question


def _task(spec: TaskSpec, tokenizer: ChatTokenizer) -> Task:
    match spec:
        case SummarizeTask():
            sampling = Sampling(max_tokens=2 * spec.max_words + 16)
            text = f"Sum this up in at most {spec.max_words} words."
            combine_text = f"Write one summary of the document in at most {spec.max_words} words."
            question = make_question(text, sampling, tokenizer)
            return Task(spec, question, question, make_question(combine_text, sampling, tokenizer))
        case ClassifyTask():
            question = label_question(spec.labels, tokenizer)
            return Task(spec, question, label_question((*spec.labels, CANNOT_TELL), tokenizer))
        case AskTask():
            return _ask(spec, tokenizer)
        case ExtractTask():
            return _extract(spec, tokenizer)


def label_question(labels: Sequence[str], tokenizer: ChatTokenizer) -> Question:
    """Return the question "Which label fits this best?", which lists `labels`.

    Its sampling lets the engine generate only one of them.
    """
    listed = "\n".join(f"- {label}" for label in labels)
    text = f"Which label fits this best?\n{listed}\nAnswer with one label."
    # a label has at most as many tokens as bytes
    longest = max(len(label.encode()) for label in labels)
    return make_question(text, Sampling(longest + 2, choices=tuple(labels)), tokenizer)


def _ask(spec: AskTask, tokenizer: ChatTokenizer) -> Task:
    sampling = Sampling(max_tokens=spec.max_tokens)
    text = (
        f"{spec.question}\nAnswer briefly, or with {NOT_STATED!r} where the text does not say. "
        f"Then, on a line of its own that begins with {QUOTE_PREFIX} copy the words that show it."
    )
    combine_text = (
        f"{spec.question}\nAnswer briefly. Then, on a line of its own that begins with "
        f"{QUOTE_PREFIX} copy the quote from the notes that shows it."
    )
    question = make_question(text, sampling, tokenizer)
    return Task(spec, question, question, make_question(combine_text, sampling, tokenizer))


def _extract(spec: ExtractTask, tokenizer: ChatTokenizer) -> Task:
    form = schema_of(spec)
    schema = allowed_schema(spec, form)
    chunk_schema = nullable(schema)
    return Task(
        spec,
        _form_question(form, schema, tokenizer),
        _form_question(nullable(form), chunk_schema, tokenizer),
        schema=schema,
        chunk_schema=chunk_schema,
    )


def _form_question(form: JsonSchema, schema: JsonSchema, tokenizer: ChatTokenizer) -> Question:
    """Return the question that shows `form`, whose answer follows `schema`."""
    max_tokens = max_answer_tokens(schema, lambda text: len(tokenizer.encode(text)))
    sampling = Sampling(max_tokens, schema=json.dumps(answer_schema(schema)))
    text = (
        f"Fill in this form:\n{form_template(form)}\n"
        "Write null, or an empty list, for what the text does "
        f'not state. In "{quotes_key(schema)}", give for each field the words of the text that '
        "show it. Answer with JSON only."
    )
    return make_question(text, sampling, tokenizer)


def repair_question(question: Question, error: str, tokenizer: ChatTokenizer) -> Question:
    """Return a question that repeats `question` and adds what was wrong with the first answer.

    `error` is the message of the InvalidAnswer. The addition is cut off after REPAIR_TOKENS tokens.
    """
    addition = f"Your answer was refused ({error}). Answer again, briefly and by the form.\n"
    added_ids = tokenizer.encode(addition)[:REPAIR_TOKENS]
    return Question(question.text + addition, (*question.token_ids, *added_ids), question.sampling)


def parse_answer(
    task: Task, completion: Completion, text: str, span: tuple[int, int], *, chunk: bool = False
) -> AnswerValue:
    """Parse an engine's answer to a task's question about a document or a chunk.

    Args:
        task: the task that was asked.
        completion: the engine's answer.
        text: the document.
        span: start and end, in characters, of the part of `text` that the model was shown; quotes
            are looked for in it.
        chunk: whether the question was about a chunk, which need not state every field.

    Raises InvalidAnswer if the text is not an answer to the question.
    """
    answer, spec = completion.text, task.spec
    match spec:
        case SummarizeTask():
            return Summary(answer.strip())
        case ClassifyTask():
            return parse_label(completion, (*spec.labels, CANNOT_TELL))
        case AskTask():
            return _parse_reply(spec, answer, text, span)
        case ExtractTask():
            schema = task.chunk_schema if chunk else task.schema
            assert schema is not None
            return parse_fields(answer, schema, text, span, only_verified=spec.only_verified)


def parse_label(completion: Completion, labels: Sequence[str]) -> Label:
    """Return the label that an engine generated, with its probability as confidence.

    The confidence is None if the completion has no logprob. Raises InvalidAnswer if the text is not
    one of `labels`.
    """
    label = completion.text.strip()
    if label not in labels:
        raise InvalidAnswer(
            f"the answer {label[:80]!r} is not one of the labels, although the engine may generate "
            "nothing else; use the version of vLLM that phifleet requires"
        )
    logprob = completion.logprob
    return Label(label, None if logprob is None else min(1.0, math.exp(logprob)))


def _parse_reply(spec: AskTask, answer: str, text: str, span: tuple[int, int]) -> Reply:
    reply, quoted = split_reply(answer)
    return normalize_reply(spec, reply, tuple(locate(words, text, *span) for words in quoted))


def normalize_reply(spec: TaskSpec, text: str, quotes: tuple[Quote, ...]) -> Reply:
    """Return the Reply of an `ask` task with this text and these located quotes.

    A text that says "not stated", in upper or lower case or in quotation marks, becomes NOT_STATED
    without quotes. If the task has `only_verified` and no quote is verified, the text is None.
    """
    if text and is_not_stated(text):
        return Reply(NOT_STATED)
    only_verified = isinstance(spec, AskTask) and spec.only_verified
    if only_verified and not any(quote.verified for quote in quotes):
        return Reply(None, quotes)
    return Reply(text, quotes)


def split_reply(answer: str) -> tuple[str, list[str]]:
    """Split an answer to an `ask` question into its text and its quotes.

    A quote is a line that begins with QUOTE_PREFIX; it is returned without the prefix and quotation
    marks, and left out if it is empty. The text is all other lines.
    """
    lines = [line.strip() for line in answer.strip().splitlines()]
    reply = [line for line in lines if not line.startswith(QUOTE_PREFIX)]
    quoted = [line[len(QUOTE_PREFIX) :] for line in lines if line.startswith(QUOTE_PREFIX)]
    quotes = [words.strip().strip('"“”') for words in quoted]
    return "\n".join(reply).strip(), [words for words in quotes if words]


def is_not_stated(answer: str | None) -> bool:
    """Return whether a reply's text is None, blank, or some spelling of NOT_STATED."""
    return answer is None or normalize_text(answer.strip("'\"‘’“”")) in (
        "",
        normalize_text(NOT_STATED),
    )
