"""Applies the checks of a job to an answer, before it is counted, streamed or written.

Every check sees the answer as the model gave it, so that their order does not matter. A check that
fails with an error makes the answer a dead letter: no answer passes unchecked. Knows no engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from pipelines.checks.classifying import ClassifierRules
from pipelines.checks.outcome import Hit, failed, outcome
from pipelines.checks.pieces import VALUE, Piece, evidence_of, pieces_of
from pipelines.documents import Answer, Evidence, EvidenceStatus
from pipelines.tasks.kinds import Task

# Longer answers are checked in a thread, as other documents would have to wait.
_CHECKED_IN_LOOP = 4000
# A classification model keeps one core busy; several at a time would only take turns.
_CHECKING = ThreadPoolExecutor(1, "check")
_WITH_EVIDENCE = ("ask", "extract")
_BEST_FIRST = list(EvidenceStatus)


class Rules(Protocol):
    """Finds in texts what one check of the job looks for."""

    def rules(self, texts: Sequence[str]) -> Sequence[str | None]:
        """Return for each text the name of the first rule that it breaks, or None."""


@dataclass(frozen=True, slots=True)
class Check:
    """A check of a job, prepared: its name, its action, and the tasks that it applies to.

    Attributes:
        name: its name in the job file.
        action: `flag`, `null` or `dead_letter`.
        tasks: names of the tasks whose answers are checked; None for all tasks.
        texts: what it looks for in texts; None if it looks at the status of evidence.
        statuses: the statuses of evidence that it finds.
    """

    name: str
    action: str
    tasks: frozenset[str] | None
    texts: Rules | None = None
    statuses: frozenset[str] = frozenset()

    def applies_to(self, task: Task) -> bool:
        """Return whether the answers of a task are checked."""
        if self.texts is None and task.spec.kind not in _WITH_EVIDENCE:
            return False
        return self.tasks is None or task.spec.name in self.tasks

    def hits(self, pieces: Sequence[Piece], evidence: Sequence[Evidence]) -> list[Hit]:
        """Return everything that the check finds in an answer's pieces and evidence."""
        if self.texts is None:
            return self._unsupported(pieces, evidence)
        rules = self.texts.rules([piece.text for piece in pieces])
        return [
            Hit(self.name, self.action, rule, piece)
            for rule, piece in zip(rules, pieces, strict=True)
            if rule is not None
        ]

    def _unsupported(self, pieces: Sequence[Piece], evidence: Sequence[Evidence]) -> list[Hit]:
        """Return the values whose best evidence has one of the statuses of the check."""
        best: dict[str, EvidenceStatus] = {}
        has_value = any(piece.within == VALUE for piece in pieces)
        for row in evidence:
            if not row.path and not has_value:
                # of a reply that `only_verified` took out
                continue
            best[row.path] = min(best.get(row.path, row.status), row.status, key=_BEST_FIRST.index)
        return [
            Hit(self.name, self.action, status.value, Piece(path, VALUE, "", (path,)))
            for path, status in best.items()
            if status.value in self.statuses
        ]


@dataclass(frozen=True, slots=True)
class AnswerChecks:
    """All checks of a job. Made by `preparing.prepare_checks`; without checks, answers stay."""

    checks: tuple[Check, ...] = ()

    def apply_to(self, task: Task) -> bool:
        """Return whether any check applies to the answers of a task."""
        return any(check.applies_to(task) for check in self.checks)

    async def checked(self, answer: Answer, task: Task) -> Answer:
        """Return an answer as the checks leave it, with what they found in `Answer.checks`.

        An answer without a value stays as it is. A long answer is checked in a thread, and so is
        any answer for which a classification model is asked.
        """
        if answer.value is None or not self.apply_to(task):
            return answer
        try:
            pieces = pieces_of(answer.value, task.schema)
        except Exception as error:
            return failed(answer, self.checks[0].name, error)
        in_loop = sum(len(piece.text) for piece in pieces) <= _CHECKED_IN_LOOP
        if in_loop and not any(isinstance(c.texts, ClassifierRules) for c in self.checks):
            return self._check(answer, task, pieces)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_CHECKING, self._check, answer, task, pieces)

    def _check(self, answer: Answer, task: Task, pieces: Sequence[Piece]) -> Answer:
        assert answer.value is not None
        evidence = evidence_of(answer.value)
        hits: list[Hit] = []
        for check in self.checks:
            try:
                if check.applies_to(task):
                    hits += check.hits(pieces, evidence)
            except Exception as error:
                return failed(answer, check.name, error)
        try:
            return outcome(answer, task, hits)
        except Exception as error:
            return failed(answer, hits[0].check, error)


NO_CHECKS = AnswerChecks()
"""The checks of a job without any."""
