"""Tests of a finished run's answers, dead letters, manifest, log and metrics: one real run with Ray
and vLLM on the CPU, over both pools."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from needs import needs_promtool
from runs import corpus_of, job_file, phifleet, start

from pipelines.models.resolve import Model
from pipelines.run.ports import free_port

RUN_KEYS = {
    "run", "status", "documents", "answered", "dead_letters", "units", "prompt_tokens",
    "cached_prompt_tokens", "output_tokens", "draft_tokens", "steps_per_output_token",
    "task_steps_per_output_token", "engine_start_seconds", "steady_seconds",
    "wall_seconds", "tokens_per_second", "fingerprint", "model", "revision",
}  # fmt: skip


def _all_text() -> str:
    return "\n\n".join(text for _, text in sorted(topics.items()))


@dataclass
class Watched:
    """A finished run: its JSON result, and the metrics scraped while it was running."""

    directory: Path
    result: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    driver_metrics: str = ""
    node_metrics: str = ""


@pytest.fixture(scope="module")
def watched(tiny_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """Run a job over both pools, with two documents that cannot be read."""
    directory = tmp_path_factory.mktemp("both-pools")
    (directory / "corpus").mkdir()
    corpus_of(directory / "corpus/a.parquet", range(1), longest=3_000)
    unreadable = [
        {"doc": "null", "text": None, "length": 1},
        {"doc": "blank", "text": " ", "length": 2},
    ]
    pq.write_table(pa.Table.from_pylist(unreadable), directory / "corpus/b.parquet")
    # one for the long pool, and one that is longer than one pass
    lengths = {"medium": 24_000, "long": 70_000}
    longer = [
        {"doc": name, "text": _all_text()[:characters], "length": 3}
        for name, characters in lengths.items()
    ]
    pq.write_table(pa.Table.from_pylist(longer), directory / "corpus/c.parquet")
    port = free_port()
    facts = {"name": "facts", "kind": "extract", "fields": {"listed": "boolean", "on": "date"}}
    job = job_file(
        directory,
        facts,
        metrics={"port": port},
        limits={"max_dead_letter_fraction": 0.1},
    )
    return _watch(directory, job, port)


def _watch(directory: Path, job: Path, port: int) -> Watched:
    watched = Watched(directory)
    errors = directory / "stderr"
    process = start(job, errors)
    while process.poll() is None:
        time.sleep(0.3)
        watched.driver_metrics = _scrape(f"http://127.0.0.1:{port}/metrics", watched.driver_metrics)
        if notice := re.search(r"workers and engines: (\S+)", errors.read_text()):
            watched.node_metrics = _scrape(notice[1], watched.node_metrics)
    watched.exit_code = process.returncode
    output, _ = process.communicate()
    assert process.returncode == 0, errors.read_text()
    watched.result = json.loads(output)
    return watched


def _scrape(url: str, earlier: str) -> str:
    """Return the metrics at a URL, or the earlier ones if they are longer or there is no reply."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  # loopback
            text: str = response.read().decode()
    except OSError:
        return earlier
    return text if len(text) >= len(earlier) else earlier


def test_a_run_accounts_for_every_document(watched: Watched) -> None:
    result = watched.result
    assert set(result) >= RUN_KEYS
    assert result["documents"] == result["answered"] + result["dead_letters"]
    assert result["dead_letters"] == 2
    assert result["status"] == "done"
    assert watched.exit_code == 0


def test_reading_output_as_parquet_gives_each_document_once_with_all_columns(
    watched: Watched,
) -> None:
    table = pq.read_table(watched.directory / "out/answers")
    assert table.num_rows == watched.result["answered"]
    assert len(set(table.column("doc").to_pylist())) == table.num_rows
    assert table.column_names == ["doc", "length", "summary", "topic", "who", "facts"]
    assert {answer["_answer"]["status"] for answer in table.column("topic").to_pylist()} == {
        "answered"
    }
    assert {a["label"] for a in table.column("topic").to_pylist()} <= {"statement", "expression"}


def test_a_document_longer_than_one_pass_is_read_in_chunks(watched: Watched) -> None:
    rows = pq.read_table(watched.directory / "out/answers").to_pylist()
    (long,) = [row for row in rows if row["doc"] == "long"]
    assert {long[task]["_answer"]["strategy"] for task in ("summary", "topic", "who")} == {
        "map_reduce"
    }
    assert long["summary"]["_answer"]["chunks"] > 5
    assert {row["who"]["_answer"]["strategy"] for row in rows if row["doc"] != "long"} == {"single"}


