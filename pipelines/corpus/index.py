"""The index: read the corpus once, count every document's tokens, and lay units ready.

A span of the corpus (some row groups) becomes two files: `text-N.parquet`, the rows again with
each unit as one row group, so that a worker reads exactly its unit; and `rows-N.parquet`, what is
known of each row without its text. The corpus is thus read once and its copy once, whatever its
row groups look like. Runs in Ray tasks on CPUs; knows nothing of Ray, engines or the ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.corpus.files import Fragment, read_rows
from pipelines.corpus.ids import ID_HASH, MAX_REPORTED, bad_ids, describe_ids, digest_ids, hash_ids
from pipelines.corpus.layout import Layout
from pipelines.corpus.units import LONG, SHORT, Unit, UnitSplitter
from pipelines.documents import DOC_ID, ROW, SOURCE, TEXT, TOO_LONG, Problem, decode_text
from pipelines.job.spec import InputSpec
from pipelines.models.cost import CostModel
from pipelines.storage import Storage
from pipelines.text.lengths import ReadingPlan
from pipelines.text.tokens import ChatTokenizer

_MAX_SPAN_BYTES = 256 * 2**20
# A tokenizer takes some hundred bytes a token while it works.
_ENCODE_CHARACTERS = 2**20
_ROWS_GROUP = 20_000

ROWS_SCHEMA_TAIL = (
    pa.field(ID_HASH, pa.uint64()),
    pa.field("tokens", pa.int64()),
    pa.field("problem", pa.string()),
)


@dataclass(frozen=True)
class IndexConfig:
    """All that indexing a span needs; sent once to every task."""

    input: InputSpec
    layout: Layout
    tokenizer: ChatTokenizer
    reading: ReadingPlan
    cost: CostModel
    unit_seconds: float
    storage: Storage
    directory: str


@dataclass(frozen=True, slots=True)
class SpanIndex:
    """What indexing a span found: units, problems by reason, the first bad ids and where."""

    units: tuple[Unit, ...]
    rows: int
    tokens: int
    problems: dict[str, int]
    bad_ids: tuple[str, ...]


def cut_spans(pieces: Sequence[Fragment], cpus: int) -> list[list[Fragment]]:
    """Neighbouring pieces in spans, small enough for all CPUs to have work."""
    total = sum(piece.size_bytes for piece in pieces)
    wanted = min(_MAX_SPAN_BYTES, max(2**20, total // max(1, 4 * cpus)))
    spans: list[list[Fragment]] = []
    filled = 0
    for piece in pieces:
        if not spans or filled + piece.size_bytes > wanted:
            spans.append([])
            filled = 0
        spans[-1].append(piece)
        filled += piece.size_bytes
    return spans


def index_span(number: int, pieces: Sequence[Fragment], config: IndexConfig) -> SpanIndex:
    """Index one span. Raises InputError where a file cannot be read to its end."""
    with ExitStack() as stack:
        files = [f"{config.directory}/{kind}-{number:05d}.parquet" for kind in ("text", "rows")]
        text_path, rows_path = (
            stack.enter_context(config.storage.new_file(name)) for name in files
        )
        schema = config.layout.schema
        text = stack.enter_context(_writer(text_path, schema, [SOURCE]))
        rows = stack.enter_context(_writer(rows_path, _rows_schema(schema), [SOURCE, "problem"]))
        builder = _SpanBuilder(config, files[0], text, rows)
        for piece in pieces:
            for table in read_rows(config.input, config.layout, piece):
                builder.add(table)
        return builder.finish()


def _writer(path: object, schema: pa.Schema, repeating: list[str]) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        str(path),
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=repeating,
        write_statistics=False,
    )


def _rows_schema(schema: pa.Schema) -> pa.Schema:
    own = [schema.field(name) for name in (SOURCE, ROW, DOC_ID)]
    return pa.schema([*own, *ROWS_SCHEMA_TAIL])


@dataclass
class _SpanBuilder:
    """Collects a span's rows into units, one collector a pool."""

    config: IndexConfig
    file: str
    text: pq.ParquetWriter
    rows: pq.ParquetWriter
    units: list[Unit] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)
    bad_ids: list[str] = field(default_factory=list)
    waiting_rows: list[pa.Table] = field(default_factory=list)
    count: int = 0
    tokens: int = 0

    def __post_init__(self) -> None:
        self.pools = {
            name: _PoolRows(name, UnitSplitter(self.config.unit_seconds)) for name in (SHORT, LONG)
        }

    def add(self, table: pa.Table) -> None:
        tokens, problems = _measure(table, self.config)
        self._note_ids(table)
        self.waiting_rows.append(_rows_table(table, tokens, problems))
        if sum(rows.num_rows for rows in self.waiting_rows) >= _ROWS_GROUP:
            self._write_rows()
        self.count += table.num_rows
        self.tokens += int(tokens.sum())
        self.problems.update(problem for problem in problems if problem)
        measured = _Measured.of(table, tokens, problems, self.config)
        for name, chosen in ((SHORT, ~measured.long_pool), (LONG, measured.long_pool)):
            for unit in self.pools[name].add(measured.take(np.flatnonzero(chosen))):
                self._write(name, unit)

    def finish(self) -> SpanIndex:
        for name, pool in self.pools.items():
            if pool.waiting:
                self._write(name, pool.take_all())
        self._write_rows()
        named = tuple(self.bad_ids[:MAX_REPORTED])
        return SpanIndex(tuple(self.units), self.count, self.tokens, dict(self.problems), named)

    def _write_rows(self) -> None:
        if self.waiting_rows:
            self.rows.write_table(pa.concat_tables(self.waiting_rows))
            self.waiting_rows = []

    def _write(self, pool: str, unit: _Measured) -> None:
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

    def _note_ids(self, table: pa.Table) -> None:
        bad = bad_ids(table.column(DOC_ID))
        if pc.any(bad).as_py():
            rows = table.filter(bad).slice(0, MAX_REPORTED)
            ids = describe_ids(rows.column(DOC_ID))
            places = zip(rows[SOURCE].to_pylist(), rows[ROW].to_pylist(), ids, strict=True)
            self.bad_ids += [f"{source} row {row}: {doc_id}" for source, row, doc_id in places]


