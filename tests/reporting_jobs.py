"""Jobs prepared for tests of estimates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.job.spec import Job, parse_job
from pipelines.run.prepared import PreparedJob, prepare_job

TASKS: tuple[dict[str, Any], ...] = (
    {"name": "summary", "kind": "summarize", "max_words": 30},
    {"name": "topic", "kind": "classify", "labels": ["risk", "other"]},
    {"name": "who", "kind": "ask", "question": "Who?"},
    {"name": "facts", "kind": "extract", "fields": {"company": "string", "year": "integer"}},
)


def job_over(directory: Path, tasks: Any = TASKS, **sections: Any) -> Job:
    """Return a job that reads `directory`/in and writes `directory`/out, with the built-in model of
    random weights. `sections` replace or add sections of the job file."""
    source: dict[str, Any] = {
        "input": {"path": str(directory / "in"), "id_column": "id"},
        "output": {"path": str(directory / "out")},
        "model": {"name": "tiny-random"},
        "tasks": list(tasks),
        **sections,
    }
    return Job(parse_job(source), source)


def prepared_over(directory: Path, tasks: Any = TASKS, **sections: Any) -> PreparedJob:
    """Return the job of `job_over`, prepared."""
    return prepare_job(job_over(directory, tasks, **sections))


def write_texts(directory: Path, texts: dict[str, str | None], row_group_size: int = 1000) -> None:
    """Write documents, texts by their ids, to `directory`/in."""
    (directory / "in").mkdir(exist_ok=True)
    table = pa.table({"id": list(texts), "text": pa.array(list(texts.values()), pa.string())})
    pq.write_table(table, directory / "in" / "texts.parquet", row_group_size=row_group_size)
