"""The manifest of a run: the content of `manifest.json` and of `run --json`.

Computed from the plans and commits alone; reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from pipelines.corpus.layout import Layout
from pipelines.corpus.not_read import MAX_NAMES, printable
from pipelines.ledger.accounts import Account, DeviceTime
from pipelines.ledger.published import published_files
from pipelines.ledger.records import Commit, Plan, current_files, sum_counts, sum_decoding
from pipelines.ledger.used import Work
from pipelines.run.prepared import PreparedJob

DONE, TOO_MANY_DEAD_LETTERS = "done", "too_many_dead_letters"
"""The values of the manifest's `status`: DONE, or TOO_MANY_DEAD_LETTERS if the fraction of dead
letters exceeds the job's limit."""


def build_manifest(
    prepared: PreparedJob,
    plans: Sequence[Plan],
    commits: Sequence[Commit],
    account: Account,
) -> dict[str, Any]:
    """Return the manifest of a run, as JSON values.

    Its `status` is TOO_MANY_DEAD_LETTERS if the fraction of dead letters exceeds
    `limits.max_dead_letter_fraction`, else DONE.

    Args:
        prepared: the job with its model and tasks.
        plans: all plans of the run.
        commits: the commits of all their units.
        account: the account of the run: these commits, and what else the workers have used.
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
        **_times(commits),
        "bill": bill_to_json(account),
        "fingerprint": prepared.fingerprint,
        "model": prepared.model.name,
        "revision": prepared.model.revision,
        "dead_letter_reasons": sum_counts(commit.reasons for commit in commits),
        "retries": [
            {"reasons": list(plan.redo.reasons), "dead_letters": dict(plan.redo.letters)}
            for plan in plans
            if plan.redo is not None and plan.redo.job is None
        ],
        **_checks(prepared, commits),
        "input_files": len(current_files(plans)),
        "files_without_rows": _first(_without_rows(plans)),
        **_input_version(plans),
        "id_type": _id_type(plans),
        "files": [file for commit in commits for file in _published(commit)],
    }


def _times(commits: Sequence[Commit]) -> dict[str, float]:
    """Return the keys of times: the slowest start of an engine, the seconds during which a unit
    was answered that was then committed, and the tokens of committed answers in each of them.

    Sums over commits, of all sessions. An attempt that led to no commit adds neither tokens nor
    seconds.
    """
    steady = covered_seconds(_span(work) for commit in commits for work in commit.work)
    tokens = sum(commit.prompt_tokens + commit.output_tokens for commit in commits)
    used = [work.used for commit in commits for work in commit.work]
    starts = [one.start_seconds / max(1, one.starts) for one in used]
    return {
        "engine_start_seconds": round(max(starts, default=0.0), 2),
        "steady_seconds": round(steady, 2),
        "tokens_per_second": round(tokens / steady, 1) if steady else 0.0,
    }


def _span(work: Work) -> tuple[float, float]:
    """Return when documents were answered, from and until, in Unix seconds."""
    end = datetime.fromisoformat(work.ended_at).timestamp()
    return end - work.seconds, end


def covered_seconds(spans: Iterable[tuple[float, float]]) -> float:
    """Return how many seconds are in at least one of these spans of time."""
    covered, end = 0.0, float("-inf")
    for start, stop in sorted(spans):
        covered += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return covered


def bill_to_json(account: Account) -> dict[str, Any]:
    """Return what a run has used as JSON values: seconds by device, and what of them and of the
    tokens was for nothing, by reason."""
    tokens = account.all_tokens
    return {
        "engine_seconds": round(account.used.engine_seconds, 2),
        "gpu_seconds": round(account.gpu_seconds, 2),
        "start_seconds": round(account.used.start_seconds, 2),
        "commit_seconds": round(account.used.commit_seconds, 2),
        "engine_restarts": account.used.restarts,
        "devices": {
            name: {f.name: round(getattr(time, f.name), 2) for f in fields(DeviceTime)}
            for name, time in account.devices.items()
        },
        "prompt_tokens": tokens.prompt_tokens,
        "cached_prompt_tokens": tokens.cached_prompt_tokens,
        "output_tokens": tokens.output_tokens,
        "waste": {
            why: {**waste.to_json(), "seconds": round(waste.seconds, 2)}
            for why, waste in sorted(account.used.waste.items())
        },
    }


def _checks(prepared: PreparedJob, commits: Sequence[Commit]) -> dict[str, Any]:
    """Return the key `checks`, if the job has any: of each its action, and the number of answers in
    which it found something."""
    if not prepared.spec.checks:
        return {}
    found = sum_counts(commit.checks for commit in commits)
    counts = {
        check.name: {"action": check.action, "answers": found.get(check.name, 0)}
        for check in prepared.spec.checks
    }
    return {"checks": counts}


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
    by_task = sum_decoding(commit.decoding for commit in commits)
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
