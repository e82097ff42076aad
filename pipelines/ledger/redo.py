"""Units that are answered again: the record of it in a plan, and what is left of it.

A plan with a `Redo` has no units of its own. It names documents of committed units and the tasks to
ask about them. A worker answers them and joins the answers into the unit's files by a revision of
the unit: stage the joined files, create `_run/withdrawals/PLAN-UNIT.json` exclusively, publish. So
each unit is revised once for each such plan, whoever does it.

Revisions have an order, that of their plans, because a plan that revises units (a `Redo`, or one
that withdraws documents) is created only when every unit of earlier plans is committed and every
revision that these made necessary exists.

Knows records; knows nothing of tasks' content or of answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pipelines.corpus.units import Unit

if TYPE_CHECKING:
    from pipelines.ledger.records import Plan


@dataclass(frozen=True, slots=True)
class Redo:
    """What a plan answers again.

    Attributes:
        tasks: the names of the tasks that are asked about a document, unless its row in the unit's
            file names others.
        units: the units to revise: each has the number of a unit of an earlier plan, and file and
            row group with the documents of it that are asked about.
        reasons: the reasons whose dead letters a retry was asked for; empty for other redos.
        letters: the numbers of dead letters that are retried, by reason.
        job: the record of the job that the added tasks belong to (see `Ledger.job`); None for a
            retry.
    """

    tasks: tuple[str, ...]
    units: tuple[Unit, ...] = ()
    reasons: tuple[str, ...] = ()
    letters: Mapping[str, int] = field(default_factory=dict)
    job: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the record without its units, as JSON values; `from_json` reads them."""
        return {
            "tasks": self.tasks,
            "reasons": self.reasons,
            "letters": dict(self.letters),
            "job": self.job,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], units: Iterable[Unit]) -> Redo:
        """Return the record that `to_json` wrote, with its units."""
        return cls(
            tasks=tuple(values["tasks"]),
            units=tuple(units),
            reasons=tuple(values["reasons"]),
            letters=values["letters"],
            job=values["job"],
        )


@dataclass(frozen=True, slots=True)
class Redoing:
    """A redo that is not finished: the number of its plan, its record, the units that are left, and
    the numbers of earlier plans that revised units, the newest first."""

    plan: int
    redo: Redo
    units: Sequence[Unit]
    earlier: Sequence[int]

    def without_units(self) -> Redoing:
        """Return what a worker needs to know: all but the units."""
        return replace(self, redo=replace(self.redo, units=()), units=())


def unfinished_redos(
    plans: Sequence[Plan], revisions: Mapping[int, Sequence[int]]
) -> list[Redoing]:
    """Return the redos of these plans that are not finished, the oldest first. `revisions` is as
    `Ledger.revisions` returns it."""
    redos = []
    revising: list[int] = []
    for number, plan in enumerate(plans):
        if plan.redo is not None:
            units = [u for u in plan.redo.units if number not in revisions.get(u.number, ())]
            if units:
                redos.append(Redoing(number, plan.redo, units, tuple(reversed(revising))))
        if plan.redo is not None or plan.withdrawn is not None:
            revising.append(number)
    return redos
