"""Decide between the different values that chunks state for one field, if evidence suffices.

Pure; knows no schema, prompts or engine.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.tasks.comparison import contains, meaning_key, value_key
from pipelines.tasks.statements import Statement

# Of more different values, none is tested for being a part of another.
_MAX_COMPARED = 64


def by_value(stated: Sequence[Statement]) -> list[list[Statement]]:
    """Group the statements of one field by value, and return the groups in document order.

    A statement is the field's value in one chunk's answer; `stated` has them in document order.
    Values that state the same are one. A text cut off at the border of a chunk is in the
    group of the whole text that is at the same place of the document.
    """
    groups: dict[str, list[Statement]] = {}
    for statement in stated:
        groups.setdefault(meaning_key(statement.value), []).append(statement)
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
    """Return the statement with the best evidence, the first of equally good ones.

    `stated` are the chunks' statements of one value, at least one. A text that is the beginning or
    end of another statement's text is taken as cut off, and is not returned.
    """
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
    """Return those of the statements that have the value of `best`, or a part of it.

    A part is a text that is the beginning or end of that of `best`, as if cut off at the border of
    a chunk. `best` is one of `stated`.
    """
    if len(stated) == 1:
        return list(stated)
    key = meaning_key(best.value)
    return [
        statement
        for statement in stated
        if meaning_key(statement.value) == key or contains(best.value, statement.value)
    ]


def count_chunks(stated: Sequence[Statement]) -> int:
    """Return the number of different chunks that the statements are from."""
    return len({statement.chunk.number for statement in stated})


def decided(different: Sequence[Sequence[Statement]]) -> list[Sequence[Statement]]:
    """Return the values of one field that evidence does not rule out, each with its statements.

    `different` has the statements of each different value. If the result has a single value, the
    field is decided; otherwise the caller has to choose.

    A value is proven if one of its statements has evidence of the status SHOWN or FOUND. All proven
    values stay, however often each is stated: evidence does not tell which one is meant. An
    unproven value stays if no value is proven, or if its statements together weigh more than half
    of those of the proven value with the most weight: a single quote does not outvote many chunks.
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
