"""Tasks and checks without a model, for tests of checks."""

from __future__ import annotations

from typing import Any

from pipelines.checks.checking import AnswerChecks
from pipelines.checks.preparing import prepare_checks
from pipelines.documents import Answer, AnswerValue
from pipelines.job.spec import JobSpec, parse_job
from pipelines.job.task_specs import ExtractTask
from pipelines.tasks.extraction import allowed_schema, schema_of
from pipelines.tasks.kinds import Question, Sampling, Task

TASKS: list[dict[str, Any]] = [
    {"name": "summary", "kind": "summarize"},
    {"name": "topic", "kind": "classify", "labels": ["fraud", "other"]},
    {"name": "topics", "kind": "classify", "labels": ["fraud", "tax", "other"], "multiple": True},
    {"name": "who", "kind": "ask", "question": "Who?"},
    {"name": "letter", "kind": "write", "prompt": "Write a letter."},
]
FIELDS: dict[str, Any] = {
    "company": "string",
    "listed": "boolean",
    "card": "integer",
    "risks": ["string"],
    "people": [{"name": "string", "mail": "string", "head": "boolean"}],
    "auditor": {"name": "string", "mail": "string"},
}


def specs_of(*checks: dict[str, Any], extract: dict[str, Any] | None = None) -> JobSpec:
    """Return a job of TASKS and the task `facts`, which has FIELDS or `extract`."""
    facts = {"name": "facts", "kind": "extract", **(extract or {"fields": FIELDS})}
    return parse_job(
        {
            "input": {"path": "in"},
            "output": {"path": "out"},
            "tasks": [*TASKS, facts],
            "checks": list(checks),
        }
    )


def task_of(name: str, extract: dict[str, Any] | None = None) -> Task:
    """Return one of these tasks, with questions that are not asked."""
    spec = next(task for task in specs_of(extract=extract).tasks if task.name == name)
    question = Question("", (), Sampling(1))
    schema = allowed_schema(spec, schema_of(spec)) if isinstance(spec, ExtractTask) else None
    return Task(spec, question, question, schema=schema, checked=True)


def checks_of(*checks: dict[str, Any]) -> AnswerChecks:
    """Return checks given as in a job file."""
    return prepare_checks(specs_of(*checks).checks)


async def checked(
    value: AnswerValue | None,
    name: str,
    *checks: dict[str, Any],
    extract: dict[str, Any] | None = None,
) -> Answer:
    """Return the answer `value` of a task after checks given as in a job file."""
    return await checks_of(*checks).checked(Answer(name, value), task_of(name, extract))
