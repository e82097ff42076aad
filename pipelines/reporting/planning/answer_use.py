"""The usual lengths of answers: what each task is expected to generate, before a run has shown it.

All numbers here are assumptions, stated as constants; `calibration.py` replaces them by what a run
has measured. Knows tasks; knows no documents and no engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipelines.job.task_specs import AskTask, ClassifyTask, SummarizeTask, WriteTask
from pipelines.reporting.planning.distribution import FloatArray, IntArray
from pipelines.tasks.budgets import FormBudget
from pipelines.tasks.kinds import Question, Task
from pipelines.text.tokens import ChatTokenizer

SUMMARY_SHARE, TOKENS_PER_WORD = 0.75, 1.4
"""The share of `max_words` that a summary has, and the tokens of an English word."""
REPLY_TOKENS: Mapping[str, int] = {"quotes": 48, "anchors": 26, "values": 14, "none": 14}
"""Tokens of the answer to an `ask` task, by the kind of evidence that the model writes with it."""
_QUOTES = "quotes"
FORM_TEXT_SHARE, CHUNK_TEXT_SHARE = 0.5, 0.25
"""The share of the tokens planned for a form's texts and quotes that an answer has: about a whole
document, and about a chunk, which states less."""
WRITTEN_SHARE = 0.6
"""The share of `max_tokens` that a written text, or a form with `max_tokens`, has."""
LABELS_SHARE = 0.4
"""The share of the longest answer that an answer with several labels has."""
STEPS_PER_TOKEN: Mapping[str, float] = {
    "summarize": 0.8,
    "classify": 1.0,
    "ask": 0.45,
    "extract": 0.3,
    "write": 0.9,
}
"""Steps per generated token with drafting. For `ask` and `extract` near what this project has
measured with its built-in model (docs/drafting.md); for texts in the model's own words little can
be guessed."""
CONCLUDED_SHARE: Mapping[str, float] = {"ask": 0.2, "classify": 0.05, "extract": 0.2}
"""The number of combining prompts for a document in chunks, by kind, where not every document needs
one: because replies differ, labels are tied, or values contradict each other."""
_END_TOKEN = 1


@dataclass(frozen=True)
class LengthCurve:
    """The tokens of an answer by the length of the text that it is about.

    `tokens` are the mean answers to texts of 2**k to 2**(k+1) - 1 tokens for each exponent in
    `exponents`, which ascend. Between the middles of two ranges the mean is interpolated.
    """

    exponents: tuple[int, ...]
    tokens: tuple[float, ...]

    @classmethod
    def constant(cls, tokens: float) -> LengthCurve:
        """Return the curve of answers of one length."""
        return cls((0,), (tokens,))

    def at(self, lengths: IntArray | FloatArray) -> FloatArray:
        """Return the expected tokens of answers about texts of these lengths in tokens."""
        places = np.log2(np.maximum(lengths, 1.0)) - 0.5
        expected: FloatArray = np.interp(places, self.exponents, self.tokens)
        return expected


@dataclass(frozen=True)
class AnswerUse:
    """What the answers of one task take.

    Attributes:
        whole: tokens of an answer about a document that is read whole, or its beginning.
        chunk: tokens of an answer about a chunk or a part.
        steps_per_token: steps of the engine for each generated token.
        repeats: further requests about a passage, for each first one: repairs of invalid answers,
            and second tries of answers that were cut off.
        concluded: the number of combining prompts of a document in chunks, as a multiple of
            `CONCLUDED_SHARE` or of those that levels of notes need.
        growth: tokens of an answer about a part, for each token of the part; None if the answer
            does not follow the part's length.
    """

    whole: LengthCurve
    chunk: float
    steps_per_token: float
    repeats: float = 0.0
    concluded: float = 1.0
    growth: float | None = None

    def but(self, **values: Any) -> AnswerUse:
        """Return the use with other values of some attributes."""
        return replace(self, **values)


def usual_use(
    task: Task, tokenizer: ChatTokenizer, *, drafting: bool, part_tokens: int
) -> AnswerUse:
    """Return what the answers of a task are assumed to take.

    `part_tokens` is the length of a part, for a task that rewrites parts.
    """
    kind = task.spec.kind
    return AnswerUse(
        whole=LengthCurve.constant(_answer_tokens(task, task.question, tokenizer, part_tokens)),
        chunk=_answer_tokens(task, task.chunk_question, tokenizer, part_tokens, chunk=True),
        steps_per_token=STEPS_PER_TOKEN[kind] if drafting else 1.0,
        growth=1.0 if task.in_parts and task.question.budget is not None else None,
    )


def _answer_tokens(
    task: Task,
    question: Question,
    tokenizer: ChatTokenizer,
    part_tokens: int,
    *,
    chunk: bool = False,
) -> float:
    spec, limit = task.spec, question.sampling.max_tokens
    match spec:
        case SummarizeTask():
            return SUMMARY_SHARE * TOKENS_PER_WORD * spec.max_words + _END_TOKEN
        case ClassifyTask(multiple=True):
            return LABELS_SHARE * limit + _END_TOKEN
        case ClassifyTask():
            labels = tokenizer.encode_all(list(question.sampling.choices or ("",)))
            return float(np.mean([len(label) for label in labels])) + _END_TOKEN
        case AskTask():
            return min(limit, REPLY_TOKENS[getattr(spec, "evidence", _QUOTES)])
        case WriteTask():
            follows_part = task.in_parts and question.budget is not None
            return part_tokens if follows_part else WRITTEN_SHARE * limit
    budget = question.budget
    if not isinstance(budget, FormBudget):
        return WRITTEN_SHARE * limit
    share = CHUNK_TEXT_SHARE if chunk else FORM_TEXT_SHARE
    return budget.fixed_tokens + share * budget.text_tokens
