"""Decide between the different values that chunks state for one field, where evidence suffices.

Pure; knows no schema, prompts or engine.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.tasks.comparison import contains, value_key
from pipelines.tasks.statements import Statement

# Of more different values, none is tested for being a part of another.
_MAX_COMPARED = 64


def by_value(stated: Sequence[Statement]) -> list[list[Statement]]:
    """Return the statements of each different value, in document order.

    A text cut off at the border of a chunk counts as the whole text that stands at the same place.
    """
    groups: dict[str, list[Statement]] = {}
    for statement in stated:
        groups.setdefault(value_key(statement.value), []).append(statement)
    different = list(groups.values())
    if 1 < len(different) <= _MAX_COMPARED:
        for part in sorted(different, key=lambda same: len(str(same[0].value))):
            if whole := next((same for same in different if _is_cut_off(part, same)), None):
                whole += part
                different.remove(part)
    for same in different:
        same.sort(key=lambda statement: statement.chunk.number)
    return sorted(different, key=lambda same: same[0].chunk.number)


def _is_cut_off(part: Sequence[Statement], whole: Sequence[Statement]) -> bool:
    """Return whether a text is the beginning or the end of another at the same place."""
    return contains(whole[0].value, part[0].value) and bool(_ends(part) & _ends(whole))


def _ends(stated: Sequence[Statement]) -> set[tuple[str, int]]:
    rows = [row for statement in stated for row in statement.rows]
    starts = {("start", row.start) for row in rows if row.start is not None}
    return starts | {("end", row.end) for row in rows if row.end is not None}


def best_of(stated: Sequence[Statement]) -> Statement:
    """Return the first statement with the best evidence, of those that are not cut off."""
    if len(stated) == 1:
        return stated[0]
    forms = {value_key(statement.value): statement.value for statement in stated}
    complete = {
        key
        for key, value in forms.items()
        if not any(contains(other, value) for name, other in forms.items() if name != key)
    }
    return max(
        (statement for statement in stated if value_key(statement.value) in complete),
        key=lambda statement: statement.weight,
    )


def supporting(stated: Sequence[Statement], best: Statement) -> list[Statement]:
    """Return the statements of a value or of a part of it."""
    if len(stated) == 1:
        return list(stated)
    key = value_key(best.value)
    return [
        statement
        for statement in stated
        if value_key(statement.value) == key or contains(best.value, statement.value)
    ]


def count_chunks(stated: Sequence[Statement]) -> int:
    """Return how many chunks the statements are from."""
    return len({statement.chunk.number for statement in stated})


def decided(different: Sequence[Sequence[Statement]]) -> list[Sequence[Statement]]:
    """Return the different values that remain in question, each with its statements.

    A value is proven if a verified quote shows it or the text proves it by itself. Proven values
    stay: if there are several, only a reader can tell which one is meant, however often each is
    stated. An unproven value stays if none is proven, or if its chunks together weigh more than
    half of those of the best proven one: a single quote does not outvote many chunks.
    """
    proven = [any(statement.is_proven for statement in same) for same in different]
    weights = [sum(statement.weight for statement in same) for same in different]
    best = max(
        (weight for weight, is_proven in zip(weights, proven, strict=True) if is_proven),
        default=0.0,
    )
    return [
        same
        for same, weight, is_proven in zip(different, weights, proven, strict=True)
        if is_proven or 2 * weight > best
    ]