@dataclass(frozen=True)
class _Measured:
    """Rows with what is known of each, as parallel arrays."""

    table: pa.Table
    longest: npt.NDArray[np.int64]
    prompt_tokens: npt.NDArray[np.int64]
    seconds: npt.NDArray[np.float64]
    size_bytes: npt.NDArray[np.int64]
    long_pool: npt.NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        table: pa.Table,
        tokens: npt.NDArray[np.int64],
        problems: Sequence[str | None],
        config: IndexConfig,
    ) -> _Measured:
        readable = np.array([problem is None for problem in problems], dtype=bool)
        lengths = config.reading.lengths(tokens)
        longest = np.where(readable, lengths.longest, 0)
        sizes = pc.fill_null(pc.binary_length(table.column(TEXT)), 0)
        # kept columns, of each row as much as of the mean one
        beside = table.drop_columns([TEXT]).nbytes // max(1, table.num_rows)
        return cls(
            table=table,
            longest=longest,
            prompt_tokens=np.where(readable, lengths.prompt_tokens, 0),
            seconds=np.where(readable, config.cost.seconds(tokens), 0.0),
            size_bytes=np.asarray(sizes.to_numpy(), dtype=np.int64) + beside,
            long_pool=config.reading.long_pool(longest),
        )

    def take(self, rows: npt.NDArray[np.int64]) -> _Measured:
        return _Measured(
            self.table.take(rows),
            self.longest[rows],
            self.prompt_tokens[rows],
            self.seconds[rows],
            self.size_bytes[rows],
            self.long_pool[rows],
        )

    @classmethod
    def concat(cls, parts: Sequence[_Measured]) -> _Measured:
        return cls(
            pa.concat_tables([part.table for part in parts]),
            np.concatenate([part.longest for part in parts]),
            np.concatenate([part.prompt_tokens for part in parts]),
            np.concatenate([part.seconds for part in parts]),
            np.concatenate([part.size_bytes for part in parts]),
            np.concatenate([part.long_pool for part in parts]),
        )


@dataclass
class _PoolRows:
    """The rows of one pool that wait to become a unit."""

    name: str
    cutter: UnitSplitter
    waiting: list[_Measured] = field(default_factory=list)

    def add(self, rows: _Measured) -> Iterator[_Measured]:
        start = 0
        for cut in self.cutter.add(rows.seconds, rows.size_bytes):
            self.waiting.append(rows.take(np.arange(start, cut)))
            start = cut
            yield self.take_all()
        if start < rows.table.num_rows:
            self.waiting.append(rows.take(np.arange(start, rows.table.num_rows)))

    def take_all(self) -> _Measured:
        unit = _Measured.concat(self.waiting)
        self.waiting = []
        return unit


def _measure(
    table: pa.Table, config: IndexConfig
) -> tuple[npt.NDArray[np.int64], list[str | None]]:
    """Tokens of each text (0 where unreadable), and what is wrong with each, if anything."""
    texts = [decode_text(raw) for raw in table.column(TEXT).to_pylist()]
    readable = [text for text in texts if isinstance(text, str)]
    lengths = _lengths(readable, config.tokenizer)
    tokens = np.array([next(lengths) if isinstance(t, str) else 0 for t in texts], dtype=np.int64)
    too_long = config.reading.too_long(tokens)
    problems = [
        text.reason if isinstance(text, Problem) else TOO_LONG if over else None
        for text, over in zip(texts, too_long.tolist(), strict=True)
    ]
    return tokens, problems


def _lengths(texts: Sequence[str], tokens: ChatTokenizer) -> Iterator[int]:
    """Tokens of each text, some of them encoded at a time."""
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64) // _ENCODE_CHARACTERS
    cuts = [0, *(np.flatnonzero(np.diff(ends)) + 1).tolist(), len(texts)]
    for start, end in pairwise(cuts):
        yield from tokens.count_all(texts[start:end])


def _rows_table(
    table: pa.Table, tokens: npt.NDArray[np.int64], problems: Sequence[str | None]
) -> pa.Table:
    rows = table.select([SOURCE, ROW, DOC_ID])
    rows = rows.append_column(ROWS_SCHEMA_TAIL[0], pa.array(hash_ids(table.column(DOC_ID))))
    rows = rows.append_column(ROWS_SCHEMA_TAIL[1], pa.array(tokens))
    return rows.append_column(ROWS_SCHEMA_TAIL[2], pa.array(problems, pa.string()))
