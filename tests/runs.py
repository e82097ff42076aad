"""Runs of `phifleet` as a user starts them: a corpus, a job file, a process, and its commits."""

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
    """Run the command line to its end."""
    return subprocess.run(
        [*PHIFLEET, *map(str, arguments)], capture_output=True, text=True, timeout=LIMIT_SECONDS
    )


def start(job: Path, errors: Path) -> subprocess.Popen[str]:
    """Start `phifleet run` on a job file with units of about a second; standard error goes to
    `errors`."""
    with errors.open("w") as sink:
        return subprocess.Popen(
            [*PHIFLEET, "run", str(job), "--json", "--unit-seconds", "1"],
            stdout=subprocess.PIPE, stderr=sink, text=True,
            process_group=0,  # as a shell starts a command
        )  # fmt: skip


def corpus_of(path: Path, copies: range, longest: int) -> int:
    """Write a corpus of the Python reference's texts of up to `longest` characters, one document
    for each text and number in `copies`. Returns the number of documents."""
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


def job_file(directory: Path, *tasks: dict[str, Any], **sections: Any) -> Path:
    """Write a job file that reads `directory`/corpus and writes `directory`/out, with three tasks
    and those given. `sections` replace or add sections of the job file. Returns its path."""
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
        **sections,
    }  # fmt: skip
    path = directory / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    return path


def await_commits(process: subprocess.Popen[str], directory: Path, count: int) -> None:
    """Wait until `count` units are committed; fails if the process ends before."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while len(commits(directory)) < count:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)


def commits(directory: Path) -> dict[str, bytes]:
    """Return the content of all commit records below `directory`/out, by file name."""
    return {
        path.name: path.read_bytes()
        for path in (directory / "out/_run/commits").glob("[0-9]*.json")
    }
