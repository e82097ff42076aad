"""Test that the endpoint and a job give the same answers about a long document."""

from __future__ import annotations

import json
import os
import pydoc_data.topics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from served import REPORT, TASKS, start, stop

_LENGTH = 300_000
_TOPICS = "\n".join(pydoc_data.topics.topics.values())
# the text that the tasks ask for is in the middle
LONG_TEXT = f"{_TOPICS[: _LENGTH // 2]}\n{REPORT}\n{_TOPICS[_LENGTH // 2 : _LENGTH]}"
ANSWERS: list[str] = [task["name"] for task in TASKS]


def answers_online(directory: Path) -> dict[str, Any]:
    directory.mkdir()
    served = start(directory)
    try:
        response = served.post("/v1/documents", {"id": "long", "text": LONG_TEXT, "tasks": ANSWERS})
    finally:
        stop(served)
    assert response.status_code == 200, response.text
    answers: dict[str, Any] = response.json()["answers"]
    return answers


def answers_of_job(directory: Path) -> dict[str, Any]:
    directory.mkdir()
    pq.write_table(pa.table({"id": ["long"], "text": [LONG_TEXT]}), directory / "corpus.parquet")
    job = {
        "name": "long",
        "input": {"path": str(directory / "corpus.parquet")},
        "output": {"path": str(directory / "out")},
        "model": {"name": "tiny"},
        "tasks": TASKS,
    }
    (directory / "job.yaml").write_text(yaml.safe_dump(job))
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", "run", directory / "job.yaml", "--json"],
        env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
    (row,) = pq.read_table(directory / "out/answers").to_pylist()
    return {name: row[name] for name in ANSWERS}


@pytest.mark.slow
def test_the_endpoint_gives_the_answers_of_a_job(tmp_path: Path) -> None:
    online = answers_online(tmp_path / "online")
    by_job = answers_of_job(tmp_path / "job")
    print(json.dumps(by_job, indent=1)[:3000])
    assert {answer["_answer"]["strategy"] for answer in by_job.values()} == {"map_reduce"}
    assert all(answer["_answer"]["chunks"] > 50 for answer in by_job.values())
    assert online == by_job
