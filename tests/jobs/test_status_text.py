"""What `phifleet status` says of a run: the same as the live view, with the same words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
from live_runs import large_run

from jobs.live import View
from jobs.status import status_text, status_to_json
from pipelines.job.resources import Limits
from pipelines.ledger.heartbeat import Heartbeat
from pipelines.reporting.status import Life, RunStatus, Totals

JOB = {
    "source": {"name": "filings-digest"}, "model": "phi", "revision": "r1", "fingerprint": "f",
}  # fmt: skip
LIMITS: dict[str, Any] = {
    "max_gpu_hours": 40, "max_cost_usd": 130, "deadline": "2099-01-31T18:00:00Z",
}  # fmt: skip


def status_of(view: View) -> RunStatus:
    """Return the status that the heartbeat and the records of a living run give."""
    beat = view.heartbeat(2)
    totals = Totals(beat.documents, view.documents, beat.units, beat.units_done)
    return RunStatus(
        JOB, Life("running", "process 81 on head-0", beat, 9.0), 2, totals, view.account,
        view.workers, view.wall_seconds, Limits.model_validate(beat.limits),
    )  # fmt: skip


def rows(text: str) -> dict[str, str]:
    return {line[:14].strip(): line[14:].strip() for line in text.splitlines()}


def test_the_status_and_the_live_view_say_the_same_of_a_living_run() -> None:
    view = cast(View, large_run(View, **LIMITS))
    live = {row.label: row.text for row in view._rows()}
    said = rows(status_text(status_of(view)))
    for label in (
        "tokens/s", "ETA", "tokens", "H100", "engine time", "waste", "KV cache", "oldest",
        "restarts", "cost", "limit",
    ):  # fmt: skip
        assert said[label] == live[label], label
    assert said["dead letters"].startswith("1,204 of at most 50,000 (")
    assert said["status"] == "running, reading (process 81 on head-0, last seen 9 s ago)"


def test_the_json_of_the_status_has_the_numbers_of_the_live_view() -> None:
    view = cast(View, large_run(View, **LIMITS))
    live, said = view.values(), status_to_json(status_of(view))
    for key in (
        "units", "units_done", "documents", "tokens_per_second", "tokens_per_second_overall",
        "engine_time", "kv_tokens_in_flight", "kv_cache_tokens", "oldest_unit", "cost_usd",
        "eta_seconds",
    ):  # fmt: skip
        assert said[key] == live[key], key
    assert said["limits"]["max_gpu_hours"] == {
        "limit": 40.0, "unit": "GPU hours", "used": 31.5389, "left": 8.4611,
    }  # fmt: skip
    assert said["limits"]["deadline"]["limit"] == "2099-01-31T18:00:00Z"
    assert said["limits"]["max_dead_letter_fraction"]["used"] == 1_204
    assert sum(said["engine_time"].values()) == pytest.approx(1.0, abs=1e-3)
    assert said["oldest_unit"]["unit"] == 4_100 and said["workers"][0]["kv_cache_tokens"] > 0


def test_a_run_that_has_used_nothing_has_no_cost_and_no_shares() -> None:
    view = View("filings-digest", large_run(View, 0).state)
    view.state.books.earlier = view.state.books.uncommitted
    view.state.books._known = type(view.state.books._known)()
    status = replace(status_of(view), life=Life("unfinished"))
    said = rows(status_text(status))
    assert (said["engine time"], said["waste"]) == ("none yet", "none")
    assert not {"cost", "KV cache", "oldest", "limit", "ETA"} & set(said)
    values = status_to_json(status)
    assert (values["cost_usd"], values["oldest_unit"], values["engine_time"]) == (None, None, {})


def test_limits_survive_a_heartbeat() -> None:
    view = large_run(View, **LIMITS)
    limits = Heartbeat.from_json(view.heartbeat(2).to_json()).limits
    assert view.state.limits is not None
    assert Limits.model_validate(limits) == view.state.limits.limits
