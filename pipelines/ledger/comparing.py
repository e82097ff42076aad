"""Whether commits agree with the plans of their units. Knows records; knows no storage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipelines.corpus.units import Unit
from pipelines.errors import Incomplete
from pipelines.ledger.records import Commit, Plan

_MAX_UNITS_IN_MESSAGE = 10


def differing_units(plans: Sequence[Plan], commits: Iterable[Commit]) -> list[str]:
    """Return a line for each planned unit whose commit belongs to another plan, or accounts for
    other documents than the plan's. Commits of units that are in no plan are ignored."""
    planned = {unit.number: (plan, unit) for plan in plans for unit in plan.units}
    return [
        f"unit {commit.unit}: {difference}"
        for commit in commits
        if commit.unit in planned and (difference := _difference(*planned[commit.unit], commit))
    ]


def check_commits(url: str, plans: Sequence[Plan], commits: Iterable[Commit]) -> None:
    """Raise Incomplete naming the first units for which `differing_units` has a line; `url` is that
    of OUTPUT."""
    differing = differing_units(plans, commits)
    if not differing:
        return
    hidden = len(differing) - _MAX_UNITS_IN_MESSAGE
    more = f"\n  and {hidden} more" if hidden > 0 else ""
    lines = "".join(f"\n  {line}" for line in differing[:_MAX_UNITS_IN_MESSAGE])
    raise Incomplete(
        f"{url}: the commits do not match the plans:{lines}{more}\n"
        "Either the store let two runs create the same plan, or files below _run/ were changed "
        "by hand. Set output.path to a new directory and run again"
    )


def _difference(plan: Plan, unit: Unit, commit: Commit) -> str | None:
    if commit.plan != plan.digest:
        return f"its commit, made on {commit.host}, is of a plan that is not in this OUTPUT"
    if (commit.planned_ids or commit.ids) != unit.ids:
        return (
            f"its commit accounts for {commit.rows} documents, which are not the {unit.rows} that "
            "were planned"
        )
    return None
