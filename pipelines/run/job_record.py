"""The record of a run's job, and whether a job may continue the run: it is the same, or it has
further tasks.

Knows digests and plans; reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pipelines.errors import OutputError
from pipelines.job.fingerprint import differing_keys
from pipelines.ledger.records import Plan
from pipelines.run.prepared import PreparedJob, prepare_tasks
from pipelines.text.lengths import ReadingPlan

_NEW_OUTPUT = "set output.path to a new directory"


def new_record(prepared: PreparedJob) -> dict[str, Any]:
    """Return the record of a new run's job, as JSON values. `columns` has the fingerprint of the
    job with which each task's column was answered."""
    return {
        "source": prepared.job.source,
        "digests": prepared.digests,
        "fingerprint": prepared.fingerprint,
        "model": prepared.model.name,
        "revision": prepared.model.revision,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "columns": {task.name: prepared.fingerprint for task in prepared.spec.tasks},
    }


def newest_record(recorded: Mapping[str, Any], plans: Sequence[Plan]) -> Mapping[str, Any]:
    """Return the record of the job as it is with the tasks that these plans have added."""
    names = [str(task["name"]) for task in recorded["source"].get("tasks", ())]
    columns = dict.fromkeys(names, recorded["fingerprint"])
    record = {"columns": columns, **recorded}
    for plan in plans:
        if plan.redo is not None and plan.redo.job is not None:
            record |= plan.redo.job
    return record


def grown_record(recorded: Mapping[str, Any], prepared: PreparedJob) -> dict[str, Any]:
    """Return what changes in the record of a job to which the job's further tasks are added."""
    added = {task.name: prepared.fingerprint for task in prepared.spec.tasks}
    return {
        "source": prepared.job.source,
        "digests": prepared.digests,
        "fingerprint": prepared.fingerprint,
        "columns": {**added, **recorded["columns"]},
    }


def added_tasks(recorded: Mapping[str, Any], prepared: PreparedJob, url: str) -> tuple[str, ...]:
    """Return the names of the tasks that a job has and the recorded job has not.

    `recorded` is as `newest_record` returns it, and `url` is that of OUTPUT. Raises OutputError if
    the job would give other answers to the recorded tasks.
    """
    before: Mapping[str, str] = recorded["digests"]
    names = [task.name for task in prepared.spec.tasks]
    known = {name for name in names if any(key.startswith(_prefix(name)) for key in before)}
    added = tuple(name for name in names if name not in known)
    if known and added:
        _check_reading(prepared, known, added)
    prefixes = tuple(map(_prefix, added))
    changed = [
        key for key in differing_keys(before, prepared.digests) if not key.startswith(prefixes)
    ]
    if changed:
        raise OutputError(
            f"output.path: {url} contains a run of a different job; changed keys: "
            f"{', '.join(changed)}. Restore these values, or {_NEW_OUTPUT}"
        )
    return added


def _prefix(task: str) -> str:
    return f"tasks.{task}."


def _check_reading(prepared: PreparedJob, known: set[str], added: Sequence[str]) -> None:
    """Raise OutputError if documents would be read in another way with the added tasks."""
    spec, tasks = prepared.spec, prepared.tasks
    before = prepare_tasks(
        [task for task in spec.tasks if task.name in known],
        spec.long_documents,
        prepared.model,
        tasks.tokenizer,
        instructions=spec.instructions,
    )
    old, new = _limits(before.reading), _limits(tasks.reading)
    changed = [f"{name} from {old[name]} to {new[name]}" for name in old if old[name] != new[name]]
    if changed:
        raise OutputError(
            f"tasks: the question and the answer of an added task ({', '.join(added)}) are so long "
            "that documents would be read in another way, by the other tasks too: "
            f"{', '.join(changed)}. Shorten the question, or lower its max_tokens or max_words, or "
            f"{_NEW_OUTPUT}"
        )


def _limits(reading: ReadingPlan) -> dict[str, int]:
    """Return the lengths by which documents are cut, and prompts filled, in tokens."""
    parts = reading.parts
    return {
        "the longest document that is read whole": reading.max_single_pass_tokens,
        "chunks": reading.chunk_size.chunk_tokens,
        "prompts about chunks": reading.chunk_prompt_limit,
        "prompts that combine chunks": reading.combine_prompt_limit,
        **({"parts": parts.part_tokens} if parts else {}),
    }
