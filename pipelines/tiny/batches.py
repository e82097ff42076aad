"""What one step of a training learns: lessons of one kind and length, side by side.

What a lesson shows is computed once for all questions about it: each question sees what is shown
and itself, as if it stood alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from pipelines.tiny.lessons import Lesson, Teacher

COPYING, BARE, QUOTING, ASKING = "copying", "bare", "quoting", "asking"
LABELLING, FILLING = "labelling", "filling"
WHOLE, PART, COMBINING = "whole", "part", "combining"
BATCH_TOKENS = 6144
# Of the text that a lesson shows, so much is learned too.
TEXT_SHARE = 0.1
IGNORED = -100


@dataclass(frozen=True, slots=True)
class Stage:
    """So many steps with texts of up to so many tokens. `mixture` weighs the kinds of lesson;
    `shortest`: how long the shortest texts are, as a share of the longest; `alike`: how many keys
    share a word with another; `peak`: where it is given, a new course of learning begins, whose
    rates rise to this share of the highest and fall until the next; `kept`: the weights at its end
    are kept, and the model is the mean of all that were."""

    steps: int
    most_tokens: int
    mixture: Mapping[str, float]
    shortest: float = 0.25
    alike: float = 0.0
    peak: float | None = None
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Lessons side by side, each a row of `ids`: what it shows, then its questions with answers.

    ids, positions, targets: [lessons, tokens]; targets are the next ids where an answer or a
    sampled piece of text is learned, else -100. `sees`: [lessons, 1, tokens, tokens], whether a
    token may look at another. `owner`: of each token the number of its question, -1 elsewhere.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    sees: torch.Tensor
    owner: torch.Tensor


def batch_of(lessons: Sequence[Lesson], end: int, pick: random.Random) -> Batch:
    """`end` is the token that ends every answer."""
    rows = [_row(lesson, end, pick) for lesson in lessons]
    longest = max(len(ids) for ids, *_ in rows)

    def padded(column: int, filler: int) -> torch.Tensor:
        return torch.tensor([[*row[column], *[filler] * (longest - len(row[0]))] for row in rows])

    owner = padded(3, -2)
    earlier = torch.ones(longest, longest, dtype=torch.bool).tril()
    same = owner[:, :, None] == owner[:, None, :]
    shown = (owner == -1)[:, None, :]
    return Batch(
        ids=padded(0, 0),
        positions=padded(1, 0),
        targets=padded(2, IGNORED),
        sees=(earlier & (same | shown))[:, None],
        owner=owner,
    )


def _row(
    lesson: Lesson, end: int, pick: random.Random
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Ids, positions, targets and owners of one lesson."""
    shown = list(lesson.shown)
    ids, positions, owner = list(shown), list(range(len(shown))), [-1] * len(shown)
    following = [*shown[1:], IGNORED]
    targets = [each if pick.random() < TEXT_SHARE else IGNORED for each in following]
    for number, asked in enumerate(lesson.asked):
        answer = [*asked.answer, *([end] if asked.ends else [])]
        own = [*asked.question, *answer[:-1]]
        ids += own
        positions += range(len(shown), len(shown) + len(own))
        targets += [*[IGNORED] * (len(asked.question) - 1), *answer]
        owner += [number] * len(own)
    return ids, positions, targets, owner


def lessons_of(stage: Stage, teacher: Teacher, pick: random.Random) -> list[Lesson]:
    """The lessons of one step: of one length, so that little of a batch is empty."""
    kind = pick.choices(list(stage.mixture), list(stage.mixture.values()))[0]
    length = int(stage.most_tokens * stage.shortest ** pick.random())
    make: Mapping[str, Callable[[], Lesson]] = {
        BARE: lambda: teacher.bare(length),
        QUOTING: lambda: teacher.quoting(length),
        ASKING: lambda: teacher.asking(length),
        LABELLING: lambda: teacher.labelling(length),
        FILLING: lambda: teacher.filling(length),
        COPYING: lambda: teacher.copying(length),
        WHOLE: lambda: teacher.whole(length),
        PART: lambda: teacher.part(length),
        COMBINING: lambda: teacher.combining(length),
    }
    made: list[Lesson] = []
    longest = 0
    while True:
        lesson = make[kind]()
        longest = max(longest, _tokens_of(lesson))
        if made and longest * (len(made) + 1) > BATCH_TOKENS:
            return made
        made.append(lesson)


def _tokens_of(lesson: Lesson) -> int:
    return len(lesson.shown) + sum(len(each.question) + len(each.answer) for each in lesson.asked)
