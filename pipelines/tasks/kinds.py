"""The four kinds of task: their questions, and the sampling parameters of the answers.

`tokenize_tasks` tokenizes the questions of a job's tasks for one model. The prompt around a
question is built by `text/prompts.py`. The wording of the questions is part of the prompts:
changing it requires a new PROMPT_VERSION. Knows no engine and no files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.documents import Usage
from pipelines.errors import SpecError
from pipelines.job.task_specs import (
    CANNOT_TELL,
    AskTask,
    ClassifyTask,
    ExtractTask,
    SummarizeTask,
    TaskSpec,
)
from pipelines.tasks.budgets import Budget, SummaryBudget, form_budget
from pipelines.tasks.columns import AnswerColumn
from pipelines.tasks.decoding import answer_schema
from pipelines.tasks.extraction import allowed_schema, schema_of
from pipelines.tasks.faults import raise_all
from pipelines.tasks.schema import JsonSchema, nullable
from pipelines.tasks.wording import ask_notes_text, ask_text, form_text
from pipelines.text.lengths import ReadingPlan
from pipelines.text.prompts import Prompts
from pipelines.text.tokens import ChatTokenizer

LENGTH = "length"
"""The finish reason of an answer that its token limit cut off."""
REPAIR_TOKENS = 96
"""The maximum number of tokens by which a repair question is longer than the first question."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling parameters of one answer. Decoding is always greedy.

    Attributes:
        max_tokens: the maximum length of the answer, in tokens.
        choices: the texts of which the engine generates one; None if it is not restricted to any.
        schema: the JSON Schema, as JSON text, that restricts the engine's decoding; None without
            such a restriction.
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
    """A question as text and as token ids, with the sampling parameters of its answer.

    Attributes:
        text: the question as it is in the prompt.
        token_ids: the ids of its tokens.
        sampling: the sampling parameters of the answer. If there is a `budget`, its `max_tokens` is
            a first limit, for which `about` sets that of a given text.
        budget: computes the limit of the answer from the text that the question is about; None if
            the limit is that of `sampling` for every text.
    """

    text: str
    token_ids: tuple[int, ...]
    sampling: Sampling
    budget: Budget | None = None

    @property
    def planned_tokens(self) -> int:
        """Return how many tokens a prompt with this question keeps free for its answer."""
        return self.budget.planned_tokens if self.budget else self.sampling.max_tokens

    def limited(self, max_tokens: int) -> Question:
        """Return the question with `max_tokens`, but at least 1, as the limit of its answer."""
        return replace(self, sampling=replace(self.sampling, max_tokens=max(1, max_tokens)))

    def about(self, text: str, tokens: int, free_tokens: int) -> Question:
        """Return the question with the limit of the answer that its budget computes for a text.

        Args:
            text: the text that the question is about.
            tokens: the number of tokens of `text`.
            free_tokens: the tokens that the prompt leaves of the engine's context; the limit is at
                most that, but at least 1.

        Without a budget, the limit is that of `sampling`, but at most `free_tokens`.
        """
        wanted = self.budget.wanted(text, tokens) if self.budget else self.sampling.max_tokens
        return self.limited(min(wanted, free_tokens))


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
        """Return the output column of this task's answers."""
        return AnswerColumn(self.spec.name, self.spec.kind, self.schema)


@dataclass(frozen=True)
class TaskSet:
    """A job's tasks prepared for one model.

    Attributes:
        all: the tasks in the job's order.
        prompts: builds the part of a prompt before the question.
        reading: decides by a document's length whether it is read whole or in chunks.
        max_answer_tokens: the maximum length of an answer in tokens, also if the question's budget
            allows more; None if only the engine's context limits it.
    """

    all: tuple[Task, ...]
    prompts: Prompts
    reading: ReadingPlan
    max_answer_tokens: int | None = None

    @property
    def tokenizer(self) -> ChatTokenizer:
        """Return the model's tokenizer, with its chat template."""
        return self.prompts.tokenizer


def tokenize_tasks(specs: Sequence[TaskSpec], tokenizer: ChatTokenizer) -> tuple[Task, ...]:
    """Return the tasks with their questions tokenized, in the order of `specs`.

    Raises SpecError if the schema of an extraction is not supported, or if its `max_tokens` are
    fewer than the smallest answer needs. The message has the faults of all tasks, at most 20.
    """
    tasks, faults = [], []
    for spec in specs:
        try:
            tasks.append(_task(spec, tokenizer))
        except SpecError as error:
            faults.append(error.message)
    raise_all(faults)
    return tuple(tasks)


