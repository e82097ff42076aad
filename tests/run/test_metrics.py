from __future__ import annotations

import subprocess
import urllib.request
from dataclasses import replace

import pytest
from needs import needs_promtool

from pipelines.run.metrics import RunCollector, RunTotals, serve_totals

TOTALS = RunTotals(
    run="job", answered=7, dead_letters=1, reasons={"empty": 1}, prompt_tokens=100,
    cached_prompt_tokens=40, output_tokens=9, steps=4, draft_tokens=8, units_done=2, units_left=3,
    kv_tokens_in_flight=50, engine_restarts=0, eta_seconds=12.5,
)  # fmt: skip


@pytest.fixture
def text() -> str:
    server, thread = serve_totals(0, lambda: TOTALS)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics") as response:
            body: str = response.read().decode()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    return body


def test_metrics_have_the_documented_names_and_labels(text: str) -> None:
    for line in (
        'phifleet_documents_total{run="job",status="answered"} 7.0',
        'phifleet_dead_letters_total{reason="empty",run="job"} 1.0',
        'phifleet_prompt_tokens_total{run="job"} 100.0',
        'phifleet_cached_prompt_tokens_total{run="job"} 40.0',
        'phifleet_output_tokens_total{run="job"} 9.0',
        'phifleet_decode_steps_total{run="job"} 4.0',
        'phifleet_draft_tokens_total{run="job"} 8.0',
        'phifleet_units{run="job",state="left"} 3.0',
        'phifleet_kv_tokens_in_flight{run="job"} 50.0',
        'phifleet_engine_restarts_total{run="job"} 0.0',
        'phifleet_eta_seconds{run="job"} 12.5',
    ):
        name, value = line.split(" ")
        labels = name[name.index("{") + 1 : -1].split(",")
        samples = [s for s in text.splitlines() if s.startswith(name.split("{")[0] + "{")]
        assert any(
            s.endswith(f" {value}") and all(label in s for label in labels) for s in samples
        ), line


def test_a_counter_never_falls() -> None:
    totals = TOTALS
    collector = RunCollector(lambda: totals)

    def values() -> dict[str, list[float]]:
        return {m.name: [sample.value for sample in m.samples] for m in collector.collect()}

    before = values()
    totals = replace(TOTALS, answered=3, dead_letters=0, reasons={}, prompt_tokens=20)
    after = values()
    assert after["phifleet_documents"] == before["phifleet_documents"] == [7, 1]
    assert after["phifleet_prompt_tokens"] == [100]
    totals = replace(TOTALS, answered=9)
    assert values()["phifleet_documents"] == [9, 1]


@needs_promtool
def test_promtool_reports_no_problem(text: str) -> None:
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True
    )
    assert (checked.returncode, checked.stderr) == (0, "")
