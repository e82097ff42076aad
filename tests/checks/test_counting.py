"""Counts of what checks found, in a unit's results and again in its tables."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
from checked_tasks import TASKS, checks_of, task_of

from pipelines.checks.checking import AnswerChecks
from pipelines.checks.counting import count_checks
from pipelines.documents import (
    Answer,
    AnswerValue,
    Document,
    DocumentResult,
    Label,
    LabelSet,
    Problem,
    Reply,
    Summary,
    Written,
)
from pipelines.tasks.columns import dead_letters_table, part_table

MAIL = "bob@example.com"
NAMES = [task["name"] for task in TASKS]
CHECKS: list[dict[str, Any]] = [
    {"kind": "pii", "action": None, "tasks": ["summary", "who"]},
    {"kind": "blocklist", "action": "dead_letter", "phrases": ["fraud"]},
    {"kind": "blocklist", "action": "flag", "phrases": ["see"], "name": "seen"},
]


async def result_of(checks: AnswerChecks, number: int, *values: AnswerValue) -> DocumentResult:
    """Return the result of a document with the values of all tasks, after the checks."""
    answers = [
        await checks.checked(Answer(name, value), task_of(name))
        for name, value in zip(NAMES, values, strict=True)
    ]
    return DocumentResult(Document(f"d{number}", None, row=number), tuple(answers))


async def test_results_and_tables_give_the_same_counts() -> None:
    checks = checks_of(*CHECKS)
    other, none = Label("other"), LabelSet(())
    results = [
        await result_of(
            checks, 0, Summary(f"see {MAIL}"), other, none, Reply(MAIL), Written(f"see {MAIL}")
        ),
        # every answer of this document is a dead letter
        await result_of(
            checks, 1, Summary("fraud"), Label("fraud"), LabelSet((Label("fraud"),)),
            Reply("fraud, see"), Written("fraud"),
        ),
        # a dead letter beside answers
        await result_of(checks, 2, Summary(""), Label("fraud"), none, Reply("see"), Written("")),
        DocumentResult(Document("d3", None, row=3), problem=Problem("empty", "the text is null")),
    ]  # fmt: skip
    counted = sum((Counter(result.found_by_checks()) for result in results), Counter())
    assert counted == {
        ("pii", "null"): 2, ("blocklist", "dead_letter"): 6, ("seen", "flag"): 3,
    }  # fmt: skip
    rows = pa.table({"doc_id": [f"d{number}" for number in range(4)]})
    columns = [task_of(name).column for name in NAMES]
    part = part_table(rows, results, columns, "key")
    letters = dead_letters_table(
        [letter for result in results for letter in result.dead_letters()], pa.string()
    )
    # a kept column may have the answers of an earlier job
    part = part.append_column("kept", part.column("summary"))
    assert count_checks(part, letters, NAMES) == {"blocklist": 6, "pii": 2, "seen": 3}
    assert count_checks(part.slice(0, 1), None, NAMES) == {"pii": 2, "seen": 2}
    assert count_checks(None, None, NAMES) == {}


def test_answers_that_are_not_checked_have_no_counts_and_no_list() -> None:
    column = task_of("summary").column
    unchecked = type(column)("summary", "summarize")
    answer = DocumentResult(Document("d0", None), (Answer("summary", Summary("a")),))
    part = part_table(pa.table({"doc_id": ["d0"]}), [answer], [unchecked], "key")
    assert "checks" not in str(part.schema)
    assert count_checks(part, None, ["summary"]) == {}
    assert "checks" in str(column.type)
