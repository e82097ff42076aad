"""Compares the answer to one task about one document with the right one. Pure; knows no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.reporting.counts import TaskScore, Verdict
from pipelines.reporting.fields import EvaluatedTask
from pipelines.reporting.forms import FormScorer
from pipelines.reporting.meaning import Meaning, meaning_of, meaning_of_reply
from pipelines.tasks.comparison import is_filler, normalize_text

_NOTHING: tuple[str | None] = (None,)
_CATCH_ALL = frozenset({"other", "others", "none of these", "none of the above"})


def score_task(task: EvaluatedTask, gold: Any, answer: Mapping[str, Any]) -> TaskScore:
    """Compare one answer to a task with the right one.

    Args:
        task: the task.
        gold: the right answer as `gold_values.py` returns it. For an `extract` task it has the
            judged fields only.
        answer: the fields of the answer's value as JSON values, {} for an answer without a value.
    """
    score = TaskScore()
    match task.kind:
        case "classify" if task.multiple:
            _score_labels(score, task, gold or [], answer.get("labels") or [])
        case "classify":
            _score_label(score, task, gold, answer.get("label"))
        case "ask":
            _score_reply(score, task.name, gold, answer.get("text"))
        case "extract":
            FormScorer(score).object_of(task.type, task.name, "", gold, answer)
        case _:
            _score_text(score, task.name, gold, answer.get("text"))
    return score


def _score_label(score: TaskScore, task: EvaluatedTask, gold: Any, given: str | None) -> None:
    wanted = _known_label(gold, task.labels)
    if wanted is None and given is not None and _is_catch_all(given):
        given = None
    score.labels.append((wanted, given))
    score.add(task.name, "", Meaning(wanted) if wanted else None, Meaning(given) if given else None)


def _is_catch_all(label: str) -> bool:
    """Return whether a label says that no other one fits, such as `other` or `none`."""
    return normalize_text(label) in _CATCH_ALL or is_filler(label)


def _known_label(label: str | None, labels: Sequence[str]) -> str | None:
    """Return the task's label that is spelled like `label` but for case and spaces, if one is."""
    if label is None or label in labels:
        return label
    alike = [each for each in labels if normalize_text(each) == normalize_text(label)]
    return alike[0] if len(alike) == 1 else label


def _score_labels(
    score: TaskScore, task: EvaluatedTask, gold: Sequence[str], given: Sequence[str]
) -> None:
    wanted = {_known_label(label, task.labels) for label in gold}
    counts = score.at(task.name)
    counts.expected, counts.answered = len(wanted), len(set(given))
    counts.matched = len(wanted & set(given))
    missed, extra = sorted(wanted - set(given), key=str), sorted(set(given) - wanted)
    score.labels += [(label, label) for label in sorted(wanted & set(given), key=str)]
    # a missed label is confused with each label that was given too much
    score.labels += [
        (label, other) for label in missed for other in [*extra, *_NOTHING[len(extra) :]]
    ]
    score.labels += [(None, other) for other in extra if not missed]
    score.verdicts += [Verdict(task.name, "", label in wanted) for label in given]


def _score_reply(score: TaskScore, path: str, gold: Any, given: str | None) -> None:
    choices = gold if isinstance(gold, list) else [gold]
    reply = meaning_of_reply(given)
    meanings = [meaning_of_reply(choice) for choice in choices]
    right = next((each for each in meanings if reply and each and reply.agrees(each)), meanings[0])
    score.add(path, "", right, reply)
    score.at(path).add_similarity(
        [choice for choice in choices if meaning_of_reply(choice)], given if reply else None
    )


def _score_text(score: TaskScore, path: str, gold: Any, given: str | None) -> None:
    choices = [choice for choice in (gold if isinstance(gold, list) else [gold]) if choice]
    meanings = [meaning_of(choice, {}) for choice in choices] or [None]
    text = meaning_of(given, {})
    right = next((each for each in meanings if text and each and text.agrees(each)), meanings[0])
    score.add(path, "", right, text)
    score.at(path).add_similarity(choices, given)
