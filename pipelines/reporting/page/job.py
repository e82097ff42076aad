"""What ran, from the record of the job: model, tasks and checks, in words. Knows no files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.reporting.page.facts import CheckFacts, JobFacts, TaskFacts

_MAX_CHARACTERS = 300


def job_facts(
    job: Mapping[str, Any], found_by_checks: Mapping[str, int], metadata: Mapping[str, str]
) -> JobFacts:
    """Return what a run's job states.

    `found_by_checks` has the number of answers in which each check found something, and `metadata`
    what the parts state, such as `version`.
    """
    source = job["source"]
    versions = {f"phifleet {name}": metadata[name] for name in ("version",) if name in metadata}
    return JobFacts(
        model=str(job["model"]),
        revision=str(job["revision"]),
        fingerprint=str(job["fingerprint"]),
        created_at=str(job.get("created_at", "")),
        input=str(source["input"]["path"]),
        strategy=str((source.get("long_documents") or {}).get("strategy", "auto")),
        id_column=str(source["input"].get("id_column", "id")),
        tasks=[TaskFacts(str(t["name"]), str(t["kind"]), _asks(t)) for t in source["tasks"]],
        checks=[_check(check, found_by_checks) for check in source.get("checks") or ()],
        versions=versions,
    )


def _check(check: Mapping[str, Any], found: Mapping[str, int]) -> CheckFacts:
    name = str(check.get("name") or check.get("kind"))
    action = str(check.get("action", "flag"))
    return CheckFacts(name, str(check.get("kind", "")), action, found.get(name, 0))


def _asks(task: Mapping[str, Any]) -> str:
    """Return what a task asks, in a phrase."""
    match task["kind"]:
        case "summarize":
            words = task.get("max_words")
            text = f"a summary in at most {words} words" if words else "a summary"
        case "classify":
            text = " / ".join(map(str, task.get("labels") or ()))
        case "extract":
            form = task.get("fields") or (task.get("schema") or {})
            names = form.get("properties", form) if isinstance(form, Mapping) else {}
            text = ", ".join(map(str, names)) if isinstance(names, Mapping) else str(form)
        case _:
            text = str(task.get("question") or task.get("prompt") or "")
    return text if len(text) <= _MAX_CHARACTERS else text[:_MAX_CHARACTERS] + " …"
