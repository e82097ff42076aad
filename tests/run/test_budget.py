"""A run with half of the engine time that it needs stops at its limit, and goes on with more."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from quick import QuickRun

from pipelines.ledger.verify import verify
from pipelines.reporting.status import read_status
from pipelines.storage import Storage

pytestmark = pytest.mark.usefixtures("tiny_model")
DOCUMENTS = 900


def test_half_a_budget_stops_a_run_which_a_raised_one_completes(tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    run = QuickRun(tmp_path, output, DOCUMENTS, CHAOS_SECONDS="0.5")
    budget = ("--set", "limits.max_gpu_hours=0.0025")
    code, result, _ = run(*budget)
    assert code == 3, result
    message = result["error"]
    assert message.startswith("limits.max_gpu_hours: 0.00") and "are left, which need" in message
    status = read_status(output)
    assert (status.life.status, status.life.reason) == ("stopped", message)
    assert 0 < status.account.units < status.totals.units
    # within a unit's time of each engine
    assert 5.0 < status.account.used.engine_seconds < 9.0 + 3.0
    # no engine starts for a budget that is used up
    code, again, _ = run(*budget)
    assert code == 3 and again["error"].startswith("limits.max_gpu_hours: 0.00")
    assert read_status(output).account.units == status.account.units
    code, finished, errors = run("--set", "limits.max_gpu_hours=1")
    assert code == 0, errors
    assert verify(Storage(output)).complete
    papers = [
        line.split()[1] for file in run.diary.iterdir() for line in file.read_text().splitlines()
    ]
    # each document is asked two questions, once
    assert set(Counter(papers).values()) == {2}
    assert len(set(papers)) == finished["documents"] == DOCUMENTS
