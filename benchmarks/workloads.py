"""The workloads of throughput.py: corpora, job files and prompts.

The text is the Python reference that every Python installation contains, cut and repeated so that
no two documents start with the same text. Starts neither an engine nor Ray.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from pydoc_data import topics
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from pipelines.corpus.units import LONG, SHORT
from pipelines.engine.config import cpu_cache_gib, engine_arguments
from pipelines.job.spec import Job, load_job
from pipelines.run.prepared import PreparedJob, prepare_job
from pipelines.text.prompts import END_OF_DOCUMENT, INSTRUCTION

WORKLOADS = ("chunks", "documents", "long")
"""Pieces of 2,000 characters; whole texts of up to 4,096 tokens; texts of 40,000 characters."""
TASK_COUNTS = (1, 4)
"""Numbers of tasks for each document that are compared."""
_CHUNKS, _CHUNK_CHARACTERS = 2760, 2000
_REPETITIONS = 6
_LONG_DOCUMENTS, _LONG_CHARACTERS = 24, 40_000
_PROMPTS_PER_FILE = 256
# The answers are short and are cut off at `max_tokens`, so that every side decodes as many tokens.
_TASKS: list[dict[str, Any]] = [
    {"name": "summary", "kind": "summarize", "max_words": 4},
    {"name": "keyword", "kind": "ask", "question": "Which keyword is explained?"},
    {"name": "version", "kind": "ask", "question": "In which version did it change?"},
    {"name": "error", "kind": "ask", "question": "Which exception can be raised?"},
]
_ANSWER_TOKENS = 24


@dataclass(frozen=True)
class Case:
    """One workload with a number of tasks. Every side reads it from case.json in `directory`.

    `engine` are the arguments of vLLM. `reusable_tokens` is the number of prompt tokens that K
    tasks can take from the prefix cache: K-1 times the tokens that a document's prompts share.
    """

    workload: str
    tasks: int
    documents: int
    engine: dict[str, Any]
    kv_cache_gib: int
    reusable_tokens: int
    directory: str

    @property
    def job_file(self) -> Path:
        """The job file for phifleet."""
        return Path(self.directory, "job.yaml")

    @property
    def prompts(self) -> Path:
        """The directory of Parquet files with the prompts for the other sides."""
        return Path(self.directory, "prompts")


def read_case(directory: Path) -> Case:
    """Read the case that `write_case` wrote to `directory`."""
    return Case(**json.loads((directory / "case.json").read_bytes()))


def write_case(workload: str, tasks: int, directory: Path, *, quick: bool) -> Case:
    """Write the job file, corpus and prompts of a case to `directory`, and return the case. `tasks`
    is the number of tasks; with `quick` the corpus is a tenth."""
    directory.mkdir(parents=True, exist_ok=True)
    job = _write_job(tasks, directory)
    prepared = prepare_job(job)
    texts, lengths = _fitting(_texts(workload, quick=quick), prepared, workload)
    table = pa.table({"doc_id": [f"{n:06d}" for n in range(len(texts))], "text": texts})
    pq.write_table(table, directory / "corpus.parquet", compression="zstd")
    reading = prepared.tasks.reading
    pool = LONG if workload == "long" else SHORT
    config = prepared.engine_config(pool, int(reading.lengths(lengths).longest.max()), gpu=False)
    shared = int(lengths.sum()) + len(texts) * reading.document_shape.overhead
    case = Case(
        workload=workload,
        tasks=tasks,
        documents=len(texts),
        engine=engine_arguments(config),
        kv_cache_gib=cpu_cache_gib(config),
        reusable_tokens=(tasks - 1) * shared,
        directory=str(directory),
    )
    _write_prompts(table, prepared, case.prompts)
    (directory / "case.json").write_text(json.dumps(asdict(case)))
    return case


def _write_job(tasks: int, directory: Path) -> Job:
    specs = [
        task if task["kind"] == "summarize" else {**task, "max_tokens": _ANSWER_TOKENS}
        for task in _TASKS[:tasks]
    ]
    job = {
        "name": "throughput",
        "input": {"path": str(directory / "corpus.parquet"), "id_column": "doc_id"},
        "output": {"path": str(directory / "output")},
        "model": {"name": "tiny-random"},
        "tasks": specs,
        "long_documents": {"strategy": "single"},
    }
    path = directory / "job.yaml"
    path.write_text(yaml.safe_dump(job, sort_keys=False))
    return load_job(path, [])


def _write_prompts(table: pa.Table, prepared: PreparedJob, directory: Path) -> None:
    """Write one row for each document and task, in the order of documents and then of tasks, as a
    user of the other sides would do."""
    directory.mkdir(exist_ok=True)
    rows = [
        {
            "doc_id": document["doc_id"],
            "task": task.spec.name,
            "prompt": INSTRUCTION + document["text"] + END_OF_DOCUMENT + task.question.text,
            "max_tokens": task.question.sampling.max_tokens,
        }
        for document in table.to_pylist()
        for task in prepared.tasks.all
    ]
    for start in range(0, len(rows), _PROMPTS_PER_FILE):
        part = pa.Table.from_pylist(rows[start : start + _PROMPTS_PER_FILE])
        pq.write_table(part, directory / f"{start:06d}.parquet", compression="zstd")


def _fitting(
    texts: Sequence[str], prepared: PreparedJob, workload: str
) -> tuple[list[str], np.ndarray[Any, np.dtype[np.int64]]]:
    """Return the texts that belong to the workload's pool, and their lengths in tokens.

    One engine is compared with one engine, so the `long` workload has no short documents, and the
    others have no long ones. The margin makes the documents the same for any number of tasks.
    """
    margin = 200
    lengths = np.array(
        [len(ids) for ids in prepared.tasks.tokenizer.encode_all(texts)], dtype=np.int64
    )
    limit = prepared.tasks.reading.short_limit or 0
    fits = lengths > limit if workload == "long" else lengths + margin <= limit
    return [text for text, fitting in zip(texts, fits, strict=True) if fitting], lengths[fits]


def _texts(workload: str, *, quick: bool) -> list[str]:
    """Return all texts of a workload, or with `quick` every tenth."""
    match workload:
        case "chunks":
            texts = _cut(_CHUNKS, _CHUNK_CHARACTERS)
        case "long":
            texts = _numbered(_cut(_LONG_DOCUMENTS, _LONG_CHARACTERS))
        case _:
            texts = _numbered([text for _, text in sorted(topics.topics.items())] * _REPETITIONS)
    return texts[::10] if quick else texts


def _numbered(texts: Sequence[str]) -> list[str]:
    return [f"{number:05d}\n\n{text}" for number, text in enumerate(texts)]


def _cut(count: int, characters: int) -> list[str]:
    """Return `count` pieces of the whole text. Each repetition is shifted, so that no two pieces
    start with the same text."""
    whole = "\n\n".join(text for _, text in sorted(topics.topics.items()))
    pieces_per_round = len(whole) // characters - 1
    rounds = -(-count // pieces_per_round)
    shift = characters // rounds
    starts = [
        number * shift + piece * characters
        for number in range(rounds)
        for piece in range(pieces_per_round)
    ]
    return [whole[start : start + characters] for start in starts[:count]]
