"""Reads a sample of the answers: how documents were read, and what the text shows of the values.

At most `MAX_PARTS` part files are read, and of each the first `MAX_ROWS` rows, however many there
are. Knows the columns of parts; knows nothing of HTML.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.corpus.sampling import spread
from pipelines.documents import EvidenceStatus
from pipelines.ledger.names import ANSWERS
from pipelines.ledger.records import readable
from pipelines.reporting.page.facts import EvidenceFacts, LengthFacts, ReadingFacts
from pipelines.reporting.page.work import ratio
from pipelines.storage import Storage
from pipelines.tasks.columns import ANSWER, EVIDENCE

MAX_PARTS, MAX_ROWS = 32, 500
"""The part files that a sample reads, and the rows of each, at most."""
_PARALLEL = 8
_PART = re.compile(r"part-(\d{6,})\.parquet")
_COUNTED = tuple(status.value for status in EvidenceStatus)


@dataclass
class PartSample:
    """What the sampled parts say.

    Attributes:
        parts: the names of all part files, ascending.
        read: the units whose parts were read.
        documents: the documents in the rows that were read.
        metadata: what the first part states about the program and the model.
    """

    parts: list[str]
    read: int = 0
    documents: int = 0
    metadata: dict[str, str] = field(default_factory=dict)
    _lengths: defaultdict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    _chunks: Counter[int] = field(default_factory=Counter)
    _statuses: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, table: pa.Table, tasks: Iterable[str]) -> None:
        """Add the rows of one part."""
        self.read += 1
        self.documents += table.num_rows
        for task in tasks:
            if task in table.column_names:
                self._add_answers(table.column(task))
                self._add_evidence(task, table.column(task))

    def _add_answers(self, column: pa.ChunkedArray) -> None:
        record = pc.struct_field(column, ANSWER)
        names = ("prompt_tokens", "strategy", "chunks")
        values = [pc.struct_field(record, name).to_pylist() for name in names]
        for tokens, strategy, chunks in zip(*values, strict=True):
            # the answer of a dead letter's task has no strategy
            if tokens and strategy:
                power = int(tokens).bit_length()
                self._lengths[power][strategy] += 1
                self._chunks[power] += chunks or 0

    def _add_evidence(self, task: str, column: pa.ChunkedArray) -> None:
        rows = pc.list_flatten(pc.struct_field(column, EVIDENCE))
        statuses = pc.struct_field(rows, "status")
        counts = {c["values"]: c["counts"] for c in pc.value_counts(statuses).to_pylist()}
        self._statuses.setdefault(task, Counter()).update(counts)

    def facts(self) -> ReadingFacts:
        """Return the sums over the rows that were read."""
        evidence = [
            EvidenceFacts(task, *(counts[status] for status in _COUNTED))
            for task, counts in self._statuses.items()
            if counts
        ]
        shown = sum(row.shown + row.found for row in evidence)
        values = shown + sum(row.near + row.absent for row in evidence)
        return ReadingFacts(
            parts=len(self.parts),
            parts_read=self.read,
            documents=self.documents,
            lengths=[self._length(power) for power in sorted(self._lengths)],
            evidence=evidence,
            values=values,
            shown_share=ratio(shown, values),
        )

    def _length(self, power: int) -> LengthFacts:
        strategies = self._lengths[power]
        answers = strategies.total()
        chunks = round(self._chunks[power] / answers, 2)
        return LengthFacts(2 ** (power - 1), 2**power - 1, answers, chunks, dict(strategies))


def sample_parts(storage: Storage, tasks: Sequence[str]) -> PartSample:
    """Read a sample of the answers in `storage` to the tasks with these names.

    Raises OutputError if a part is damaged, StorageError.
    """
    sample = PartSample(part_names(storage))
    names = spread(sample.parts, MAX_PARTS)
    with ThreadPoolExecutor(_PARALLEL) as pool:
        for read in pool.map(lambda name: first_rows(storage, name, MAX_ROWS, tasks), names):
            if read is not None:
                table, metadata = read
                sample.metadata = sample.metadata or metadata
                sample.add(table, tasks)
    return sample


def part_names(storage: Storage) -> list[str]:
    """Return the names of all published parts below `answers`, ascending. Raises StorageError."""
    return sorted(name for name in storage.names(ANSWERS) if _PART.fullmatch(name))


def unit_of_part(name: str) -> int:
    """Return the number of the unit whose part has this name."""
    match = _PART.fullmatch(name)
    assert match is not None
    return int(match[1])


def first_rows(
    storage: Storage, name: str, rows: int, columns: Sequence[str]
) -> tuple[pa.Table, dict[str, str]] | None:
    """Return the first rows of the part `name` with those of `columns` that it has, and what its
    metadata state; None if a run has removed it meanwhile. Raises OutputError, StorageError."""
    path = f"{ANSWERS}/{name}"
    # in one request: a part is small, and has dozens of columns
    data = storage.read_if_exists(path)
    if data is None:
        return None
    with readable(storage.path(path)):
        file = pq.ParquetFile(pa.BufferReader(data))
        whole = file.schema_arrow
        known = [column for column in columns if column in whole.names]
        first = next(file.iter_batches(batch_size=rows, columns=known), None)
        schema = pa.schema([whole.field(column) for column in known])
        table = pa.Table.from_batches([] if first is None else [first], schema)
        return table, _metadata(whole)


def _metadata(schema: pa.Schema) -> dict[str, str]:
    prefix = b"phifleet."
    stated: dict[Any, Any] = schema.metadata or {}
    return {
        key.removeprefix(prefix).decode(): value.decode()
        for key, value in stated.items()
        if key.startswith(prefix)
    }
