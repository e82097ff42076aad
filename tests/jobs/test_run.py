"""Runs that are killed, stopped or run again: real Ray and vLLM on the CPU, real files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from planted import (
    NOWHERE,
    ON_A_BORDER,
    ONCE,
    TASKS,
    TWICE,
    answers_right,
    plant_corpus,
)
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
from pipelines.text.tokens import load_tokenizer

# Lengths of the texts with planted facts, in tokens: the longest are read in chunks.
PLANTED_LENGTHS = (*range(200, 1_200, 40), 2_000, 3_000, 4_000, 6_000, 10_000)
# The minimum share of correct answers about them, for a model of three million weights. Of two
# values of a key it gives the first less often: in 23 of these 30 texts, as its card states.
MIN_CORRECT_SHARES = {ONCE: 0.8, ON_A_BORDER: 0.8, TWICE: 0.7, NOWHERE: 0.8}


@dataclass
class Killed:
    """A run that was killed with SIGKILL after two commits and resumed until it was done."""

    directory: Path
    job: Path
    documents: int
    commits_before: dict[str, bytes]
    result: dict[str, Any]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    directory = tmp_path_factory.mktemp("killed")
    (directory / "corpus").mkdir()
    documents = corpus_of(directory / "corpus/a.parquet", range(1), longest=9_000)
    plant_corpus(
        directory / "corpus/planted.parquet", load_tokenizer(TRAINED_PATH), PLANTED_LENGTHS
    )
    documents += len(PLANTED_LENGTHS)
    job = job_file(directory, *TASKS, model={"name": "tiny"})
    process = start(job, directory / "stderr")
    await_commits(process, directory, 2)
    process.kill()
    process.communicate()
    # workers outlive the driver by moments, in which they may still commit
    time.sleep(10)
    before = commits(directory)
    done = phifleet("run", job, "--json", "--unit-seconds", "1")
    assert done.returncode == 0, done.stderr
    return Killed(directory, job, documents, before, json.loads(done.stdout))


def test_a_killed_run_is_resumed_and_complete(killed: Killed) -> None:
    assert killed.result["documents"] == killed.documents
    assert phifleet("verify", killed.directory / "out").returncode == 0


def test_committed_units_are_not_repeated(killed: Killed) -> None:
    after = commits(killed.directory)
    assert 2 <= len(killed.commits_before) < len(after)
    assert {name: after[name] for name in killed.commits_before} == killed.commits_before


def test_the_answers_of_a_resumed_run_are_the_facts_in_the_texts(killed: Killed) -> None:
    corpus = pq.read_table(killed.directory / "corpus/planted.parquet").to_pylist()
    texts = {row["doc"]: row["text"] for row in corpus}
    output = pq.read_table(killed.directory / "out/answers").to_pylist()
    rows = [row for row in output if row["doc"] in texts]
    assert {row["doc"] for row in rows} == set(texts)
    assert {row["owner"]["_answer"]["strategy"] for row in rows} == {"single", "map_reduce"}
    shares = answers_right(rows, texts)
    assert {name: share for name, share in shares.items() if share < MIN_CORRECT_SHARES[name]} == {}


def test_a_killed_run_leaves_no_process_behind(killed: Killed) -> None:
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert str(killed.directory) not in running


def test_a_finished_run_run_again_does_nothing(killed: Killed) -> None:
    again = phifleet("run", killed.job, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == killed.result


def test_a_changed_task_is_an_error_that_names_the_changed_keys(killed: Killed) -> None:
    changed = phifleet("run", killed.job, "--set", "tasks.0.max_words=5")
    assert changed.returncode == 2
    assert "tasks.summary.max_words" in changed.stderr
    assert "tasks.who" not in changed.stderr


def test_only_the_documents_of_added_files_are_run(killed: Killed) -> None:
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


def test_a_changed_input_file_is_an_error_that_names_it(killed: Killed) -> None:
    path = killed.directory / "corpus/a.parquet"
    before = path.stat()
    os.utime(path, (before.st_atime, before.st_mtime + 5))
    changed = phifleet("run", killed.job)
    os.utime(path, (before.st_atime, before.st_mtime))
    assert changed.returncode == 2
    assert "a.parquet: has changed" in changed.stderr


@pytest.fixture
def started(tiny_model: Model, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Start a run and yield its process and its directory."""
    (tmp_path / "corpus").mkdir()
    corpus_of(tmp_path / "corpus/a.parquet", range(20), longest=9_000)
    process = start(job_file(tmp_path), tmp_path / "stderr")
    yield process, tmp_path
    process.kill()
    process.communicate()


def test_a_signal_stops_a_run_cleanly(started: tuple[subprocess.Popen[str], Path]) -> None:
    process, directory = started
    deadline = time.monotonic() + LIMIT_SECONDS
    while not commits(directory):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 3
    assert json.loads(output) == {"run": "tested", "status": "stopped"}
    assert "run the same command to resume" in (directory / "stderr").read_text()
    status = json.loads(phifleet("status", directory / "out", "--json").stdout)
    assert (status["status"], status["reason"]) == ("stopped", "SIGTERM")
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


def test_an_unknown_revision_of_the_model_ends_a_run_with_2_and_no_process_of_ray(
    tiny_model: Model, tmp_path: Path
) -> None:
    (tmp_path / "corpus").mkdir()
    corpus_of(tmp_path / "corpus/a.parquet", range(1), longest=9_000)
    job = job_file(tmp_path, model={"name": "tiny-random", "revision": "0000"})
    failed = subprocess.run(
        [*PHIFLEET, "run", str(job)], capture_output=True, text=True, timeout=60,
        env={**os.environ, "STARTED_BY": str(tmp_path)},
    )  # fmt: skip
    assert failed.returncode == 2
    assert "has revision" in failed.stderr
    time.sleep(2)
    assert _started_by(str(tmp_path)) == []


def _started_by(marker: str) -> list[str]:
    """Return the names of the processes that have this marker in their environment."""
    names = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"STARTED_BY={marker}".encode() in environ.read_bytes():
                names.append((environ.parent / "comm").read_text())
    return names
