"""Batches for one training step: several lessons of one kind and length as tensors.

The text of a lesson is computed once for all its questions. The attention mask lets each question
see the text and itself, but no other question.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from pipelines.tiny.examples import Lesson
from pipelines.tiny.lessons import Teacher
from pipelines.tiny.stages import (
    ASKING,
    BARE,
    COMBINING,
    COPYING,
    FILLING,
    LABELLING,
    PART,
    QUOTING,
    WHOLE,
    Stage,
)

TEXT_SHARE = 0.1
"""Share of the tokens of a lesson's text that are training targets; those of answers all are."""
IGNORED = -100
"""The value in `Batch.targets` of tokens that are not trained on."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Lessons as tensors, one row each: the text, then its questions with answers, then padding.

    `ids`, `positions`, `targets` have the shape [lessons, tokens]. A target is the id of the next
    token if that one belongs to an answer or to the sampled part of the text, else IGNORED.
    `attention_mask` [lessons, 1, tokens, tokens] is true if the first token may attend to the
    second. `question_index` [lessons, tokens] is the number of the question that a token belongs
    to, from 0; -1 in the text, -2 in the padding.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    attention_mask: torch.Tensor
    question_index: torch.Tensor


def make_batch(lessons: Sequence[Lesson], end_id: int, rng: random.Random) -> Batch:
    """Return one batch with all of these lessons, padded to the longest of them.

    `end_id` is the id of the token that ends every complete answer. `rng` samples the tokens of the
    texts that are training targets.
    """
    rows = [_row(lesson, end_id, rng) for lesson in lessons]
    longest = max(len(ids) for ids, *_ in rows)

    def padded(column: int, padding: int) -> torch.Tensor:
        return torch.tensor([[*row[column], *[padding] * (longest - len(row[0]))] for row in rows])

    question_index = padded(3, -2)
    is_earlier = torch.ones(longest, longest, dtype=torch.bool).tril()
    is_same_question = question_index[:, :, None] == question_index[:, None, :]
    is_text = (question_index == -1)[:, None, :]
    return Batch(
        ids=padded(0, 0),
        positions=padded(1, 0),
        targets=padded(2, IGNORED),
        attention_mask=(is_earlier & (is_same_question | is_text))[:, None],
        question_index=question_index,
    )


def _row(
    lesson: Lesson, end_id: int, rng: random.Random
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Return ids, positions, targets and question numbers of one lesson, without padding."""
    text = list(lesson.prefix_ids)
    ids, positions, question_index = list(text), list(range(len(text))), [-1] * len(text)
    next_ids = [*text[1:], IGNORED]
    targets = [next_id if rng.random() < TEXT_SHARE else IGNORED for next_id in next_ids]
    for number, question in enumerate(lesson.questions):
        answer = [*question.answer_ids, *([end_id] if question.complete else [])]
        question_and_answer = [*question.question_ids, *answer[:-1]]
        ids += question_and_answer
        positions += range(len(text), len(text) + len(question_and_answer))
        targets += [*[IGNORED] * (len(question.question_ids) - 1), *answer]
        question_index += [number] * len(question_and_answer)
    return ids, positions, targets, question_index


def make_lessons(stage: Stage, teacher: Teacher, rng: random.Random) -> list[Lesson]:
    """Return the lessons of one step of `stage`: as many as fit its batches, at least one.

    `rng` draws one kind and one length of text for all of them, so that the batch needs little
    padding. `teacher` generates the lessons; its difficulty should be that of `stage`.
    """
    kind = rng.choices(list(stage.mixture), list(stage.mixture.values()))[0]
    length = int(stage.max_tokens * stage.min_share ** rng.random())
    makers: Mapping[str, Callable[[int], Lesson]] = {
        BARE: teacher.bare,
        QUOTING: teacher.quoting,
        ASKING: teacher.asking,
        LABELLING: teacher.labelling,
        FILLING: teacher.filling,
        COPYING: teacher.copying,
        WHOLE: teacher.whole,
        PART: teacher.part,
        COMBINING: teacher.combining,
    }
    lessons: list[Lesson] = []
    longest = 0
    while True:
        lesson = makers[kind](length)
        longest = max(longest, _count_tokens(lesson))
        if lessons and longest * (len(lessons) + 1) > stage.batch_tokens:
            return lessons
        lessons.append(lesson)


def _count_tokens(lesson: Lesson) -> int:
    return len(lesson.prefix_ids) + sum(
        len(question.question_ids) + len(question.answer_ids) for question in lesson.questions
    )
