"""What storms run over: a corpus of short papers, and a job."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from chaos.program import MARK


def write_corpus(path: Path, documents: int) -> list[str]:
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
