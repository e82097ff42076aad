"""Evaluates the answers of an OUTPUT with right ones, and compares two OUTPUTs.

Start here: `evaluate` reads the right answers (`gold.py`), compares the answers with them document
by document (`comparing.py`, `scoring.py`), and computes the figures (`figures.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

import pyarrow as pa

from pipelines.corpus.id_types import common_kind
from pipelines.documents import EvidenceStatus
from pipelines.errors import InputError
from pipelines.reporting.answered import AnsweredOutput, open_answers
from pipelines.reporting.comparing import STRATEGIES, Compared, Comparing
from pipelines.reporting.feedback import Feedback
from pipelines.reporting.fields import EvaluatedTask, Field, is_single, struct_fields
from pipelines.reporting.figures import difference_of, figures_of, tally
from pipelines.reporting.gold import Gold
from pipelines.reporting.gold_files import GoldForm, list_gold, read_rows
from pipelines.reporting.results import (
    Comparison,
    Confusion,
    Evaluation,
    EvidenceResult,
    FeedbackUse,
    FieldResult,
    StrategyResult,
)
from pipelines.reporting.score_matrix import ScoreMatrix
from pipelines.reporting.significance import RatioSums

WORST = 20
"""The number of worst documents that an evaluation lists."""


def evaluate(output: str, gold: str, against: str | None = None, worst: int = WORST) -> Evaluation:
    """Compare the answers of an OUTPUT with right ones.

    Args:
        output: the directory or URL of the OUTPUT.
        gold: the path of the right answers: files of Parquet or lines of JSON, or the feedback of
            an endpoint.
        against: the directory or URL of another OUTPUT to compare with, or None.
        worst: the number of worst documents to list.

    Raises OutputError for an OUTPUT without a run or without answers, InputError for gold that
    cannot be used, and StorageError.
    """
    answers = open_answers(output)
    other = open_answers(against) if against is not None else None
    read, feedback = _read_gold(gold, answers)
    with read:
        fields = [each for task in answers.tasks if task.name in read.tasks for each in task.fields]
        with ScoreMatrix(len(read), [each.path for each in fields]) as matrix:
            found = Compared(matrix, worst)
            coverage = Comparing(answers, read, found).compare()
            judged = [each for each in fields if _is_judged(matrix, each)]
            return Evaluation(
                output,
                gold,
                coverage,
                _total(matrix, judged),
                tuple(_of_fields(matrix, judged)),
                tuple(_strategies(matrix, judged)),
                tuple(_evidence(found)),
                tuple(_confusions(found, answers)),
                found.worst_first(),
                feedback,
                _compared_with(other, read, matrix, judged, answers) if other else None,
            )


def _read_gold(path: str, answers: AnsweredOutput) -> tuple[Gold, FeedbackUse | None]:
    """Return the right answers at a path; with numbers of what was used, if they are feedback."""
    form = GoldForm(
        answers.id_column,
        answers.id_kind,
        {task.name: task for task in answers.tasks},
        answers.others,
    )
    rows = read_rows(path, list_gold(path), form)
    first = next(rows, None)
    if first is None:
        raise InputError(f"--gold: {path} has no rows; write a row for each document")
    rows = chain([first], rows)
    if not form.is_feedback(first.values):
        return Gold(map(form.row, rows)), None
    feedback = Feedback(form)
    feedback.add(rows)
    use = FeedbackUse(feedback.read, dict(feedback.unused))
    return Gold(feedback.rows()), use


def _is_judged(matrix: ScoreMatrix, field: Field) -> bool:
    return any(block.judged.any() for block in matrix.blocks(field.path))


def _total(matrix: ScoreMatrix, fields: Sequence[Field]) -> FieldResult | None:
    """Return the figures of all fields together, without free texts; None if there are none."""
    counted = [each for each in fields if each.kind.is_counted]
    return figures_of(matrix, counted, None, None) if counted else None


def _of_fields(matrix: ScoreMatrix, fields: Sequence[Field]) -> Iterator[FieldResult]:
    for each in fields:
        if result := figures_of(matrix, [each], each.path, each.kind):
            yield result


def _strategies(matrix: ScoreMatrix, fields: Sequence[Field]) -> Iterator[StrategyResult]:
    """Yield the figures of documents read by each strategy: of all tasks, and of each task."""
    counted = [each for each in fields if each.kind.is_counted]
    tasks = dict.fromkeys(each.task for each in fields)
    for number, strategy in enumerate(STRATEGIES):
        if number == 0:
            continue
        for task in (None, *tasks):
            chosen = [each for each in (fields if task else counted) if task in (None, each.task)]
            # the objects of a list are counted by their values
            chosen = [each for each in chosen if each in counted] or chosen
            result = figures_of(matrix, chosen, task, None, number) if chosen else None
            if result is not None:
                yield StrategyResult(strategy, task, result)


def _evidence(found: Compared) -> Iterator[EvidenceResult]:
    """Yield how many values are right by the status of their evidence: of all fields, and of each
    field."""
    totals: Counter[tuple[str | None, str | None, bool]] = Counter()
    for (field, best, is_right), count in found.evidence.items():
        totals[None, best, is_right] += count
        totals[field, best, is_right] += count
    for path in dict.fromkeys(path for path, _, _ in totals):
        for status in (*(each.value for each in EvidenceStatus), None):
            right, wrong = totals[path, status, True], totals[path, status, False]
            if right or wrong:
                sums = RatioSums.of_counts(right, right + wrong)
                yield EvidenceResult(status, path, tally(sums))


def _confusions(found: Compared, answers: AnsweredOutput) -> Iterator[Confusion]:
    for task in answers.tasks:
        counts = {
            (right, given): count
            for (name, right, given), count in found.labels.items()
            if name == task.name
        }
        if counts:
            given = {label for pair in counts for label in pair if label is not None}
            others = sorted(given - set(task.labels))
            yield Confusion(task.name, (*task.labels, *others), counts)


def _compared_with(
    other: AnsweredOutput,
    gold: Gold,
    matrix: ScoreMatrix,
    judged: Sequence[Field],
    answers: AnsweredOutput,
) -> Comparison:
    """Return the comparison with another OUTPUT on the same right answers."""
    _check_ids(answers, other)
    other = replace(other, tasks=tuple(_common_tasks(answers.tasks, other.tasks)))
    paths = [each.path for task in other.tasks for each in task.fields]
    common = [each for each in judged if each.path in paths]
    with ScoreMatrix(len(gold), paths) as other_matrix:
        coverage = Comparing(other, gold, Compared(other_matrix, 0)).compare()
        counted = [each for each in common if each.kind.is_counted]
        rows = [([each], each.path, each.kind) for each in common]
        whole = [(counted, None, None)] if counted else []
        differences = [difference_of(matrix, other_matrix, *row) for row in (*whole, *rows)]
        return Comparison(
            other.storage.url,
            coverage,
            tuple(each for each in differences if each is not None),
            tuple(each.path for each in judged if each not in common),
        )


def _common_tasks(
    ours: Sequence[EvaluatedTask], theirs: Sequence[EvaluatedTask]
) -> Iterator[EvaluatedTask]:
    """Yield the tasks that two OUTPUTs have in common, with the fields that both have."""
    by_name = {task.name: task for task in ours}
    for task in theirs:
        own = by_name.get(task.name)
        if own is None or own.kind != task.kind or own.multiple != task.multiple:
            continue
        types = {each.name: each.type for each in struct_fields(own.type)}
        kept = [
            each
            for each in struct_fields(task.type)
            if each.name in types and _is_comparable(each.type, types[each.name])
        ]
        yield replace(task, type=pa.struct(kept))


def _is_comparable(one: pa.DataType, other: pa.DataType) -> bool:
    """Return whether values of two types can be compared with the same right ones."""
    return one == other or (is_single(one) and is_single(other))


def _check_ids(answers: AnsweredOutput, other: AnsweredOutput) -> None:
    if common_kind(answers.id_kind, other.id_kind) is None:
        raise InputError(
            f"--against: {other.storage.url} has ids of another kind ({other.id_kind.value}) than "
            f"{answers.storage.url} ({answers.id_kind.value}); compare two OUTPUTs of one corpus"
        )
