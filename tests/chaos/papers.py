"""The input of fault injection runs: a corpus of short papers, and a job."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from chaos.program import MARK


def write_corpus(path: Path, documents: int) -> list[str]:
    """Write a Parquet file of papers of 20 to 400 random words, and return their ids.

    Each text begins with MARK and the paper's number, which is also in its id.
    """
    words = ("ship", "harbour", "storm", "letter", "river", "stone", "garden", "winter", "the")
    dice = random.Random(documents)  # noqa: S311
    rows = [
        {
            "doc": f"paper-{number}",
            "text": f"{MARK.format(number)} "
            + " ".join(dice.choices(words, k=dice.randint(20, 400))),
        }
        for number in range(documents)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=100)
    return [row["doc"] for row in rows]


def write_job(path: Path, corpus: Path, output: str) -> Path:
    """Write a job file with a summary and a classification of each paper, and return its path."""
    job = {
        "name": "chaos",
        "input": {"path": str(corpus), "id_column": "doc"},
        "output": {"path": output},
        "model": {"name": "tiny-random"},
        "tasks": [
            {"name": "summary", "kind": "summarize", "max_words": 4},
            {"name": "topic", "kind": "classify", "labels": ["sea", "land"]},
        ],
    }
    path.write_text(yaml.safe_dump(job))
    return path
