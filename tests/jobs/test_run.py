"""The command line end to end: real Ray, real vLLM on the CPU, real files, processes killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from needs import needs_promtool
from planted import TASKS, answers_right, plant_corpus
from runs import (
    LIMIT_SECONDS,
    PHIFLEET,
    await_commits,
    commits,
    corpus_of,
    job_file,
    phifleet,
    start,
)

from pipelines.models.resolve import TRAINED_PATH, Model
from pipelines.run.ports import free_port
from pipelines.text.tokens import load_tokenizer

RUN_KEYS = {
    "run", "status", "documents", "answered", "dead_letters", "units", "prompt_tokens",
    "cached_prompt_tokens", "output_tokens", "engine_start_seconds", "steady_seconds",
    "wall_seconds", "tokens_per_second", "fingerprint", "model", "revision",
}  # fmt: skip


# Of texts with planted facts, in tokens: the longest are read in chunks.
PLANTED_LENGTHS = (*range(200, 1_200, 40), 2_000, 3_000, 4_000, 6_000, 10_000)
# The least share of right answers about them, of a model of three million weights.
TOLD = 0.8


def _all_text() -> str:
    return "\n\n".join(text for _, text in sorted(topics.items()))


@dataclass
class Watched:
    """A run that was watched from outside: its result, and its metrics while it went on."""

    directory: Path
    result: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    driver_metrics: str = ""
    node_metrics: str = ""


@pytest.fixture(scope="module")
def watched(tiny_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """A run over both pools with some documents that cannot be read."""
    directory = tmp_path_factory.mktemp("both-pools")
    (directory / "corpus").mkdir()
    corpus_of(directory / "corpus/a.parquet", range(1), longest=25_000)
    broken = [
        {"doc": "null", "text": None, "length": 1},
        {"doc": "blank", "text": " ", "length": 2},
    ]
    pq.write_table(pa.Table.from_pylist(broken), directory / "corpus/b.parquet")
    long = {"doc": "long", "text": _all_text()[:70_000], "length": 3}
    pq.write_table(pa.Table.from_pylist([long]), directory / "corpus/c.parquet")
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
        if found := re.search(r"engines: (\S+)", errors.read_text()):
            watched.node_metrics = _scrape(found[1], watched.node_metrics)
    watched.exit_code = process.returncode
    output, _ = process.communicate()
    assert process.returncode == 0, errors.read_text()
    watched.result = json.loads(output)
    return watched


def _scrape(address: str, before: str) -> str:
    """The metrics at an address, or the earlier ones where these say less."""
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310  # loopback
            text: str = answer.read().decode()
    except OSError:
        return before
    return text if len(text) >= len(before) else before


def test_a_run_accounts_for_every_document(watched: Watched) -> None:
    result = watched.result
    assert set(result) >= RUN_KEYS
    assert result["documents"] == result["answered"] + result["dead_letters"]
    assert result["dead_letters"] == 2
    assert result["status"] == "done"
    assert watched.exit_code == 0


def test_a_plain_read_of_output_gives_each_document_once_with_the_designed_columns(
    watched: Watched,
) -> None:
    table = pq.read_table(watched.directory / "out")
    assert table.num_rows == watched.result["answered"]
    assert len(set(table.column("doc").to_pylist())) == table.num_rows
    assert table.column_names == ["doc", "length", "summary", "topic", "who", "facts"]
    assert {answer["status"] for answer in table.column("topic").to_pylist()} == {"answered"}
    assert {a["label"] for a in table.column("topic").to_pylist()} <= {"statement", "expression"}


def test_a_document_longer_than_one_pass_is_read_in_chunks(watched: Watched) -> None:
    rows = pq.read_table(watched.directory / "out").to_pylist()
    (long,) = [row for row in rows if row["doc"] == "long"]
    assert {long[task]["strategy"] for task in ("summary", "topic", "who")} == {"map_reduce"}
    assert long["summary"]["chunks"] > 5
    assert {row["who"]["strategy"] for row in rows if row["doc"] != "long"} == {"single"}


def test_extracted_fields_are_typed_columns(watched: Watched) -> None:
    facts = pq.read_schema(next((watched.directory / "out").glob("part-*"))).field("facts").type
    assert (facts.field("listed").type, facts.field("on").type) == (pa.bool_(), pa.date32())
    column = pq.read_table(watched.directory / "out").column("facts").to_pylist()
    assert {row["status"] for row in column} <= {"answered", "invalid_answer"}
    assert any(row["on"] is not None for row in column)


def test_documents_of_both_pools_are_answered(watched: Watched) -> None:
    units = pq.read_table(watched.directory / "out/_run/units.parquet")
    assert set(units.column("pool").to_pylist()) == {"short", "long"}
    lengths = [
        answer["prompt_tokens"]
        for answer in pq.read_table(watched.directory / "out").column("who").to_pylist()
    ]
    assert max(lengths) > 4096


def test_unreadable_documents_are_dead_letters_with_source_row_and_reason(
    watched: Watched,
) -> None:
    letters = pa.concat_tables(
        pq.read_table(path) for path in (watched.directory / "out/_errors").glob("*.parquet")
    ).to_pylist()
    assert {(letter["doc_id"], letter["row"], letter["reason"]) for letter in letters} == {
        ("null", 0, "empty"),
        ("blank", 1, "empty"),
    }
    assert all(letter["source"].endswith("b.parquet") for letter in letters)


def test_the_manifest_says_what_run_json_said(watched: Watched) -> None:
    manifest = json.loads((watched.directory / "out/_manifest.json").read_text())
    assert {key: manifest[key] for key in watched.result} == watched.result
    assert (
        sum(file["rows"] for file in manifest["files"] if not file["name"].startswith("_"))
        == watched.result["answered"]
    )


def test_verify_and_status_agree(watched: Watched) -> None:
    verified = phifleet("verify", watched.directory / "out", "--json")
    status = phifleet("status", watched.directory / "out", "--json")
    assert json.loads(verified.stdout)["complete"] is True
    assert verified.returncode == 0
    assert json.loads(status.stdout)["units_done"] == watched.result["units"]


def test_the_prefill_of_a_document_is_shared_by_its_tasks(watched: Watched) -> None:
    share = watched.result["cached_prompt_tokens"] / watched.result["prompt_tokens"]
    assert share > 0.9 * 2 / 3


def test_noise_goes_to_the_log_and_not_to_the_screen(watched: Watched) -> None:
    screen = (watched.directory / "stderr").read_text()
    assert "EngineCore" in (watched.directory / "out/_run/log").read_text()
    assert "EngineCore" not in screen and "WARNING" not in screen
    assert "random weights" in screen


def test_the_drivers_port_shows_the_runs_totals_while_it_runs(watched: Watched) -> None:
    for name in ("documents_total", "prompt_tokens_total", "units", "kv_tokens_in_flight"):
        assert f'phifleet_{name}{{run="tested"' in watched.driver_metrics


def test_rays_endpoint_shows_the_workers_and_vllms_own_metrics(watched: Watched) -> None:
    assert re.search(r'ray_phifleet_documents_total\{.*pool="short".*\} ', watched.node_metrics)
    assert "ray_phifleet_document_seconds_bucket" in watched.node_metrics
    assert "ray_phifleet_kv_tokens_in_flight{" in watched.node_metrics
    assert "ray_vllm" in watched.node_metrics


@needs_promtool
def test_promtool_finds_no_fault_in_our_metrics(watched: Watched) -> None:
    ours = [line for line in watched.node_metrics.splitlines() if "ray_phifleet" in line]
    # Ray adds labels of its own (SessionName, WorkerId, ...), whose style promtool faults
    bare = [re.sub(r'[A-Z]\w*="[^"]*",?', "", line).replace(",}", "}") for line in ours]
    assert len(bare) > 20
    for text in (watched.driver_metrics, "\n".join([*bare, ""])):
        checked = subprocess.run(
            ["promtool", "check", "metrics"], input=text, capture_output=True, text=True
        )
        assert (checked.returncode, checked.stderr) == (0, "")


@dataclass
class Killed:
    """A run that was killed with SIGKILL in its middle, and run again to its end."""

    directory: Path
    job: Path
    documents: int
    commits_before: dict[str, bytes]
    result: dict[str, Any]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    directory = tmp_path_factory.mktemp("killed")
    (directory / "corpus").mkdir()
    documents = corpus_of(directory / "corpus/a.parquet", range(6), longest=9_000)
    plant_corpus(
        directory / "corpus/planted.parquet", load_tokenizer(TRAINED_PATH), PLANTED_LENGTHS
    )
    documents += len(PLANTED_LENGTHS)
    job = job_file(directory, *TASKS, model={"name": "tiny"})
    process = start(job, directory / "stderr")
    await_commits(process, directory, 2)
    process.kill()
    process.communicate()
    # the workers outlive the driver by moments: whoever looks next must see what they committed
    time.sleep(10)
    before = commits(directory)
    done = phifleet("run", job, "--json", "--unit-seconds", "1")
    assert done.returncode == 0, done.stderr
    return Killed(directory, job, documents, before, json.loads(done.stdout))


def test_a_killed_run_goes_on_and_is_complete(killed: Killed) -> None:
    assert killed.result["documents"] == killed.documents
    assert phifleet("verify", killed.directory / "out").returncode == 0


def test_committed_units_are_not_redone(killed: Killed) -> None:
    after = commits(killed.directory)
    assert 2 <= len(killed.commits_before) < len(after)
    assert {name: after[name] for name in killed.commits_before} == killed.commits_before


def test_what_a_killed_run_answers_is_what_the_texts_say(killed: Killed) -> None:
    corpus = pq.read_table(killed.directory / "corpus/planted.parquet").to_pylist()
    texts = {row["doc"]: row["text"] for row in corpus}
    output = pq.read_table(killed.directory / "out").to_pylist()
    rows = [row for row in output if row["doc"] in texts]
    assert {row["doc"] for row in rows} == set(texts)
    assert {row["owner"]["strategy"] for row in rows} == {"single", "map_reduce"}
    short = {name: share for name, share in answers_right(rows, texts).items() if share < TOLD}
    assert short == {}


def test_a_killed_run_leaves_no_process_behind(killed: Killed) -> None:
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert str(killed.directory) not in running


def test_a_finished_run_run_again_does_nothing(killed: Killed) -> None:
    again = phifleet("run", killed.job, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == killed.result


def test_a_changed_prompt_is_refused_with_the_keys_that_differ(killed: Killed) -> None:
    refused = phifleet("run", killed.job, "--set", "tasks.0.max_words=5")
    assert refused.returncode == 2
    assert "tasks.summary.max_words" in refused.stderr
    assert "tasks.who" not in refused.stderr


def test_added_files_are_done_alone(killed: Killed) -> None:
    before = commits(killed.directory)
    added = corpus_of(killed.directory / "corpus/b.parquet", range(6, 7), longest=3_000)
    done = phifleet("run", killed.job, "--json")
    assert done.returncode == 0, done.stderr
    after = commits(killed.directory)
    assert json.loads(done.stdout)["documents"] == killed.documents + added
    assert {name: after[name] for name in before} == before
    new = [json.loads(after[name]) for name in after.keys() - before.keys()]
    assert sum(commit["rows"] for commit in new) == added
    assert phifleet("verify", killed.directory / "out").returncode == 0


def test_a_changed_input_file_is_refused_by_name(killed: Killed) -> None:
    path = killed.directory / "corpus/a.parquet"
    before = path.stat()
    os.utime(path, (before.st_atime, before.st_mtime + 5))
    refused = phifleet("run", killed.job)
    os.utime(path, (before.st_atime, before.st_mtime))
    assert refused.returncode == 2
    assert "a.parquet: has changed" in refused.stderr


@pytest.fixture
def started(tiny_model: Model, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    (tmp_path / "corpus").mkdir()
    corpus_of(tmp_path / "corpus/a.parquet", range(20), longest=9_000)
    process = start(job_file(tmp_path), tmp_path / "stderr")
    yield process, tmp_path
    process.kill()
    process.communicate()


def test_a_signal_stops_a_run_cleanly(started: tuple[subprocess.Popen[str], Path]) -> None:
    process, directory = started
    until = time.monotonic() + LIMIT_SECONDS
    while not commits(directory):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 3
    assert json.loads(output) == {"run": "tested", "status": "stopped"}
    assert "Run the same command again to resume" in (directory / "stderr").read_text()
    status = json.loads(phifleet("status", directory / "out", "--json").stdout)
    assert status["status"] == "unfinished"
    assert phifleet("verify", directory / "out").returncode == 1


def test_a_signal_while_ray_starts_ends_a_run_with_3(
    started: tuple[subprocess.Popen[str], Path],
) -> None:
    process, directory = started
    while not (directory / "out/_run/log").exists():
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(2)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 3
    assert json.loads(output) == {"run": "tested", "status": "stopped"}


def test_a_model_that_is_not_there_ends_a_run_with_2_and_leaves_no_ray(
    tiny_model: Model, tmp_path: Path
) -> None:
    (tmp_path / "corpus").mkdir()
    corpus_of(tmp_path / "corpus/a.parquet", range(1), longest=9_000)
    job = job_file(tmp_path, model={"name": "tiny-random", "revision": "0000"})
    refused = subprocess.run(
        [*PHIFLEET, "run", str(job)], capture_output=True, text=True, timeout=60,
        env={**os.environ, "STARTED_BY": str(tmp_path)},
    )  # fmt: skip
    assert refused.returncode == 2
    assert "is here as revision" in refused.stderr
    time.sleep(2)
    assert _started_by(str(tmp_path)) == []


def _started_by(marker: str) -> list[str]:
    """The processes, by their names, that have this marker in their environment."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"STARTED_BY={marker}".encode() in environ.read_bytes():
                found.append((environ.parent / "comm").read_text())
    return found