def make_question(
    text: str, sampling: Sampling, tokenizer: ChatTokenizer, budget: Budget | None = None
) -> Question:
    """Return a question of a prompt, tokenized: "Question: " and `text`.

    `sampling` has the sampling parameters of its answer. `budget` computes the limit of the answer
    from the text that the question is about; None if the limit in `sampling` is for every text.
    """
    full_text = f"Question: {text}"
    return Question(full_text, tuple(tokenizer.encode(full_text)), sampling, budget)


def question_for(task: Task, *, chunk: bool) -> Question:
    """Return the task's question about a chunk if `chunk`, else the one about a whole document."""
    return task.chunk_question if chunk else task.question


def _task(spec: TaskSpec, tokenizer: ChatTokenizer) -> Task:
    match spec:
        case SummarizeTask():
            budget = SummaryBudget(spec.max_words)
            sampling = Sampling(budget.least_tokens)
            text = f"Sum this up in at most {spec.max_words} words."
            combine_text = f"Write one summary of the document in at most {spec.max_words} words."
            question = make_question(text, sampling, tokenizer, budget)
            combine_question = make_question(combine_text, sampling, tokenizer, budget)
            return Task(spec, question, question, combine_question)
        case ClassifyTask():
            question = label_question(spec.labels, tokenizer)
            return Task(spec, question, label_question((*spec.labels, CANNOT_TELL), tokenizer))
        case AskTask():
            return _ask(spec, tokenizer)
        case ExtractTask():
            return _extract(spec, tokenizer)


def label_question(labels: Sequence[str], tokenizer: ChatTokenizer) -> Question:
    """Return the question "Which label fits this best?", which lists `labels`.

    Its sampling parameters let the engine generate only one of them. `labels` has at least one.
    """
    listed = "\n".join(f"- {label}" for label in labels)
    text = f"Which label fits this best?\n{listed}\nAnswer with one label."
    # a label has at most as many tokens as bytes
    longest = max(len(label.encode()) for label in labels)
    return make_question(text, Sampling(longest + 2, choices=tuple(labels)), tokenizer)


def _ask(spec: AskTask, tokenizer: ChatTokenizer) -> Task:
    sampling = Sampling(max_tokens=spec.max_tokens)
    question = make_question(ask_text(spec), sampling, tokenizer)
    combine_question = make_question(ask_notes_text(spec), sampling, tokenizer)
    return Task(spec, question, question, combine_question)


def _extract(spec: ExtractTask, tokenizer: ChatTokenizer) -> Task:
    form = schema_of(spec)
    schema = allowed_schema(spec, form)
    chunk_schema = nullable(schema)
    return Task(
        spec,
        _form_question(spec, form, schema, tokenizer, may_be_null=not spec.strict),
        _form_question(spec, nullable(form), chunk_schema, tokenizer, may_be_null=True),
        schema=schema,
        chunk_schema=chunk_schema,
    )


def _form_question(
    spec: ExtractTask,
    form: JsonSchema,
    schema: JsonSchema,
    tokenizer: ChatTokenizer,
    *,
    may_be_null: bool,
) -> Question:
    """Return the question that shows `form`, whose answer follows `schema` or may be null."""
    budget = form_budget(schema, lambda text: len(tokenizer.encode(text)), spec.evidence)
    max_tokens = spec.max_tokens or budget.planned_tokens
    if max_tokens < budget.least_tokens:
        raise SpecError(
            f"tasks.{spec.name}.max_tokens: {max_tokens}, must be at least {budget.least_tokens}, "
            "the length of the smallest answer to this form, with null in every field; leave "
            "max_tokens out, or use fewer fields"
        )
    quoted = spec.evidence in ("quotes", "anchors")
    decoded = answer_schema(schema, quoted=quoted, may_be_null=may_be_null)
    sampling = Sampling(max_tokens, schema=json.dumps(decoded))
    text = form_text(spec, form, may_be_null=may_be_null)
    return make_question(text, sampling, tokenizer, None if spec.max_tokens else budget)


def repair_question(question: Question, error: str, tokenizer: ChatTokenizer) -> Question:
    """Return a question that repeats `question` and adds what was wrong with the first answer.

    Used for the second try after a first answer was invalid. `error` is the message of its
    InvalidAnswer. Of the addition, the first REPAIR_TOKENS tokens are in the question's
    `token_ids`. The limit of the answer stays.
    """
    addition = f"\nYour answer was refused ({error}). Answer again, briefly and by the form."
    added_ids = tokenizer.encode(addition)[:REPAIR_TOKENS]
    ids = (*question.token_ids, *added_ids)
    return Question(question.text + addition, ids, question.sampling, question.budget)
