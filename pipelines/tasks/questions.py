"""The questions of the four kinds of task, and the sampling parameters of their answers.

`tokenize_tasks` tokenizes the questions of a job's tasks for one model. Their wording, here and in
`wording.py`, is part of the prompts: changing it requires a new PROMPT_VERSION. Knows no engine and
no files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pipelines.errors import SpecError
from pipelines.job.task_specs import (
    CANNOT_TELL,
    AskTask,
    ClassifyTask,
    ExtractTask,
    SummarizeTask,
    TaskSpec,
    WriteTask,
)
from pipelines.tasks.budgets import Budget, PartBudget, SummaryBudget, form_budget
from pipelines.tasks.decoding import answer_schema
from pipelines.tasks.extraction import allowed_schema, schema_of
from pipelines.tasks.faults import raise_all
from pipelines.tasks.guidance import guidance, instructions_of
from pipelines.tasks.kinds import QUESTION_START, Question, Sampling, Task
from pipelines.tasks.schema import JsonSchema, nullable
from pipelines.tasks.several import labels_text, labels_tokens
from pipelines.tasks.wording import ask_notes_text, ask_text, form_text
from pipelines.tasks.writing import WRITTEN_TOKENS, part_text
from pipelines.text.tokens import ChatTokenizer

_NUMBER_TOKENS = 6
REPAIR_TOKENS = 96
"""The maximum number of tokens by which a repair question is longer than the first question."""


def tokenize_tasks(specs: Sequence[TaskSpec], tokenizer: ChatTokenizer) -> tuple[Task, ...]:
    """Return the tasks with their questions tokenized, in the order of `specs`.

    Raises SpecError if the schema of an extraction is not supported, if an example violates it, or
    if its `max_tokens` are fewer than the smallest answer needs. The message has the faults of all
    tasks, at most 20.
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
    text: str,
    sampling: Sampling,
    tokenizer: ChatTokenizer,
    budget: Budget | None = None,
    before: str = "",
) -> Question:
    """Return a question of a prompt, tokenized: `before`, "Question: " and `text`.

    It ends without white space. `sampling` has the sampling parameters of its answer. `budget`
    computes the limit of the answer from the text that the question is about; None if the limit in
    `sampling` is for every text. `before` are instructions and examples, which end with a line
    break, or "".
    """
    full_text = f"{before}{QUESTION_START} {text.rstrip()}"
    return Question(full_text, tuple(tokenizer.encode(full_text)), sampling, budget)


def _task(spec: TaskSpec, tokenizer: ChatTokenizer) -> Task:
    match spec:
        case SummarizeTask():
            budget = SummaryBudget(spec.max_words)
            sampling = Sampling(budget.least_tokens)
            text = f"Sum this up in at most {spec.max_words} words."
            combine_text = f"Write one summary of the document in at most {spec.max_words} words."
            question = make_question(text, sampling, tokenizer, budget, guidance(spec))
            combine_question = make_question(
                combine_text, sampling, tokenizer, budget, instructions_of(spec)
            )
            return Task(spec, question, question, combine_question)
        case ClassifyTask(multiple=True):
            question = _labels_question(spec, tokenizer)
            return Task(spec, question, question)
        case ClassifyTask():
            return _classify(spec, tokenizer)
        case AskTask():
            return _ask(spec, tokenizer)
        case ExtractTask():
            return _extract(spec, tokenizer)
        case WriteTask():
            return _write(spec, tokenizer)


def _classify(spec: ClassifyTask, tokenizer: ChatTokenizer) -> Task:
    question, chunk_question = (
        label_question(labels, tokenizer, spec.label_descriptions, guidance(spec))
        for labels in (spec.label_names, (*spec.label_names, CANNOT_TELL))
    )
    return Task(spec, question, chunk_question)


def label_question(
    labels: Sequence[str],
    tokenizer: ChatTokenizer,
    descriptions: Mapping[str, str] | None = None,
    before: str = "",
) -> Question:
    """Return the question "Which label fits this best?", which lists `labels`.

    Its sampling parameters let the engine generate only one of them. `labels` has at least one.
    `descriptions` are those of some labels; `before` is that of `make_question`.
    """
    listed = "\n".join(_listed(label, (descriptions or {}).get(label)) for label in labels)
    text = f"Which label fits this best?\n{listed}\nAnswer with one label."
    # a label has at most as many tokens as bytes
    longest = max(len(label.encode()) for label in labels)
    sampling = Sampling(longest + 2, choices=tuple(labels))
    return make_question(text, sampling, tokenizer, before=before)


