"""The manifest of a run: the content of `_manifest.json` and of `run --json`.

Computed from the plans and commits alone; reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.ledger.ledger import published_files
from pipelines.ledger.records import Commit, Plan, sum_counts
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
        **{name: times[name] for name in TIMES},
        "fingerprint": prepared.fingerprint,
        "model": prepared.model.name,
        "revision": prepared.model.revision,
        "dead_letter_reasons": sum_counts(commit.reasons for commit in commits),
        "input_files": sum(len(plan.files) for plan in plans),
        "files": [file for commit in commits for file in _published(commit)],
    }


def _published(commit: Commit) -> list[dict[str, Any]]:
    return [
        {"name": name, "rows": file.rows, "size_bytes": file.size_bytes, "sha256": file.sha256}
        for name, file in published_files(commit)
    ]
