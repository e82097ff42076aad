"""Time and decoding, from commits alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipelines.documents import Usage
from pipelines.ledger.records import Commit
from pipelines.ledger.used import Used, Work
from pipelines.reporting.page.work import distribution, timeline, work_facts

COMMIT = Commit(0, "", "", 2, 2, 0, {}, None, None, 600, 300, 60, 30.0, "h",
                "2026-01-01T00:01:00+00:00", {"who": (60, 20, 50)})  # fmt: skip


def work(tokens: int, seconds: float, ended_at: str) -> Work:
    return Work(Used(), Usage(tokens, 0, tokens // 10), seconds, ended_at)


def test_the_tokens_of_a_timeline_are_those_of_the_work() -> None:
    works = [
        work(6_000, 30.0, "2026-01-01T00:01:00+00:00"),
        work(3_000, 45.0, "2026-01-01T00:02:00+02:00"),
        work(500, 0.0, "2026-01-01T00:03:00+00:00"),
    ]
    found = timeline(works)
    assert found is not None
    prompt, output = found.prompt_tokens_per_second, found.output_tokens_per_second
    assert sum(prompt) * found.bucket_seconds == pytest.approx(9_500, rel=0.02)
    assert sum(output) * found.bucket_seconds == pytest.approx(950, rel=0.05)
    assert (found.begins, found.ends) == ("2025-12-31T22:01:15+00:00", "2026-01-01T00:03:00+00:00")


def test_a_sample_of_commits_is_scaled_to_all() -> None:
    facts = work_facts([COMMIT], total=10)
    assert facts.timeline is not None
    rates, width = facts.timeline.prompt_tokens_per_second, facts.timeline.bucket_seconds
    assert sum(rates) * width == pytest.approx(6_000, rel=0.01)
    assert (facts.commits, facts.read) == (10, 1)


def test_steps_are_summed_by_task() -> None:
    other = replace(COMMIT, unit=1, decoding={"who": (40, 30, 10), "sum": (0, 0, 0)})
    who, summary = work_facts([COMMIT, other], total=2).tasks
    assert (who.output_tokens, who.steps, who.draft_tokens) == (100, 50, 60)
    assert (who.steps_per_token, summary.steps_per_token) == (0.5, None)


def test_each_unit_is_in_one_bar() -> None:
    found = distribution([1.0, 2.0, 2.0, 50.0])
    assert found is not None
    assert sum(bar.count for bar in found.bars) == found.units == 4
    assert (found.median, found.longest) == (2.0, 50.0)
    assert all(a.high == b.low for a, b in zip(found.bars, found.bars[1:], strict=False))


def test_nothing_committed_has_neither_timeline_nor_distribution() -> None:
    facts = work_facts([], total=0)
    assert facts.timeline is None and facts.unit_seconds is None


def test_units_that_took_no_time_have_a_distribution() -> None:
    found = distribution([0.0, 0.0])
    assert found is not None and sum(bar.count for bar in found.bars) == 2