def _listed(label: str, description: str | None) -> str:
    return f"- {label}: {' '.join(description.split())}" if description else f"- {label}"


def _labels_question(spec: ClassifyTask, tokenizer: ChatTokenizer) -> Question:
    """Return the question for all labels of `spec` that fit; a chunk is asked the same."""
    labels = spec.label_names
    descriptions = spec.label_descriptions
    listed = "\n".join(_listed(label, descriptions.get(label)) for label in labels)
    max_tokens = labels_tokens(labels, lambda words: len(tokenizer.encode(words)))
    sampling = Sampling(max_tokens, labels=labels)
    return make_question(labels_text(listed), sampling, tokenizer, before=guidance(spec))


def _ask(spec: AskTask, tokenizer: ChatTokenizer) -> Task:
    sampling = Sampling(max_tokens=spec.max_tokens)
    before = guidance(spec) + ask_text(spec.evidence)
    question = make_question(spec.question, sampling, tokenizer, before=before)
    before = instructions_of(spec) + ask_notes_text(spec.evidence)
    combine_question = make_question(spec.question, sampling, tokenizer, before=before)
    return Task(spec, question, question, combine_question)


def _write(spec: WriteTask, tokenizer: ChatTokenizer) -> Task:
    """Return a `write` task; it has a `combine_question` unless its parts are joined."""
    budget = None if spec.max_tokens or not spec.joins_parts else PartBudget()
    max_tokens = spec.max_tokens or (budget.least_tokens if budget else WRITTEN_TOKENS)
    sampling = Sampling(max_tokens, temperature=spec.temperature)
    text = spec.prompt if spec.over == "document" else part_text(spec.prompt)
    question = make_question(text, sampling, tokenizer, budget, guidance(spec))
    if spec.joins_parts:
        return Task(spec, question, question)
    combine_question = make_question(
        spec.combine or spec.prompt, sampling, tokenizer, before=instructions_of(spec)
    )
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
    before = guidance(spec, schema, may_be_null=may_be_null)
    return make_question(text, sampling, tokenizer, None if spec.max_tokens else budget, before)


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


def tie_question(task: Task, labels: Sequence[str], tokenizer: ChatTokenizer) -> Question:
    """Return the question by which a `classify` task chooses between `labels` for notes.

    Notes are excerpts of the document. The question has the task's instructions and descriptions of
    labels, without its examples.
    """
    spec = task.spec
    assert isinstance(spec, ClassifyTask)
    return label_question(labels, tokenizer, spec.label_descriptions, instructions_of(spec))


def conflict_question(
    task: Task, path: Sequence[str], numbers: tuple[str, ...], tokenizer: ChatTokenizer
) -> Question:
    """Return the question which of several numbered values of a field is right.

    `path` leads to the field of the `extract` task; it is empty for the whole form, as if one of
    several objects is in question. `numbers` are those of the values, from which the engine chooses
    one. The question has the task's instructions.
    """
    name = ".".join(path) or "the form"
    text = f"Which value of {name} is right? Answer with its number."
    sampling = Sampling(_NUMBER_TOKENS, choices=numbers)
    return make_question(text, sampling, tokenizer, before=instructions_of(task.spec))


def notes_questions(task: Task, tokenizer: ChatTokenizer) -> list[Question]:
    """Return the questions of a task about notes for which prompts must keep room.

    They are its combining question, and the ones that settle a tie of labels or a conflict of
    values, if the task's own words make those long.
    """
    spec = task.spec
    if isinstance(spec, ClassifyTask) and (spec.instructions or spec.label_descriptions):
        return [tie_question(task, spec.label_names, tokenizer)]
    if isinstance(spec, ExtractTask) and spec.instructions:
        assert task.schema is not None
        longest = max(task.schema["properties"], key=len)
        return [conflict_question(task, (longest,), ("1",), tokenizer)]
    return [task.combine_question] if task.combine_question else []
