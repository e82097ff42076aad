"""Tasks prepared for one model: their questions, and the sampling parameters of the answers.

`questions.py` makes them of the tasks in a job file; the prompt around a question is built by
`text/prompts.py`. Knows no engine, no files, and no wording.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pipelines.documents import Usage
from pipelines.job.task_specs import ClassifyTask, TaskSpec, WriteTask
from pipelines.tasks.budgets import Budget
from pipelines.tasks.columns import AnswerColumn
from pipelines.text.lengths import ReadingPlan
from pipelines.text.prompts import Prompts
from pipelines.text.tokens import ChatTokenizer

LENGTH = "length"
"""The finish reason of an answer that its token limit cut off."""
QUESTION_START = "Question:"
"""The text with which the question in a prompt begins."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling parameters of one answer.

    Attributes:
        max_tokens: the maximum length of the answer, in tokens.
        choices: the texts of which the engine generates one; None if it is not restricted to any.
        labels: the labels of which the engine generates any number, as `several.labels_grammar`
            states; None without such a restriction.
        schema: the JSON Schema, as JSON text, that restricts the engine's decoding; None without
            such a restriction.
        temperature: the temperature of sampling; with 0, decoding is greedy.
        seed: the seed of sampling; None with greedy decoding.
    """

    max_tokens: int
    choices: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None
    schema: str | None = None
    temperature: float = 0.0
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """An engine's output for one prompt.

    Attributes:
        text: the generated text.
        usage: tokens of the prompt and the output.
        finish_reason: why generation ended, such as `stop` or `length`.
        logprob: with `Sampling.choices`, the natural logarithm of the probability of this choice
            among all choices; None otherwise.
        label_logprobs: with `Sampling.labels`, that of the probability of each label of the text,
            after the labels before it; None otherwise.
    """

    text: str
    usage: Usage
    finish_reason: str
    logprob: float | None = None
    label_logprobs: tuple[float, ...] | None = None


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
    def in_parts(self) -> bool:
        """Return True if the task reads parts of every document, not the document's passages."""
        return isinstance(self.spec, WriteTask) and self.spec.over == "parts"

    @property
    def column(self) -> AnswerColumn:
        """Return the output column of this task's answers."""
        multiple = isinstance(self.spec, ClassifyTask) and self.spec.multiple
        return AnswerColumn(self.spec.name, self.spec.kind, self.schema, multiple)


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


def question_for(task: Task, *, chunk: bool) -> Question:
    """Return the task's question about a chunk if `chunk`, else the one about a whole document."""
    return task.chunk_question if chunk else task.question
