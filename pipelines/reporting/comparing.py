"""Compares the answers of one OUTPUT with right ones, document by document.

Knows documents and their answers; knows no files and no figures.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipelines.documents import EvidenceStatus
from pipelines.reporting.answered import AnsweredDocument, AnsweredOutput, TaskAnswer
from pipelines.reporting.counts import TaskScore, document_loss, field_score
from pipelines.reporting.fields import EvaluatedTask, Field
from pipelines.reporting.gold import Gold, GoldRow
from pipelines.reporting.results import Coverage, WrongDocument, WrongValue
from pipelines.reporting.score_matrix import ScoreMatrix, State
from pipelines.reporting.scoring import score_task
from pipelines.tasks.paths import field_path

STRATEGIES = ("unknown", "single", "map_reduce", "truncate")
"""The strategies by which documents are read, numbered by their index."""
_STATUSES: Sequence[str] = [status.value for status in EvidenceStatus]
_NO_ANSWER = TaskAnswer(None, None, {})


@dataclass
class Compared:
    """The result of comparing an OUTPUT with right answers, updated document by document.

    Attributes:
        matrix: the counts of each document and field.
        evidence: the number of values by the path of their field, the status of their best
            evidence (None without any), and whether they are right.
        labels: the number of documents by task, right label and given label.
        worst: the documents with the largest loss, at most `keep`, in no order, each behind its
            loss and a number that orders equal ones.
    """

    matrix: ScoreMatrix
    keep: int
    evidence: Counter[tuple[str, str | None, bool]] = field(default_factory=Counter)
    labels: Counter[tuple[str, str | None, str | None]] = field(default_factory=Counter)
    worst: list[tuple[float, int, WrongDocument]] = field(default_factory=list)

    def worst_first(self) -> tuple[WrongDocument, ...]:
        """Return the worst documents, the worst one first."""
        return tuple(document for _, _, document in sorted(self.worst, key=lambda x: x[:2])[::-1])


@dataclass
class Comparing:
    """Compares the answers of `output` with `gold`, and adds what it finds to `found`."""

    output: AnsweredOutput
    gold: Gold
    found: Compared

    def __post_init__(self) -> None:
        self._tasks = [task for task in self.output.tasks if task.name in self.gold.tasks]
        self._kinds = {each.path: each for task in self._tasks for each in task.fields}

    def compare(self) -> Coverage:
        """Compare all documents that have right answers; return what OUTPUT has of them."""
        seen = np.zeros(len(self.gold), np.bool_)
        for document in self.output.documents([t.name for t in self._tasks], self.gold.find):
            if not seen[document.number]:
                seen[document.number] = True
                self._add(document)
        answered = int(seen.sum())
        for number in self.output.dead(self.gold.find):
            if not seen[number]:
                seen[number] = True
                self._add_unanswered(self.gold.row(number), number)
        missing = np.flatnonzero(~seen)
        return Coverage(
            len(self.gold),
            answered,
            int(seen.sum()) - answered,
            len(missing),
            self.gold.row(int(missing[0])).doc_id if len(missing) else None,
            self.output.finished,
        )

    def _add(self, document: AnsweredDocument) -> None:
        row = self.gold.row(document.number)
        scores: list[tuple[EvaluatedTask, TaskScore, TaskAnswer]] = []
        for task in self._judged(row):
            answer = document.answers.get(task.name, _NO_ANSWER)
            score = score_task(task, row.answers[task.name], answer.value or {})
            self._record(document.number, score, answer)
            if answer.value is not None:
                scores.append((task, score, answer))
                self._count(task, score, answer)
        self._keep_if_worst(row, document.number, scores)

    def _judged(self, row: GoldRow) -> Iterator[EvaluatedTask]:
        return (task for task in self._tasks if task.name in row.answers)

    def _record(self, number: int, score: TaskScore, answer: TaskAnswer) -> None:
        state = State.UNANSWERED if answer.value is None else State.COMPARED
        known = answer.strategy in STRATEGIES
        strategy = STRATEGIES.index(str(answer.strategy)) if known else 0
        for path, counts in score.counts.items():
            self.found.matrix.set(path, number, counts, state, strategy)

    def _add_unanswered(self, row: GoldRow, number: int) -> None:
        """Record a document that is a dead letter."""
        for task in self._judged(row):
            self._record(number, score_task(task, row.answers[task.name], {}), _NO_ANSWER)

    def _count(self, task: EvaluatedTask, score: TaskScore, answer: TaskAnswer) -> None:
        for right, given in score.labels:
            self.found.labels[task.name, right, given] += 1
        # labels and free texts have no evidence
        if task.kind not in ("ask", "extract"):
            return
        for verdict in score.verdicts:
            status = _best(answer.evidence.get(verdict.place, ()))
            self.found.evidence[verdict.path, status, verdict.right] += 1

    def _keep_if_worst(
        self,
        row: GoldRow,
        number: int,
        scores: Sequence[tuple[EvaluatedTask, TaskScore, TaskAnswer]],
    ) -> None:
        """Keep a document if its answers are among the worst ones so far."""
        counted = [
            (self._kinds[path].kind, counts)
            for _, score, _ in scores
            for path, counts in score.counts.items()
        ]
        loss = document_loss(counted)
        worst = self.found.worst
        # of equal ones, the first of the gold
        rank = (loss, -number)
        if not loss or not self.found.keep:
            return
        if len(worst) < self.found.keep or rank > worst[0][:2]:
            wrong = tuple(each for one in scores for each in _wrong_values(row, *one, self._kinds))
            document = WrongDocument(row.doc_id, loss, len(counted), wrong)
            heapq.heappush(worst, (*rank, document))
            if len(worst) > self.found.keep:
                heapq.heappop(worst)


def _best(statuses: Sequence[str]) -> str | None:
    """Return the highest of the statuses of a value's evidence; None without any."""
    return min(statuses, key=_STATUSES.index) if statuses else None


def _wrong_values(
    row: GoldRow,
    task: EvaluatedTask,
    score: TaskScore,
    answer: TaskAnswer,
    kinds: Mapping[str, Field],
) -> Iterator[WrongValue]:
    """Yield the fields of an answer that are not right, of an extraction its top-level fields."""
    wrong = [
        path for path, counts in score.counts.items() if field_score(kinds[path].kind, counts) < 1
    ]
    right, given = row.answers[task.name], answer.value or {}
    if task.kind != "extract":
        if wrong:
            yield WrongValue(task.name, right, given.get(task.type.field(0).name))
        return
    for name in given:
        path = field_path(task.name, name)
        if any(_is_within(each, path) for each in wrong):
            yield WrongValue(path, _value_at(right, name), given[name])


def _is_within(path: str, outer: str) -> bool:
    return path == outer or path.startswith((f"{outer}.", f"{outer}[", f"{outer}{{"))


def _value_at(value: Mapping[str, Any] | None, name: str) -> Any:
    return None if value is None else value.get(name)
