from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pipelines.job.spec import Job, parse_job
from pipelines.ledger.records import Commit
from pipelines.run.manifest import TIMES, build_manifest
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
        host="h", committed_at="now", decoding=decoding,
    )  # fmt: skip


def manifest(prepared: PreparedJob, *commits: Commit) -> dict[str, Any]:
    return build_manifest(prepared, [], commits, dict.fromkeys(TIMES, 1.0))


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


def test_a_record_without_decoding_can_still_be_read() -> None:
    record = commit(0, {"who": (10, 5, 9)})
    assert Commit.from_json(record.to_json()) == record
    without = record.to_json().replace(b'"decoding": {"who": [10, 5, 9]}, ', b"")
    assert Commit.from_json(without).decoding == {}
