"""The index: read the corpus once, count the tokens of every document, and prepare the units.

A span of the corpus (some consecutive fragments) becomes two files. `text-N` holds the
rows again, sorted into units, with each unit as one row group, so that a worker reads exactly its
unit. `rows-N` holds what is known of each row, without its text. Thus the corpus is read
once and its copy once, whatever the row groups of its files are. Both files are Parquet without an
ending, so that no reader takes them for documents. Runs in Ray tasks on CPUs; knows
nothing of Ray, engines or the ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.corpus.changes import check_span
from pipelines.corpus.combined import combined
from pipelines.corpus.fragments import Fragment
from pipelines.corpus.ids import MAX_REPORTED, describe_ids, digest_ids, hash_ids, invalid_ids
from pipelines.corpus.index_rows import known_rows, read_known, rows_schema, rows_table
from pipelines.corpus.layout import Layout
from pipelines.corpus.measurement import MeasuredRows, measure_texts
from pipelines.corpus.row_changes import HashedRows, Hashes, hash_contents
from pipelines.corpus.rows import read_rows
from pipelines.corpus.units import LONG, SHORT, Unit, UnitSplitter
from pipelines.documents import BROKEN, DOC_ID, NOT_JSON, ROW, SOURCE, TEXT
from pipelines.job.spec import InputSpec
from pipelines.models.cost import CostModel
from pipelines.storage import Storage
from pipelines.text.lengths import ReadingPlan
from pipelines.text.tokens import ChatTokenizer

_MAX_SPAN_BYTES = 256 * 2**20
# Rows in a row group of `rows-N`.
_ROWS_GROUP = 20_000
_NONE = HashedRows(np.empty(0, np.uint64), np.empty(0, np.uint64))


@dataclass(frozen=True)
class IndexConfig:
    """The settings of indexing, the same for all spans of a corpus.

    Attributes:
        input: the job's section `input`.
        layout: the types of the columns in all files of the corpus.
        tokenizer: the model's tokenizer, to count tokens.
        reading: how documents of each length are read; decides pools and what is too long.
        cost: estimates the engine time of a document.
        unit_seconds: engine time, by the cost estimate, for which units are cut, in seconds.
        storage: OUTPUT.
        directory: the directory in `storage` to which the index's files are written.
        known: the name of a file with the rows that the run has read before, in files that the
            input does not have any more; rows with the same id and content are listed and get no
            unit. None stands for no rows.
    """

    input: InputSpec
    layout: Layout
    tokenizer: ChatTokenizer
    reading: ReadingPlan
    cost: CostModel
    unit_seconds: float
    storage: Storage
    directory: str
    known: str | None = None


@dataclass(frozen=True, slots=True)
class SpanIndex:
    """The result of indexing one span.

    The `units` are not numbered yet: their number is -1. `rows` is the number of the documents in
    them, and `tokens` that of the tokens in their texts. `problems` has, by reason, the number
    of documents that cannot be answered. `bad_ids` are texts with file and row of invalid ids, the
    first ten.
    """

    units: tuple[Unit, ...]
    rows: int
    tokens: int
    problems: dict[str, int]
    bad_ids: tuple[str, ...]


def cut_spans(fragments: Sequence[Fragment], cpus: int) -> list[list[Fragment]]:
    """Group consecutive fragments into spans, the parts of a corpus that are indexed concurrently.

    A span is at most so large that each of `cpus` CPUs gets about four of them, but this limit is
    at least 1 MiB and at most 256 MiB. A fragment above the limit is a span by itself.
    """
    total = sum(fragment.size_bytes for fragment in fragments)
    max_bytes = min(_MAX_SPAN_BYTES, max(2**20, total // max(1, 4 * cpus)))
    spans: list[list[Fragment]] = []
    filled = 0
    for fragment in fragments:
        if not spans or filled + fragment.size_bytes > max_bytes:
            spans.append([])
            filled = 0
        spans[-1].append(fragment)
        filled += fragment.size_bytes
    return spans


def index_span(number: int, fragments: Sequence[Fragment], config: IndexConfig) -> SpanIndex:
    """Index one span: read its fragments, write `text-NUMBER` and `rows-NUMBER` to the directory of
    `config`, and return the span's units and counts.

    Raises InputError naming the file (UnreadableFile if it is damaged), also if it has changed
    since it was listed, and StorageError.
    """
    with ExitStack() as stack:
        files = [index_file(config.directory, kind, number) for kind in ("text", "rows")]
        text_path, rows_path = (
            stack.enter_context(config.storage.new_file(name)) for name in files
        )
        schema = config.layout.schema
        text = stack.enter_context(_writer(text_path, schema, [SOURCE]))
        rows = stack.enter_context(_writer(rows_path, rows_schema(schema), [SOURCE, "problem"]))
        known = read_known(config.storage, config.known) if config.known else _NONE
        builder = _SpanBuilder(config, files[0], text, rows, known)
        for table in combined(_all_rows(fragments, config)):
            builder.add(table)
        check_span(config.input, fragments)
        return builder.finish()


def _all_rows(fragments: Sequence[Fragment], config: IndexConfig) -> Iterator[pa.Table]:
    for fragment in fragments:
        yield from read_rows(config.input, config.layout, fragment)


def index_file(directory: str, kind: str, span: int) -> str:
    """Return the name of a file of the index in `directory`; `kind` is `text` or `rows`, and `span`
    the number of the span that it indexes."""
    return f"{directory}/{kind}-{span:05d}"


def _writer(path: object, schema: pa.Schema, repeating: list[str]) -> pq.ParquetWriter:
    """Return a writer of a file in which the columns `repeating` have few different values."""
    return pq.ParquetWriter(
        str(path),
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=repeating,
        write_statistics=False,
    )


@dataclass
class _SpanBuilder:
    """Writes a span's rows to the two files of the index, and groups them into units by pool.

    `file` is the name of the file that `text` writes.
    """

    config: IndexConfig
    file: str
    text: pq.ParquetWriter
    rows: pq.ParquetWriter
    known: HashedRows
    units: list[Unit] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)
    bad_ids: list[str] = field(default_factory=list)
    waiting_rows: list[pa.Table] = field(default_factory=list)
    count: int = 0
    tokens: int = 0

    def __post_init__(self) -> None:
        self.pools = {
            name: _PoolRows(UnitSplitter(self.config.unit_seconds)) for name in (SHORT, LONG)
        }

    def add(self, table: pa.Table) -> None:
        """Add rows of the corpus, and write the units and row groups that they complete."""
        self._collect_bad_ids(table)
        ids = hash_ids(table.column(DOC_ID))
        contents = hash_contents(table, ids)
        if len(self.known.ids):
            known = self.known.has_rows(ids, contents)
            again = table.filter(pa.array(known))
            self._list_rows(known_rows(again, ids[known], contents[known]))
            table, ids, contents = table.filter(pa.array(~known)), ids[~known], contents[~known]
        self._plan(table, ids, contents)

    def _plan(self, table: pa.Table, ids: Hashes, contents: Hashes) -> None:
        """Measure rows, of whose ids and contents these are the hashes, and write the units that
        they complete."""
        config = self.config
        tokens, problems = measure_texts(table.column(TEXT), config.tokenizer, config.reading)
        broken = table.column(BROKEN).is_valid().to_pylist()
        problems = [NOT_JSON if bad else why for bad, why in zip(broken, problems, strict=True)]
        self._list_rows(rows_table(table, ids, tokens, problems, contents))
        self.count += table.num_rows
        self.tokens += int(tokens.sum())
        self.problems.update(problem for problem in problems if problem)
        measured = MeasuredRows.of(table, tokens, problems, config.reading, config.cost)
        for name, in_pool in ((SHORT, ~measured.long_pool), (LONG, measured.long_pool)):
            for unit in self.pools[name].add(measured.take(np.flatnonzero(in_pool))):
                self._write(name, unit)

    def finish(self) -> SpanIndex:
        """Write the rows that remain, as a last unit of each pool, and return the result."""
        for name, pool in self.pools.items():
            if pool.waiting:
                self._write(name, pool.take_all())
        self._write_rows()
        reported = tuple(self.bad_ids[:MAX_REPORTED])
        return SpanIndex(tuple(self.units), self.count, self.tokens, dict(self.problems), reported)

    def _list_rows(self, rows: pa.Table) -> None:
        self.waiting_rows.append(rows)
        if sum(rows.num_rows for rows in self.waiting_rows) >= _ROWS_GROUP:
            self._write_rows()

    def _write_rows(self) -> None:
        if self.waiting_rows:
            self.rows.write_table(pa.concat_tables(self.waiting_rows))
            self.waiting_rows = []

    def _write(self, pool: str, unit: MeasuredRows) -> None:
        self.text.write_table(unit.table, row_group_size=max(1, unit.table.num_rows))
        self.units.append(
            Unit(
                number=-1,
                pool=pool,
                file=self.file,
                row_group=len(self.units),
                rows=unit.table.num_rows,
                prompt_tokens=int(unit.prompt_tokens.sum()),
                longest=int(unit.longest.max()),
                seconds=float(unit.seconds.sum()),
                ids=digest_ids(hash_ids(unit.table.column(DOC_ID))),
            )
        )

    def _collect_bad_ids(self, table: pa.Table) -> None:
        invalid = invalid_ids(table.column(DOC_ID))
        if pc.any(invalid).as_py():
            rows = table.filter(invalid).slice(0, MAX_REPORTED)
            ids = describe_ids(rows.column(DOC_ID))
            places = zip(rows[SOURCE].to_pylist(), rows[ROW].to_pylist(), ids, strict=True)
            self.bad_ids += [f"{source} row {row}: {doc_id}" for source, row, doc_id in places]


@dataclass
class _PoolRows:
    """The rows of one pool that do not make a whole unit yet."""

    splitter: UnitSplitter
    waiting: list[MeasuredRows] = field(default_factory=list)

    def add(self, rows: MeasuredRows) -> Iterator[MeasuredRows]:
        """Add rows, and yield the rows of each unit that they complete."""
        start = 0
        for cut in self.splitter.add(rows.seconds, rows.size_bytes):
            self.waiting.append(rows.take(np.arange(start, cut)))
            start = cut
            yield self.take_all()
        if start < rows.table.num_rows:
            self.waiting.append(rows.take(np.arange(start, rows.table.num_rows)))

    def take_all(self) -> MeasuredRows:
        """Remove the waiting rows and return them; there must be some."""
        unit = MeasuredRows.concat(self.waiting)
        self.waiting = []
        return unit
