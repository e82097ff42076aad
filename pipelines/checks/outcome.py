"""Applies the results of checks to an answer: keeps it, takes values out, or rejects it.

No message, path or quote of the result shows a text that a check took out. Knows no rules.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipelines.checks.pieces import NAME, QUOTE, Piece
from pipelines.checks.taking_out import without, without_words
from pipelines.documents import CHECK_FAILED, Answer, CheckResult, Fields, Problem
from pipelines.errors import InvalidAnswer
from pipelines.tasks.kinds import Task
from pipelines.tasks.parsing import check_required

FLAG, NULL, DEAD_LETTER = "flag", "null", "dead_letter"
"""The actions of checks."""
_OF_MESSAGE = re.compile(r"check '([^']+)'")


@dataclass(frozen=True, slots=True)
class Hit:
    """Something that a check found in an answer.

    Attributes:
        check: the check's name.
        action: the check's action.
        rule: what it found, such as the name of a pattern.
        piece: where in the answer.
    """

    check: str
    action: str
    rule: str
    piece: Piece

    @property
    def takes_out(self) -> bool:
        """Return whether the text must not be in the output any more."""
        return self.action != FLAG


def outcome(answer: Answer, task: Task, hits: Sequence[Hit]) -> Answer:
    """Return an answer after its checks, which found `hits` in it.

    `answer` has a value. A hit of a check with the action `dead_letter` decides alone. A `strict`
    task's answer that would lack a required value is a dead letter too.
    """
    if not hits:
        return answer
    deciding = next((hit for hit in hits if hit.action == DEAD_LETTER), None)
    if deciding is not None:
        return _discarded(answer, hits, deciding, "")
    assert answer.value is not None
    out = [hit for hit in hits if hit.action == NULL]
    words = {hit.piece.row for hit in out if hit.piece.row is not None}
    texts = [hit.piece.text for hit in out if hit.piece.within != QUOTE]
    paths = {path for hit in out for path in hit.piece.paths}
    remainder = without(without_words(answer.value, words, texts), task.schema, paths)
    if isinstance(remainder.value, Fields) and paths:
        try:
            check_required(task, remainder.value.values)
        except InvalidAnswer:
            return _discarded(answer, hits, out[0], ", and the task is strict")
    return replace(answer, value=remainder.value, checks=_results(hits, remainder.paths))


def failed(answer: Answer, check: str, error: Exception) -> Answer:
    """Return the dead letter of an answer that could not be checked because of `error`.

    The message has only the type of the error, whose own message might show the answer.
    """
    message = (
        f"check '{check}': it failed with {type(error).__name__}, so the answer was discarded; "
        "please report this, and remove the check to get the answer"
    )
    results = (CheckResult(check, "error", "", "value", DEAD_LETTER),)
    return replace(answer, value=None, problem=Problem(CHECK_FAILED, message), checks=results)


def failed_check(message: str) -> str | None:
    """Return the name of the check that made a dead letter, from its message; None for others."""
    match = _OF_MESSAGE.match(message)
    return match[1] if match else None


def _discarded(answer: Answer, hits: Sequence[Hit], deciding: Hit, reason: str) -> Answer:
    """Return a dead letter. Only what the deciding check found is recorded."""
    results = _results([hit for hit in hits if hit.check == deciding.check], {})
    first = results[0]
    place = f" at {first.path}" if first.path else ""
    message = (
        f"check '{first.check}': found {first.rule} in a {first.within}{place}{reason}; to keep "
        "such answers, give the check the action flag"
    )
    problem = Problem(CHECK_FAILED, message)
    return replace(answer, value=None, problem=problem, checks=results)


def _results(hits: Sequence[Hit], moved: Mapping[str, str]) -> tuple[CheckResult, ...]:
    """Return what to record, each once. `moved` has the new paths of values that have moved."""
    hidden = {hit.piece.path: hit.piece.map_path for hit in hits if _hides_name(hit)}
    results = (
        CheckResult(
            hit.check,
            hit.rule,
            _shown_path(moved.get(hit.piece.path, hit.piece.path), hidden),
            hit.piece.within,
            hit.action,
        )
        for hit in hits
    )
    return tuple(dict.fromkeys(results))


def _hides_name(hit: Hit) -> bool:
    return hit.piece.within == NAME and hit.takes_out


def _shown_path(path: str, hidden: Mapping[str, str]) -> str:
    """Return a path, or the path of the map if it has the name of an entry that was taken out."""
    for entry, map_path in hidden.items():
        if path == entry or path.startswith((f"{entry}.", f"{entry}[")):
            return map_path
    return path
