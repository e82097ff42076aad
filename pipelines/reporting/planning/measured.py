"""Reads what a run measured: answers with their tokens, the documents' lengths, and engine time.

Knows the columns of parts and of the index; knows nothing of estimates.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.corpus.ids import ID_HASH, hash_ids, read_index
from pipelines.corpus.index_rows import PROBLEM, TOKENS
from pipelines.ledger.names import part_name
from pipelines.ledger.records import Commit, Plan, current_rows, sum_decoding
from pipelines.run.manifest import covered_seconds
from pipelines.storage import Storage
from pipelines.tasks.columns import ANSWER

MAX_PARTS, MAX_DOCUMENTS = 200, 100_000
"""Parts and documents that are read at most; of more parts, some at equal distances."""
_COLUMNS = ("chunks", "prompt_tokens", "output_tokens")


@dataclass(frozen=True)
class TaskAnswers:
    """The answers of one task, as parallel arrays, one entry per answered document.

    Attributes:
        tokens: the length of the document in tokens.
        chunks: the passages or parts that were read.
        prompt_tokens: tokens of all prompts of the task about the document.
        output_tokens: generated tokens of the task for the document.
        strategy: how the document was read; "" where the task failed.
    """

    tokens: npt.NDArray[np.int64]
    chunks: npt.NDArray[np.int64]
    prompt_tokens: npt.NDArray[np.int64]
    output_tokens: npt.NDArray[np.int64]
    strategy: npt.NDArray[np.object_]

    def where(self, chosen: npt.NDArray[np.bool_]) -> TaskAnswers:
        """Return the answers that are chosen."""
        return TaskAnswers(
            self.tokens[chosen],
            self.chunks[chosen],
            self.prompt_tokens[chosen],
            self.output_tokens[chosen],
            self.strategy[chosen],
        )


@dataclass(frozen=True, slots=True)
class EngineTime:
    """The seconds in which engines answered, and the name of their device, None if unknown."""

    seconds: float
    device: str | None


def read_answers(
    storage: Storage, plans: Sequence[Plan], commits: Sequence[Commit], names: Sequence[str]
) -> dict[str, TaskAnswers]:
    """Return the answers of the tasks with these names about a sample of a run's documents; a task
    that the run does not have is left out. All have the same documents in the same order, but an
    answer that failed has no tokens. Raises StorageError."""
    answers = _read_parts(storage, commits, names)
    if answers is None:
        return {}
    hashes = hash_ids(answers.column(0))
    tokens = _tokens_of(storage, plans, hashes)
    known = tokens >= 0
    return {
        name: _task_answers(answers.column(name), tokens).where(known)
        for name in answers.column_names[1:]
    }


def _read_parts(
    storage: Storage, commits: Sequence[Commit], names: Sequence[str]
) -> pa.Table | None:
    """Return the ids, and a struct column of numbers for each task."""
    with_part = [commit for commit in commits if commit.part is not None]
    every = max(1, -(-len(with_part) // MAX_PARTS))
    tables: list[pa.Table] = []
    rows = 0
    for commit in with_part[::every]:
        if rows >= MAX_DOCUMENTS:
            break
        with storage.open(part_name(commit.unit)) as handle:
            file = pq.ParquetFile(handle)
            columns = file.schema_arrow.names
            present = [name for name in names if name in columns]
            table = file.read(columns=[columns[0], *(f"{name}.{ANSWER}" for name in present)])
        numbers = {name: pc.struct_field(table.column(name), ANSWER) for name in present}
        tables.append(pa.table({"id": table.column(0).cast(pa.string()), **numbers}))
        rows += table.num_rows
    return pa.concat_tables(tables) if tables else None


def _task_answers(column: pa.ChunkedArray, tokens: npt.NDArray[np.int64]) -> TaskAnswers:
    chunks, prompt_tokens, output_tokens = (
        np.asarray(pc.fill_null(pc.struct_field(column, name), 0).to_numpy(), dtype=np.int64)
        for name in _COLUMNS
    )
    strategy = pc.fill_null(pc.struct_field(column, "strategy"), "").to_numpy()
    return TaskAnswers(tokens, chunks, prompt_tokens, output_tokens, strategy)


def _tokens_of(
    storage: Storage, plans: Sequence[Plan], hashes: npt.NDArray[np.uint64]
) -> npt.NDArray[np.int64]:
    """Return the length of each document by the hash of its id, -1 where the index has none."""
    wanted = pa.array(np.unique(hashes))
    found = [pd.Series(dtype=np.int64)]
    for file in current_rows(plans):
        rows = read_index(storage, file, [ID_HASH, TOKENS, PROBLEM])
        rows = rows.filter(pc.is_in(rows.column(ID_HASH), wanted))
        tokens = rows.column(TOKENS).to_numpy()
        found.append(pd.Series(tokens, index=rows.column(ID_HASH).to_numpy()))
    lengths = pd.concat([each for each in found if len(each)] or found)
    lengths = lengths[~lengths.index.duplicated(keep="last")]
    return np.asarray(lengths.reindex(hashes).fillna(-1), dtype=np.int64)


def steps_by_task(commits: Sequence[Commit]) -> Mapping[str, float]:
    """Return the steps of the engine for each generated token, by task; only for tasks of which
    steps were counted."""
    sums = sum_decoding(commit.decoding for commit in commits)
    return {name: steps / tokens for name, (tokens, steps, _) in sums.items() if tokens and steps}


def engine_time(commits: Sequence[Commit]) -> EngineTime:
    """Return the time in which a run's engines answered.

    Commits say it themselves; those of versions that did not are taken as intervals on their host,
    of which time that several cover counts once: this is right for one engine a host.
    """
    used = [work.used for commit in commits for work in commit.work]
    if used and all(each.engine_seconds for each in used):
        devices = {each.device for each in used}
        device = devices.pop() if len(devices) == 1 else ""
        return EngineTime(sum(each.answering_seconds for each in used), device or None)
    by_host: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for commit in commits:
        end = datetime.fromisoformat(commit.committed_at).timestamp()
        by_host[commit.host].append((end - commit.seconds, end))
    return EngineTime(sum(map(covered_seconds, by_host.values())), None)
