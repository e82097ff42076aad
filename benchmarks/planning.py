"""Measures what `phifleet plan` adds to the indexing that it shares with a run.

    planning.py [--documents 200000] [--model tiny] [--long-share 0.02]

The corpus is made on the spot: English text, most documents of 20 to 400 words, and a share of long
ones, which are read in chunks. The index is made as a run makes it, on a Ray on this machine; then
the rest of the plan is made from it: reading the index, cutting a sample of long documents, the
forecast and what would be cheaper. Reported are both times and their ratio.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path
from pydoc_data import topics
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.job.spec import Job, parse_job
from pipelines.ledger.ledger import Ledger
from pipelines.models.prices import prices_with
from pipelines.reporting.planning.forecast_json import to_json
from pipelines.reporting.planning.planned import Planning, plan_job, recorded
from pipelines.run.cluster import join_cluster, leave_cluster
from pipelines.run.planner import Planner
from pipelines.run.prepared import prepare_job
from pipelines.storage import Storage

_ROWS = 10_000
_LONG_WORDS = (3_000, 20_000)
_SHORT_WORDS = (20, 400)


def write_corpus(directory: Path, documents: int, long_share: float) -> None:
    """Write Parquet files of 10,000 documents each."""
    directory.mkdir()
    dice = random.Random(1)  # noqa: S311  # not for security
    words = " ".join(topics.topics.values()).split(" ")
    for first in range(0, documents, _ROWS):
        texts = []
        for _ in range(min(_ROWS, documents - first)):
            count = dice.randint(*(_LONG_WORDS if dice.random() < long_share else _SHORT_WORDS))
            start = dice.randrange(max(1, len(words) - count))
            texts.append(" ".join(words[start : start + count]))
        table = pa.table({"id": range(first, first + len(texts)), "text": texts})
        pq.write_table(table, directory / f"{first:08d}.parquet")


def job_over(directory: Path, model: str) -> Job:
    """Return a job of four tasks over `directory`/in."""
    source: dict[str, Any] = {
        "input": {"path": str(directory / "in"), "id_column": "id"},
        "output": {"path": str(directory / "out")},
        "model": {"name": model},
        "tasks": [
            {"name": "summary", "kind": "summarize", "max_words": 60},
            {"name": "topic", "kind": "classify", "labels": ["statement", "expression"]},
            {"name": "who", "kind": "ask", "question": "Who?"},
            {"name": "facts", "kind": "extract", "fields": {"name": "string", "year": "integer"}},
        ],
    }
    return Job(parse_job(source), source)


def measure(job: Job) -> dict[str, Any]:
    """Return the seconds of indexing and of the rest of the plan, and the plan's totals."""
    prepared = prepare_job(job)
    ledger = Ledger(Storage(job.spec.output.path))
    planning = Planning(prepared, join_cluster(), prices_with([]), 30.0)
    plans, changes = recorded(prepared, ledger)
    planner = Planner(prepared, ledger, planning.cluster, 30.0, planning.state)
    started = time.perf_counter()
    planner.draft(plans, changes)
    indexed = time.perf_counter()
    # finds the draft, so that this is all that a plan does besides indexing
    values = to_json(plan_job(planning, ledger), None)
    ended = time.perf_counter()
    return {
        "documents": values["documents"],
        "tokens": values["tokens"]["total"],
        "index_seconds": round(indexed - started, 2),
        "plan_seconds": round(ended - indexed, 2),
        "added_share": round((ended - indexed) / (indexed - started), 4),
    }


def main() -> None:
    """Make the corpus, measure, and print one line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--long-share", type=float, default=0.02)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        write_corpus(directory / "in", options.documents, options.long_share)
        try:
            print(json.dumps(measure(job_over(directory, options.model))))
        finally:
            leave_cluster()


if __name__ == "__main__":
    main()
