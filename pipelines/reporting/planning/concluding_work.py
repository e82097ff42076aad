"""The prompts that combine chunks' answers: how many a document needs, and how long they are.

Summaries and written texts are combined in levels, as `answering/combining.py` does. The other
kinds need a prompt for some documents only. Pure; lengths are in tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.answering.conflicts import free_tokens
from pipelines.job.task_specs import ClassifyTask, ExtractTask, WriteTask
from pipelines.reporting.planning.answer_use import CONCLUDED_SHARE, AnswerUse
from pipelines.reporting.planning.distribution import FloatArray
from pipelines.reporting.planning.work import Work
from pipelines.tasks.budgets import SummaryBudget
from pipelines.tasks.kinds import Question, Task, TaskSet
from pipelines.text.lengths import NOTE_SLACK_TOKENS

_NOTE_MARK_TOKENS = 4
"""Tokens of a note besides its answer: the list mark and the blank line."""
_SUMMARY_TOKENS_PER_WORD = 2.2
_CONFLICT_QUESTION_TOKENS, _CANDIDATE_TOKENS, _CHOICE_TOKENS = 24, 40, 2
_NOTES_WHERE_FEW = 2


@dataclass(frozen=True, slots=True)
class Concluding:
    """The combining prompts of one task about one document: their number, the tokens of all of
    them, and the tokens of their answers. Numbers need not be whole."""

    requests: float = 0.0
    prompt_tokens: float = 0.0
    output_tokens: float = 0.0

    def times(self, factor: float) -> Concluding:
        """Return the numbers multiplied by a factor."""
        return Concluding(
            factor * self.requests, factor * self.prompt_tokens, factor * self.output_tokens
        )


NOTHING = Concluding()
"""No combining prompt."""


def in_levels(notes: int, note: float, around: float, free: float, answer: float) -> Concluding:
    """Return the prompts that combine `notes` answers, as many in each as fit, until one is left.

    Args:
        notes: the number of answers to combine, at least one.
        note: the length of each, which is cut off at half of `free`.
        around: the length of a combining prompt without its notes.
        free: the tokens that a combining prompt has for notes.
        answer: the length of an answer to a combining prompt.
    """
    requests = prompt_tokens = 0.0
    while True:
        size = min(note, free / 2)
        fitting = max(2, int(free // size))
        prompts = -(-notes // fitting)
        requests += prompts
        prompt_tokens += prompts * around + notes * size
        if prompts == 1:
            return Concluding(requests, prompt_tokens, requests * answer)
        notes, note = prompts, answer + _NOTE_MARK_TOKENS


def concluding(task: Task, passages: int, use: AnswerUse, tasks: TaskSet) -> Concluding:
    """Return the combining prompts of a task for a document of `passages` chunks or parts."""
    if isinstance(task.spec, WriteTask) and task.in_parts and task.combine_question:
        return _levels(task.combine_question, passages, use, tasks).times(use.concluded)
    if passages < 2 or (isinstance(task.spec, ClassifyTask) and task.spec.multiple):
        return NOTHING
    share = CONCLUDED_SHARE.get(task.spec.kind)
    if share is None:
        question = task.combine_question
        needed = _levels(question, passages, use, tasks) if question else NOTHING
        return needed.times(use.concluded)
    return _single_prompt(task, use, tasks).times(share * use.concluded)


def _levels(question: Question, passages: int, use: AnswerUse, tasks: TaskSet) -> Concluding:
    limited = _limited(question, tasks)
    free = free_tokens(tasks.prompts, tasks.reading.combine_prompt_limit, limited)
    around = tasks.prompts.notes_overhead + len(question.token_ids)
    note = use.chunk + _NOTE_MARK_TOKENS
    return in_levels(passages, note, around, max(2.0, free), use.chunk)


def _limited(question: Question, tasks: TaskSet) -> Question:
    """Return a combining question with about the limit that it gets for an English document."""
    if not isinstance(question.budget, SummaryBudget):
        return question
    around = tasks.prompts.notes_overhead + len(question.token_ids) + 2 * NOTE_SLACK_TOKENS
    most = (tasks.reading.combine_prompt_limit - around) // 3
    return question.limited(min(most, int(_SUMMARY_TOKENS_PER_WORD * question.budget.words) + 16))


def _single_prompt(task: Task, use: AnswerUse, tasks: TaskSet) -> Concluding:
    """Return a prompt about two notes: replies, excerpts of a tie's chunks, or values."""
    overhead, question = tasks.prompts.notes_overhead, len(task.question.token_ids)
    if isinstance(task.spec, ClassifyTask):
        free = tasks.reading.combine_prompt_limit - overhead - question
        excerpts = min(free, _NOTES_WHERE_FEW * tasks.reading.chunk_size.chunk_tokens)
        return Concluding(1, overhead + question + excerpts, use.chunk)
    if isinstance(task.spec, ExtractTask):
        tokens = overhead + _CONFLICT_QUESTION_TOKENS + _NOTES_WHERE_FEW * _CANDIDATE_TOKENS
        return Concluding(1, tokens, _CHOICE_TOKENS)
    asked = len(task.combine_question.token_ids) if task.combine_question else question
    notes = _NOTES_WHERE_FEW * (use.chunk + _NOTE_MARK_TOKENS)
    return Concluding(1, overhead + asked + notes, use.chunk)


def concluding_work(
    task: Task, documents: FloatArray, passages: FloatArray, use: AnswerUse, tasks: TaskSet
) -> Work:
    """Return the work of all combining prompts of a task.

    `documents` are numbers of documents in chunks or parts, each with `passages` of them, which is
    rounded to a whole number.
    """
    whole = np.maximum(1, np.round(passages)).astype(int)
    total = Work()
    for count in np.unique(whole).tolist():
        needed = concluding(task, count, use, tasks).times(float(documents[whole == count].sum()))
        total += _work(needed, use)
    return total


def _work(needed: Concluding, use: AnswerUse) -> Work:
    mean = needed.prompt_tokens / needed.requests if needed.requests else 0.0
    steps = needed.output_tokens * use.steps_per_token
    return Work(
        requests=needed.requests,
        prompt_tokens=needed.prompt_tokens,
        computed_tokens=needed.prompt_tokens,
        pairs=needed.prompt_tokens * mean / 2,
        output_tokens=needed.output_tokens,
        steps=steps,
        step_context=steps * mean,
    )
