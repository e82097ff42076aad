from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from pipelines.job.spec import Job, parse_job
from pipelines.ledger.accounts import sum_commits
from pipelines.ledger.records import Commit
from pipelines.run.manifest import build_manifest, covered_seconds
from pipelines.run.prepared import PreparedJob, prepare_job


@pytest.fixture(scope="module")
def prepared(tiny_model: object) -> PreparedJob:
    source: dict[str, object] = {
        "input": {"path": "in"},
        "output": {"path": "out"},
        "model": {"name": "tiny-random"},
        "tasks": [{"name": "who", "kind": "ask", "question": "Who?"}],
    }
    return prepare_job(Job(parse_job(source), source))


def commit(unit: int, decoding: Mapping[str, tuple[int, int, int]]) -> Commit:
    return Commit(
        unit=unit, plan="p", ids="i", rows=1, answered=1, dead_letters=0, reasons={}, part=None,
        errors=None, prompt_tokens=5, cached_prompt_tokens=0, output_tokens=9, seconds=1.0,
        host="h", committed_at="2026-01-01T00:00:00+00:00", decoding=decoding,
    )  # fmt: skip


def manifest(prepared: PreparedJob, *commits: Commit) -> dict[str, Any]:
    return build_manifest(prepared, [], commits, sum_commits(commits).account)


def test_steps_per_output_token_are_given_in_total_and_by_task(prepared: PreparedJob) -> None:
    built = manifest(
        prepared,
        commit(0, {"who": (10, 4, 8), "what": (20, 20, 0)}),
        commit(1, {"who": (30, 8, 40)}),
    )
    assert built["draft_tokens"] == 48
    assert built["steps_per_output_token"] == round(32 / 60, 3)
    assert built["task_steps_per_output_token"] == {"who": 0.3, "what": 1.0}


def test_commits_that_did_not_count_steps_are_left_out(prepared: PreparedJob) -> None:
    fields = commit(0, {})
    assert manifest(prepared, fields)["steps_per_output_token"] is None
    assert manifest(prepared, fields, commit(1, {"who": (4, 2, 3)}))[
        "steps_per_output_token"
    ] == pytest.approx(0.5)


def test_checks_are_counted_over_all_commits_and_absent_without_any(
    prepared: PreparedJob,
) -> None:
    assert "checks" not in manifest(prepared, commit(0, {}))
    source = {
        **prepared.job.source,
        "checks": [
            {"kind": "pii", "action": None},
            {"kind": "unshown", "action": "flag"},
            {"kind": "blocklist", "action": "dead_letter", "phrases": ["x"], "name": "names"},
        ],
    }
    checked = prepare_job(Job(parse_job(source), source))
    commits = [replace(commit(at, {}), checks={"pii": 2 + at, "names": at}) for at in range(2)]
    assert manifest(checked, *commits)["checks"] == {
        "pii": {"action": "null", "answers": 5},
        "unshown": {"action": "flag", "answers": 0},
        "names": {"action": "dead_letter", "answers": 1},
    }


def test_a_record_without_checks_can_still_be_read() -> None:
    record = replace(commit(0, {}), checks={"pii": 2})
    assert Commit.from_json(record.to_json()) == record
    without = record.to_json().replace(b'"checks": {"pii": 2}, ', b"")
    assert Commit.from_json(without).checks == {}


def test_a_record_without_decoding_can_still_be_read() -> None:
    record = commit(0, {"who": (10, 5, 9)})
    assert Commit.from_json(record.to_json()) == record
    without = record.to_json().replace(b'"decoding": {"who": [10, 5, 9]}, ', b"")
    assert Commit.from_json(without).decoding == {}


def test_seconds_of_overlapping_units_are_counted_once_and_gaps_are_not() -> None:
    spans = ((0.0, 4.0), (2.0, 5.0), (10.0, 11.0), (3.0, 4.0))
    assert covered_seconds(spans) == 6.0


def test_the_revision_of_a_unit_does_not_move_the_time_at_which_it_was_answered(
    prepared: PreparedJob,
) -> None:
    first, second = commit(0, {}), commit(1, {})
    second = replace(second, committed_at="2026-01-01T01:00:00+00:00")
    before = manifest(prepared, first, second)
    revised = [
        replace(
            answered,
            revision=1,
            answered_at=answered.committed_at,
            committed_at="2026-02-01T00:00:00+00:00",
        )
        for answered in (first, second)
    ]
    after = manifest(prepared, *revised)
    assert before["steady_seconds"] == after["steady_seconds"] == 2.0
    assert after["tokens_per_second"] == before["tokens_per_second"] == 14.0