def test_extracted_fields_are_typed_columns(watched: Watched) -> None:
    facts = (
        pq.read_schema(next((watched.directory / "out/answers").glob("part-*"))).field("facts").type
    )
    assert (facts.field("listed").type, facts.field("on").type) == (pa.bool_(), pa.date32())
    column = pq.read_table(watched.directory / "out/answers").column("facts").to_pylist()
    assert {row["_answer"]["status"] for row in column} <= {"answered", "invalid_answer"}
    assert any(row["on"] is not None for row in column)


def test_documents_of_both_pools_are_answered(watched: Watched) -> None:
    units = pq.read_table(watched.directory / "out/_run/units")
    assert set(units.column("pool").to_pylist()) == {"short", "long"}
    lengths = [
        answer["_answer"]["prompt_tokens"]
        for answer in pq.read_table(watched.directory / "out/answers").column("who").to_pylist()
    ]
    assert max(lengths) > 4096


def test_unreadable_documents_are_dead_letters_with_source_row_and_reason(
    watched: Watched,
) -> None:
    dead_letters = pa.concat_tables(
        pq.read_table(path) for path in (watched.directory / "out/dead_letters").glob("*.parquet")
    ).to_pylist()
    assert {(letter["doc_id"], letter["row"], letter["reason"]) for letter in dead_letters} == {
        ("null", 0, "empty"),
        ("blank", 1, "empty"),
    }
    assert all(letter["source"].endswith("b.parquet") for letter in dead_letters)


def test_the_manifest_has_the_values_of_the_json_result(watched: Watched) -> None:
    manifest = json.loads((watched.directory / "out/manifest.json").read_text())
    assert {key: manifest[key] for key in watched.result} == watched.result
    assert (
        sum(file["rows"] for file in manifest["files"] if file["name"].startswith("answers/"))
        == watched.result["answered"]
    )


def test_verify_and_status_agree_with_the_result(watched: Watched) -> None:
    verified = phifleet("verify", watched.directory / "out", "--json")
    status = phifleet("status", watched.directory / "out", "--json")
    assert json.loads(verified.stdout)["complete"] is True
    assert verified.returncode == 0
    assert json.loads(status.stdout)["units_done"] == watched.result["units"]


def test_the_prefill_of_a_document_is_shared_by_its_tasks(watched: Watched) -> None:
    share = watched.result["cached_prompt_tokens"] / watched.result["prompt_tokens"]
    assert share > 0.9 * 2 / 3


def test_output_of_libraries_goes_to_the_log_and_not_to_the_screen(watched: Watched) -> None:
    screen = (watched.directory / "stderr").read_text()
    assert "EngineCore" in (watched.directory / "out/_run/log").read_text()
    assert "EngineCore" not in screen and "WARNING" not in screen
    assert "random weights" in screen


def test_the_drivers_port_serves_the_totals_during_the_run(watched: Watched) -> None:
    for name in ("documents_total", "prompt_tokens_total", "units", "kv_tokens_in_flight"):
        assert f'phifleet_{name}{{run="tested"' in watched.driver_metrics


def test_rays_endpoint_serves_the_metrics_of_workers_and_of_vllm(watched: Watched) -> None:
    assert re.search(r'ray_phifleet_documents_total\{.*pool="short".*\} ', watched.node_metrics)
    assert "ray_phifleet_document_seconds_bucket" in watched.node_metrics
    assert "ray_phifleet_kv_tokens_in_flight{" in watched.node_metrics
    assert "ray_vllm" in watched.node_metrics


@needs_promtool
def test_promtool_reports_no_problem_in_our_metrics(watched: Watched) -> None:
    ours = [line for line in watched.node_metrics.splitlines() if "ray_phifleet" in line]
    # Ray adds labels (SessionName, WorkerId, ...) whose style promtool reports
    without_rays_labels = [
        re.sub(r'[A-Z]\w*="[^"]*",?', "", line).replace(",}", "}") for line in ours
    ]
    assert len(without_rays_labels) > 20
    for text in (watched.driver_metrics, "\n".join([*without_rays_labels, ""])):
        checked = subprocess.run(
            ["promtool", "check", "metrics"], input=text, capture_output=True, text=True
        )
        assert (checked.returncode, checked.stderr) == (0, "")
