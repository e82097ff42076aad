"""Reads an index: the lengths of all documents, what is wrong with some, and equal texts.

Knows the columns of the index's files; knows nothing of tasks or costs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.corpus.ids import RowsFile, read_index
from pipelines.corpus.index_rows import PROBLEM, TEXT_HASH, TOKENS
from pipelines.corpus.row_changes import PLANNED
from pipelines.corpus.texts import decode_text
from pipelines.corpus.units import Unit
from pipelines.documents import DOC_ID, KEPT, ROW, SOURCE, TEXT
from pipelines.reporting.planning.distribution import NO_LENGTHS, LengthCounts
from pipelines.storage import Storage

MAX_EXAMPLES = 3
"""Documents that are named for each reason why some cannot be answered."""
_PARALLEL = 8
# Reading a text that is not chosen takes this part of the time of cutting it, or less.
_PASSED_SHARE = 10


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Documents that will be dead letters for one reason: their number, and the first of them, each
    as its file, row and id."""

    count: float
    first: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Equal texts: the documents whose text an earlier one has, and the texts that occur more than
    once."""

    documents: int
    texts: int


@dataclass(frozen=True)
class Indexed:
    """What an index says of a corpus.

    Attributes:
        counts: the lengths of the documents that can be answered.
        unreadable: by reason, the documents that cannot.
        duplicates: the equal texts; None if the index was made by a version that did not list them.
    """

    counts: LengthCounts = NO_LENGTHS
    unreadable: Mapping[str, Unreadable] = field(default_factory=dict)
    duplicates: Duplicates | None = None

    @property
    def documents(self) -> float:
        """The number of all documents."""
        return self.counts.documents + sum(each.count for each in self.unreadable.values())


def read_indexed(storage: Storage, files: Sequence[RowsFile]) -> Indexed:
    """Return what the index's `rows-*` files list. Raises StorageError."""
    counts, unreadable = NO_LENGTHS, dict[str, Unreadable]()
    hashes: list[npt.NDArray[np.uint64]] | None = []
    with ThreadPoolExecutor(_PARALLEL) as pool:
        for table in pool.map(lambda file: _planned_rows(storage, file), files):
            counts += lengths_of(table)
            unreadable = merged(unreadable, unreadable_of(table))
            if TEXT_HASH not in table.column_names:
                hashes = None
            elif hashes is not None:
                readable = table.filter(pc.is_null(table.column(PROBLEM)))
                hashes.append(readable.column(TEXT_HASH).to_numpy())
    return Indexed(counts, unreadable, None if hashes is None else _duplicates(hashes))


def _planned_rows(storage: Storage, file: RowsFile) -> pa.Table:
    name = file if isinstance(file, str) else file[0]
    with storage.open(name) as handle:
        present = set(pq.read_schema(handle).names)
    wanted = (SOURCE, ROW, DOC_ID, TOKENS, PROBLEM, TEXT_HASH, PLANNED)
    table = read_index(storage, file, [column for column in wanted if column in present])
    if PLANNED in present:
        return table.filter(table.column(PLANNED))
    return table


def lengths_of(rows: pa.Table) -> LengthCounts:
    """Return the lengths of the rows that have no problem."""
    readable = rows.filter(pc.is_null(rows.column(PROBLEM)))
    return LengthCounts.of(readable.column(TOKENS).to_numpy())


def unreadable_of(rows: pa.Table) -> dict[str, Unreadable]:
    """Return, by reason, the rows that have a problem."""
    broken = rows.filter(pc.is_valid(rows.column(PROBLEM)))
    found: dict[str, Unreadable] = {}
    for reason in sorted(pc.unique(broken.column(PROBLEM)).to_pylist()):
        of_reason = broken.filter(pc.equal(broken.column(PROBLEM), reason))
        first = of_reason.slice(0, MAX_EXAMPLES).select([SOURCE, ROW, DOC_ID]).to_pylist()
        names = tuple(f"{row[SOURCE]} row {row[ROW]}: {row[DOC_ID]}" for row in first)
        found[reason] = Unreadable(of_reason.num_rows, names)
    return found


def merged(one: Mapping[str, Unreadable], other: Mapping[str, Unreadable]) -> dict[str, Unreadable]:
    """Return the sums of two counts by reason."""
    none = Unreadable(0)
    return {
        reason: Unreadable(
            one.get(reason, none).count + other.get(reason, none).count,
            (*one.get(reason, none).first, *other.get(reason, none).first)[:MAX_EXAMPLES],
        )
        for reason in sorted({*one, *other})
    }


def _duplicates(hashes: Sequence[npt.NDArray[np.uint64]]) -> Duplicates:
    _, counts = np.unique(np.concatenate([np.empty(0, np.uint64), *hashes]), return_counts=True)
    repeated = counts[counts > 1]
    return Duplicates(int((repeated - 1).sum()), len(repeated))


@dataclass(frozen=True, slots=True)
class TextSizes:
    """The uncompressed bytes of the texts of all documents, and of their kept columns."""

    text_bytes: int = 0
    kept_bytes: int = 0


def text_sizes(storage: Storage, units: Sequence[Unit]) -> TextSizes:
    """Return the sizes of the texts and kept columns that the index copied, from the footers of its
    files. Raises StorageError."""
    text = kept = 0
    for name in sorted({unit.file for unit in units}):
        with storage.open(name) as handle:
            metadata = pq.read_metadata(handle)
        for group in range(metadata.num_row_groups):
            for number in range(metadata.num_columns):
                column = metadata.row_group(group).column(number)
                size = int(column.total_uncompressed_size)
                text += size * (column.path_in_schema == TEXT)
                kept += size * column.path_in_schema.startswith(KEPT)
    return TextSizes(text, kept)


def sample_texts(
    storage: Storage,
    units: Sequence[Unit],
    chosen: Callable[[str], int | None],
    max_characters: int,
) -> Iterator[tuple[str, int]]:
    """Yield texts of the index, in units taken at random, until `max_characters` are read.

    `chosen` returns the number of tokens of a text that is to be yielded with it, else None. The
    first unit is always read. The choice is the same each time. Raises StorageError.
    """
    left = max_characters
    shuffled = random.Random(0).sample(list(units), len(units))  # noqa: S311 - no secret
    for unit in shuffled:
        if left <= 0:
            return
        with storage.open(unit.file) as handle:
            raw = pq.ParquetFile(handle).read_row_group(unit.row_group, columns=[TEXT])
        for value in raw.column(TEXT).to_pylist():
            text = decode_text(value)
            if left <= 0 or not isinstance(text, str):
                continue
            tokens = chosen(text)
            left -= len(text) if tokens is not None else len(text) // _PASSED_SHARE
            if tokens is not None:
                yield text, tokens
