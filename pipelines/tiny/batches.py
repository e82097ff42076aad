"""Batches for one training step: several lessons of one kind and length as tensors.

The text of a lesson is computed once for all its questions, and short lessons share a row. The
attention mask lets each question see the text of its lesson and itself, but no other question.
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
    """Lessons as tensors. A row has one or more lessons, then padding; a lesson has its text, then
    its questions with answers.

    `ids`, `positions`, `targets` have the shape [rows, tokens]. A target is the id of the next
    token if that one belongs to an answer or to the sampled part of the text, else IGNORED.
    `attention_mask` [rows, 1, tokens, tokens] is true if the first token may attend to the second.
    `lesson_index` [rows, tokens] is the number of the lesson that a token belongs to, from 0; -1 in
    the padding. `question_index` [rows, tokens] is the number of the question within the lesson,
    from 0; -1 in the text, -2 in the padding.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    attention_mask: torch.Tensor
    lesson_index: torch.Tensor
    question_index: torch.Tensor


# What fills the end of a row: in ids, positions, targets, and the numbers of lesson and question.
_PADDING = (0, 0, IGNORED, -1, -2)
# Lengths of rows that are tried, besides that of the longest lesson.
_ROW_STEPS = 8
# The length of rows at which attention takes half of the time of a step, measured on two cores.
_ATTENTION_TOKENS = 1400


def make_batch(lessons: Sequence[Lesson], end_id: int, rng: random.Random) -> Batch:
    """Return one batch with all of these lessons, several of them in a row.

    `end_id` is the id of the token that ends every complete answer. `rng` samples the tokens of the
    texts that are training targets.
    """
    columns = [_columns(lesson, number, end_id, rng) for number, lesson in enumerate(lessons)]
    sizes = [len(ids) for ids, *_ in columns]
    rows = packed(sizes)
    length = area(rows, sizes) // len(rows)

    def joined(row: Sequence[int], column: int) -> list[int]:
        values = [value for number in row for value in columns[number][column]]
        return values + [_PADDING[column]] * (length - len(values))

    ids, positions, targets, lesson_index, question_index = (
        torch.tensor([joined(row, column) for row in rows]) for column in range(len(_PADDING))
    )
    is_earlier = torch.ones(length, length, dtype=torch.bool).tril()
    is_same_lesson = lesson_index[:, :, None] == lesson_index[:, None, :]
    is_same_question = question_index[:, :, None] == question_index[:, None, :]
    is_text = (question_index == -1)[:, None, :]
    is_visible = is_earlier & is_same_lesson & (is_same_question | is_text)
    return Batch(ids, positions, targets, is_visible[:, None], lesson_index, question_index)


def packed(sizes: Sequence[int]) -> list[list[int]]:
    """Return the rows of a batch: the numbers of the lessons in each.

    `sizes` are the lengths of the lessons in tokens. Of several lengths of rows, up to twice the
    longest lesson, the one that takes the least time is chosen: longer rows need less padding, but
    the time of attention grows with their length.
    """
    longest = max(sizes)
    lengths = [longest + longest * step // _ROW_STEPS for step in range(_ROW_STEPS + 1)]
    return min((_rows(sizes, length) for length in lengths), key=lambda rows: _cost(rows, sizes))


def _cost(rows: Sequence[Sequence[int]], sizes: Sequence[int]) -> float:
    """Return the time of a batch, in units of a token's without attention."""
    tokens = area(rows, sizes)
    return tokens * (1 + tokens / len(rows) / _ATTENTION_TOKENS)


def area(rows: Sequence[Sequence[int]], sizes: Sequence[int]) -> int:
    """Return the number of tokens of a batch with padding: rows times the longest of them."""
    return len(rows) * max(sum(sizes[number] for number in row) for row in rows)


def _rows(sizes: Sequence[int], length: int) -> list[list[int]]:
    """Put each lesson, the longest first, into the first row of `length` tokens with room."""
    rows: list[list[int]] = []
    room: list[int] = []
    for number in sorted(range(len(sizes)), key=lambda number: -sizes[number]):
        row = next((row for row, free in enumerate(room) if sizes[number] <= free), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(length)
        rows[row].append(number)
        room[row] -= sizes[number]
    return rows


def _columns(lesson: Lesson, number: int, end_id: int, rng: random.Random) -> tuple[list[int], ...]:
    """Return ids, positions, targets, lesson numbers and question numbers of one lesson."""
    text = list(lesson.prefix_ids)
    ids, positions, question_index = list(text), list(range(len(text))), [-1] * len(text)
    next_ids = [*text[1:], IGNORED]
    targets = [next_id if rng.random() < TEXT_SHARE else IGNORED for next_id in next_ids]
    for index, question in enumerate(lesson.questions):
        answer = [*question.answer_ids, *([end_id] if question.complete else [])]
        question_and_answer = [*question.question_ids, *answer[:-1]]
        ids += question_and_answer
        positions += range(len(text), len(text) + len(question_and_answer))
        targets += [*[IGNORED] * (len(question.question_ids) - 1), *answer]
        question_index += [index] * len(question_and_answer)
    return ids, positions, targets, [number] * len(ids), question_index


def make_lessons(stage: Stage, teacher: Teacher, rng: random.Random) -> list[Lesson]:
    """Return the lessons of one step of `stage`: as many as fit its batches, at least one.

    `rng` draws one kind and one length of text for all of them. `teacher` generates the lessons;
    its difficulty should be that of `stage`.
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
    sizes: list[int] = []
    while True:
        lesson = makers[kind](length)
        sizes.append(count_tokens(lesson))
        if lessons and area(packed(sizes), sizes) > stage.batch_tokens:
            return lessons
        lessons.append(lesson)


def count_tokens(lesson: Lesson) -> int:
    """Return the length of a lesson in tokens, the tokens that end its answers left out."""
    return len(lesson.prefix_ids) + sum(
        len(question.question_ids) + len(question.answer_ids) for question in lesson.questions
    )
