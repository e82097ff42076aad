"""Feedback of the endpoint as right answers: what clients said of its answers.

The newest verdict on each task of a document counts. Knows rows of feedback and tasks; knows no
HTTP and no files.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pipelines.errors import InputError
from pipelines.reporting.gold import GoldRow
from pipelines.reporting.gold_files import GoldForm, RawRow
from pipelines.reporting.gold_values import WrongGold, gold_answers

_LONG_AGO = datetime.min.replace(tzinfo=UTC)
NO_VALUE = "right, without the answer's value"
NO_CORRECTION = "wrong or partly right, without a correction"
OTHER_TASK = "about a task that OUTPUT does not have"
OTHER_ID = "about an id that OUTPUT cannot have"
OTHER_TYPE = "with a value that the task cannot have"
"""Reasons why feedback states no right answer."""


@dataclass(slots=True)
class Feedback:
    """Verdicts on answers, of which the newest on each task of a document counts.

    `form` says what right answers may have. `unused` counts the verdicts that state no right answer
    by the reason, and `read` all verdicts.
    """

    form: GoldForm
    read: int = 0
    unused: Counter[str] = field(default_factory=Counter)
    _newest: dict[tuple[str, str], tuple[datetime, str, dict[str, Any]]] = field(
        default_factory=dict
    )

    def add(self, rows: Iterable[RawRow]) -> None:
        """Add verdicts, in any order."""
        for row in rows:
            self.read += 1
            if reason := self._add(row):
                self.unused[reason] += 1

    def rows(self) -> Iterator[GoldRow]:
        """Yield the right answers by document, in the order of the documents' first verdicts."""
        documents: dict[str, GoldRow] = {}
        for (doc_id, _), (_, place, answers) in sorted(
            self._newest.items(), key=lambda entry: entry[1][0]
        ):
            row = documents.setdefault(doc_id, GoldRow(doc_id, place, {}))
            for task, answer in answers.items():
                both = isinstance(answer, dict) and isinstance(row.answers.get(task), dict)
                row.answers[task] = row.answers[task] | answer if both else answer
        yield from documents.values()

    def _add(self, row: RawRow) -> str | None:
        """Add one verdict; return the reason if it states no right answer."""
        stated = _stated(row.values)
        if isinstance(stated, str):
            return stated
        task = row.values.get("task")
        answers = {task: stated[0]} if task else stated[0]
        if not isinstance(answers, dict):
            return OTHER_TYPE
        known = {
            name: value
            for name, value in answers.items()
            if str(name).partition(".")[0] in self.form.tasks
        }
        if not known:
            return OTHER_TASK
        return self._keep(row, task or "", known)

    def _keep(self, row: RawRow, task: str, answers: dict[str, Any]) -> str | None:
        try:
            doc_id = self.form.doc_id(row.values["answer"], row.place)
            right = gold_answers(answers, self.form.tasks)
        except InputError:
            return OTHER_ID
        except WrongGold:
            return OTHER_TYPE
        at = _time(row.values.get("received_at"))
        earlier = self._newest.get((doc_id, task))
        if earlier is None or at >= earlier[0]:
            self._newest[doc_id, task] = (at, row.place, right)
        return None


def _time(value: Any) -> datetime:
    if not isinstance(value, datetime):
        return _LONG_AGO
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _stated(values: dict[str, Any]) -> tuple[Any] | str:
    """Return the right value that a verdict states, as the only item; or why it states none."""
    text = values.get("correction")
    if values.get("verdict") == "right":
        # some clients send every key, also those that they leave out
        text = values.get("value") or (text if text != "null" else None)
        if text is None:
            return NO_VALUE
    if text is None:
        return NO_CORRECTION
    try:
        return (json.loads(text),)
    except ValueError:
        return OTHER_TYPE
