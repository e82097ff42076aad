"""The workloads of throughput.py: corpora, job files and prompts.

Starts neither an engine nor Ray.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from texts import texts_of

from pipelines.corpus.units import LONG, SHORT
from pipelines.engine.config import cpu_cache_gib, engine_arguments
from pipelines.job.spec import Job, load_job
from pipelines.run.prepared import PreparedJob, prepare_job
from pipelines.tasks.kinds import Task
from pipelines.text.prompts import END_OF_DOCUMENT, INSTRUCTION

WORKLOADS = ("chunks", "documents", "long", "forms")
"""Pieces of 2,000 characters; whole texts of up to 4,096 tokens; texts of 40,000 characters; and
texts of 1,000 to 1,300 tokens about which forms are filled in, with quotes."""
OTHER_WORKLOADS = ("sources", "packages")
"""Workloads that run only if they are named, with four tasks: pieces of Python's standard library,
and descriptions of the installed packages. Defaults were not tuned on them."""
TASK_COUNTS = (1, 4)
"""Numbers of tasks for each document that are compared."""
# Nobody can guess what random weights answer, so drafting costs there and saves nothing.
_RANDOM = {"name": "tiny-random", "drafting": "off"}
_MODELS = {"forms": {"name": "tiny"}}
_PROMPTS_PER_FILE = 256
_FORM_TOKENS = (1000, 1300)
_PROMPT_SCHEMA = pa.schema(
    {
        "doc_id": pa.string(),
        "task": pa.string(),
        "prompt": pa.string(),
        "max_tokens": pa.int64(),
        "schema": pa.string(),
    }
)
# The answers are short and are cut off at `max_tokens`, so that every side decodes as many tokens.
_TASKS: list[dict[str, Any]] = [
    {"name": "summary", "kind": "summarize", "max_words": 4},
    {"name": "keyword", "kind": "ask", "question": "Which keyword is explained?"},
    {"name": "version", "kind": "ask", "question": "In which version did it change?"},
    {"name": "error", "kind": "ask", "question": "Which exception can be raised?"},
]
_ANSWER_TOKENS = 24
# `tiny` fills these in as it was trained to; answers of a model with random weights would be noise,
# which no speculative decoding can guess.
_FORM_TASKS: list[dict[str, Any]] = [
    {
        "name": "edition",
        "kind": "extract",
        "fields": {"version": "number", "release": "date", "section": "integer"},
    },
    {
        "name": "people",
        "kind": "extract",
        "fields": {
            "editor": "string",
            "owner": "string",
            "reviewer": "string",
            "sponsor": "string",
            "approved": "boolean",
        },
    },
    {"name": "code", "kind": "ask", "question": "What is the release code?"},
    {"name": "licence", "kind": "ask", "question": "What is the licence?"},
]


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
    job = _write_job(workload, tasks, directory)
    prepared = prepare_job(job)
    texts, lengths = _fitting(texts_of(workload)[:: 10 if quick else 1], prepared, workload)
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
        engine=_without_drafting(engine_arguments(config)),
        kv_cache_gib=cpu_cache_gib(config),
        reusable_tokens=(tasks - 1) * shared,
        directory=str(directory),
    )
    _write_prompts(table, lengths, prepared, case.prompts)
    (directory / "case.json").write_text(json.dumps(asdict(case)))
    return case


def _without_drafting(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return engine arguments without speculative decoding, which each side sets up itself."""
    return {name: value for name, value in arguments.items() if name != "speculative_config"}


def task_counts(workload: str) -> tuple[int, ...]:
    """Return the numbers of tasks with which a workload is measured."""
    return TASK_COUNTS if workload in ("chunks", "documents", "long") else TASK_COUNTS[-1:]


def _write_job(workload: str, tasks: int, directory: Path) -> Job:
    specs = [
        task if task["kind"] == "summarize" else {**task, "max_tokens": _ANSWER_TOKENS}
        for task in _TASKS[:tasks]
    ]
    job = {
        "name": "throughput",
        "input": {"path": str(directory / "corpus.parquet"), "id_column": "doc_id"},
        "output": {"path": str(directory / "output")},
        "model": _MODELS.get(workload, _RANDOM),
        "tasks": _FORM_TASKS if workload == "forms" else specs,
        "long_documents": {"strategy": "single"},
    }
    path = directory / "job.yaml"
    path.write_text(yaml.safe_dump(job, sort_keys=False))
    return load_job(path, [])


def _write_prompts(
    table: pa.Table,
    lengths: np.ndarray[Any, np.dtype[np.int64]],
    prepared: PreparedJob,
    directory: Path,
) -> None:
    """Write one row for each document and task, in the order of documents and then of tasks, as a
    user of the other sides would do. `lengths` are the documents' tokens."""
    directory.mkdir(exist_ok=True)
    rows = [
        {
            "doc_id": document["doc_id"],
            "task": task.spec.name,
            "prompt": INSTRUCTION + document["text"] + END_OF_DOCUMENT + task.question.text,
            "max_tokens": _max_tokens(task, document["text"], tokens),
            "schema": task.question.sampling.schema,
        }
        for document, tokens in zip(table.to_pylist(), lengths.tolist(), strict=True)
        for task in prepared.tasks.all
    ]
    for start in range(0, len(rows), _PROMPTS_PER_FILE):
        part = pa.Table.from_pylist(rows[start : start + _PROMPTS_PER_FILE], _PROMPT_SCHEMA)
        pq.write_table(part, directory / f"{start:06d}.parquet", compression="zstd")


def _max_tokens(task: Task, text: str, tokens: int) -> int:
    """Return the limit of an answer: for a form the one that phifleet computes for the text."""
    if task.question.sampling.schema is None:
        return task.question.sampling.max_tokens
    return task.question.about(text, tokens, tokens).sampling.max_tokens


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
    if workload == "forms":
        least, most = _FORM_TOKENS
        fits = (lengths >= least) & (lengths <= most)
    return [text for text, fitting in zip(texts, fits, strict=True) if fitting], lengths[fits]
