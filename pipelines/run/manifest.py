"""The manifest of a run: the content of `manifest.json` and of `run --json`.

Computed from the plans and commits alone; reads and writes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.corpus.layout import Layout
from pipelines.corpus.not_read import MAX_NAMES, printable
from pipelines.ledger.ledger import published_files
from pipelines.ledger.records import Commit, Plan, current_files, sum_counts
from pipelines.run.prepared import PreparedJob

DONE, TOO_MANY_DEAD_LETTERS = "done", "too_many_dead_letters"
"""The values of the manifest's `status`: DONE, or TOO_MANY_DEAD_LETTERS if the fraction of dead
letters exceeds the job's limit."""
TIMES = ("engine_start_seconds", "steady_seconds", "wall_seconds", "tokens_per_second")
"""The manifest's keys of times; see `Timing` in progress.py."""


def build_manifest(
    prepared: PreparedJob,
    plans: Sequence[Plan],
    commits: Sequence[Commit],
    times: Mapping[str, float],
) -> dict[str, Any]:
    """Return the manifest of a run, as JSON values.

    Its `status` is TOO_MANY_DEAD_LETTERS if the fraction of dead letters exceeds
    `limits.max_dead_letter_fraction`, else DONE.

    Args:
        prepared: the job with its model and tasks.
        plans: all plans of the run.
        commits: the commits of all their units.
        times: seconds and tokens per second by the keys in TIMES.
    """
    answered = sum(commit.answered for commit in commits)
    dead = sum(commit.dead_letters for commit in commits)
    max_fraction = prepared.spec.limits.max_dead_letter_fraction
    return {
        "run": prepared.spec.name,
        "status": TOO_MANY_DEAD_LETTERS if dead > max_fraction * (answered + dead) else DONE,
        "documents": answered + dead,
        "answered": answered,
        "dead_letters": dead,
        "units": len(commits),
        "prompt_tokens": sum(commit.prompt_tokens for commit in commits),
        "cached_prompt_tokens": sum(commit.cached_prompt_tokens for commit in commits),
        "output_tokens": sum(commit.output_tokens for commit in commits),
        **_decoding(commits),
        **{name: times[name] for name in TIMES},
        "fingerprint": prepared.fingerprint,
        "model": prepared.model.name,
        "revision": prepared.model.revision,
        "dead_letter_reasons": sum_counts(commit.reasons for commit in commits),
        "input_files": len(current_files(plans)),
        "files_without_rows": _first(_without_rows(plans)),
        **_input_version(plans),
        "id_type": _id_type(plans),
        "files": [file for commit in commits for file in _published(commit)],
    }


def _without_rows(plans: Sequence[Plan]) -> list[str]:
    current = current_files(plans)
    return [path for plan in plans for path in plan.without_rows if path in current]


def _input_version(plans: Sequence[Plan]) -> dict[str, Any]:
    """Return the keys about a table that the documents are from, and about the changes of the input
    that the run has followed: documents that were added, changed and removed, and when."""
    versions = [(plan.table, plan.version) for plan in plans if plan.table]
    table = dict(zip(("format", "version"), versions[-1], strict=True)) if versions else None
    followed = [dict(plan.changes) for plan in plans if plan.changes]
    return {"input_table": table, "input_changes": followed}


def _id_type(plans: Sequence[Plan]) -> str | None:
    """Return what the ids of the input are and how they are written; None if there are no rows."""
    layouts = [plan.layout for plan in plans if plan.layout is not None]
    return Layout.from_text(layouts[0]).id_kind.value if layouts else None


def _first(paths: Sequence[str]) -> dict[str, Any]:
    """Return how many paths there are, and the first of them."""
    return {"count": len(paths), "first": [printable(path) for path in paths[:MAX_NAMES]]}


def _decoding(commits: Sequence[Commit]) -> dict[str, Any]:
    """Return the keys about the engine's steps: `draft_tokens`, the guessed tokens that were
    verified, and `steps_per_output_token`, of all tasks and by task.

    A ratio without any output tokens is None. Commits of versions that did not count steps are left
    out.
    """
    by_task: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for commit in commits:
        for task, counts in commit.decoding.items():
            by_task[task] = [a + b for a, b in zip(by_task[task], counts, strict=True)]
    tokens, steps, drafted = (
        sum(counts) for counts in zip([0] * 3, *by_task.values(), strict=True)
    )
    return {
        "draft_tokens": drafted,
        "steps_per_output_token": _ratio(steps, tokens),
        "task_steps_per_output_token": {
            task: _ratio(steps, tokens) for task, (tokens, steps, _) in by_task.items()
        },
    }


def _ratio(steps: int, tokens: int) -> float | None:
    return round(steps / tokens, 3) if tokens else None


def _published(commit: Commit) -> list[dict[str, Any]]:
    return [
        {"name": name, "rows": file.rows, "size_bytes": file.size_bytes, "sha256": file.sha256}
        for name, file in published_files(commit)
    ]
