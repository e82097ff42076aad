"""The workloads of throughput.py: real text, cut and repeated so that no two documents begin alike.

All text is the Python reference that every installation carries. Knows no engine and no Ray.
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
TASK_COUNTS = (1, 4)
_CHUNKS, _CHUNK_CHARACTERS = 2760, 2000
_REPETITIONS = 6
_LONG_DOCUMENTS, _LONG_CHARACTERS = 24, 40_000
_PROMPTS_PER_FILE = 256
# short answers that are cut at their bound, so that every side decodes the same
_TASKS: list[dict[str, Any]] = [
    {"name": "summary", "kind": "summarize", "max_words": 4},
    {"name": "keyword", "kind": "ask", "question": "Which keyword is explained?"},
    {"name": "version", "kind": "ask", "question": "In which version did it change?"},
    {"name": "error", "kind": "ask", "question": "Which exception can be raised?"},
]
_ANSWER_TOKENS = 24


@dataclass(frozen=True)
class Case:
    """One workload with a number of tasks, as every side reads it from `directory`/case.json.

    `engine` are vLLM's arguments. `reusable_tokens` is what K tasks could take from the prefix
    cache: K-1 times what the prompts of one document share.
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
        return Path(self.directory, "job.yaml")

    @property
    def prompts(self) -> Path:
        return Path(self.directory, "prompts")


def read_case(directory: Path) -> Case:
    return Case(**json.loads((directory / "case.json").read_bytes()))


def write_case(workload: str, tasks: int, directory: Path, *, quick: bool) -> Case:
    """Write job file, corpus and ready prompts of one case below `directory`."""
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
        each if each["kind"] == "summarize" else {**each, "max_tokens": _ANSWER_TOKENS}
        for each in _TASKS[:tasks]
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
    """One row a document and task, documents outside, tasks inside: what a user would prepare."""
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
    """The texts that belong to the workload's pool with any of the tasks, and their tokens.

    One engine is compared with one engine: the `long` workload has no short document, the others
    no long one. The margin keeps the same documents whatever the number of tasks.
    """
    margin = 200
    lengths = np.array(
        [len(ids) for ids in prepared.tasks.tokenizer.encode_all(texts)], dtype=np.int64
    )
    limit = prepared.tasks.reading.short_limit or 0
    fits = lengths > limit if workload == "long" else lengths + margin <= limit
    return [text for text, kept in zip(texts, fits, strict=True) if kept], lengths[fits]


def _texts(workload: str, *, quick: bool) -> list[str]:
    """All texts of a workload, or with `quick` every tenth."""
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
    """`count` stretches of the whole text, each repetition shifted so that none begin alike."""
    whole = "\n\n".join(text for _, text in sorted(topics.topics.items()))
    a_round = len(whole) // characters - 1
    rounds = -(-count // a_round)
    shift = characters // rounds
    starts = [
        turn * shift + position * characters
        for turn in range(rounds)
        for position in range(a_round)
    ]
    return [whole[start : start + characters] for start in starts[:count]]
