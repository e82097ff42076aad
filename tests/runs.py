"""Runs of `phifleet` as a user starts them: corpus, job file, process, and what it committed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from jobs.demo import write_corpus

PHIFLEET = [sys.executable, "-m", "jobs.cli"]
LIMIT_SECONDS = 400


def phifleet(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PHIFLEET, *map(str, arguments)], capture_output=True, text=True, timeout=LIMIT_SECONDS
    )


def start(job: Path, errors: Path) -> subprocess.Popen[str]:
    with errors.open("w") as sink:
        return subprocess.Popen(
            [*PHIFLEET, "run", str(job), "--json", "--unit-seconds", "1"],
            stdout=subprocess.PIPE, stderr=sink, text=True,
            process_group=0,  # as a shell gives it
        )  # fmt: skip


def corpus_of(path: Path, copies: range, longest: int) -> int:
    """Texts of the Python reference up to `longest` characters, several unlike copies of each."""
    write_corpus(path.with_suffix(".all"))
    rows = pq.read_table(path.with_suffix(".all")).to_pylist()
    path.with_suffix(".all").unlink()
    chosen = [
        {"doc": f"{row['topic']}-{copy}", "text": f"Copy {copy}. {row['text']}", "length": copy}
        for copy in copies
        for row in rows
        if len(row["text"]) <= longest
    ]
    pq.write_table(pa.Table.from_pylist(chosen), path, row_group_size=100)
    return len(chosen)


def job_file(directory: Path, *tasks: dict[str, Any], **more: Any) -> Path:
    job = {
        "name": "tested",
        "input": {
            "path": str(directory / "corpus"), "id_column": "doc", "keep_columns": ["length"],
        },
        "output": {"path": str(directory / "out")},
        "model": {"name": "tiny-random"},
        "tasks": [
            {"name": "summary", "kind": "summarize", "max_words": 4},
            {"name": "topic", "kind": "classify", "labels": ["statement", "expression"]},
            {"name": "who", "kind": "ask", "question": "Who?", "max_tokens": 8},
            *tasks,
        ],
        **more,
    }  # fmt: skip
    path = directory / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    return path


def await_commits(process: subprocess.Popen[str], directory: Path, wanted: int) -> None:
    """Wait until so many units are committed."""
    until = time.monotonic() + LIMIT_SECONDS
    while len(commits(directory)) < wanted:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.1)


def commits(directory: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in (directory / "out/_run/commits").glob("[0-9]*.json")
    }
