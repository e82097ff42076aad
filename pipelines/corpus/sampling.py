"""Chooses a few documents of a corpus, spread over its files and over the lengths of its texts.

The choice depends on the corpus and the number of documents alone: the same documents are chosen
each time. Only the first rows of a few parts of the corpus are read, however large it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.corpus.changes import check_span
from pipelines.corpus.fragments import Fragment
from pipelines.corpus.rows import Corpus, read_rows
from pipelines.documents import SOURCE, TEXT
from pipelines.errors import InputError

# The rows that are read of each fragment: the first ones, up to one of these limits.
_FRAGMENT_ROWS, _FRAGMENT_BYTES = 1000, 8 * 2**20
T = TypeVar("T")


def spread(items: Sequence[T], count: int) -> list[T]:
    """Return `count` of the items in order, at about equal distances; all if there are fewer."""
    if len(items) <= count:
        return list(items)
    return [items[(2 * number + 1) * len(items) // (2 * count)] for number in range(count)]


def sample_rows(corpus: Corpus, count: int) -> pa.Table:
    """Return the rows of `count` documents of the corpus, in its order; all rows that are looked at
    if there are fewer.

    Looks at the first rows of up to `count` fragments, spread over the corpus: see `choose_rows`
    for the choice among them. The table has the schema of `corpus.layout`. Raises as
    `rows.read_rows` does, and InputError if there are no rows.
    """
    fragments = spread(corpus.fragments, count)
    tables = [table for fragment in fragments for table in _first_rows(corpus, fragment)]
    check_span(corpus.spec, fragments)
    if not tables:
        raise InputError(
            f"input.path: none of the {len(corpus.files)} files of {corpus.spec.path} that a "
            "sample looks at has rows; check the files, or run the job without --sample"
        )
    rows = pa.concat_tables(tables)
    lengths = pc.fill_null(pc.binary_length(rows.column(TEXT)), 0).to_pylist()
    return rows.take(choose_rows(lengths, rows.column(SOURCE).to_pylist(), count))


def _first_rows(corpus: Corpus, fragment: Fragment) -> Iterator[pa.Table]:
    rows = size_bytes = 0
    for table in read_rows(corpus.spec, corpus.layout, fragment):
        first = table.slice(0, _FRAGMENT_ROWS - rows)
        yield first
        rows += first.num_rows
        size_bytes += table.nbytes
        if rows >= _FRAGMENT_ROWS or size_bytes >= _FRAGMENT_BYTES:
            return


def choose_rows(lengths: Sequence[int], files: Sequence[str], count: int) -> list[int]:
    """Return the positions, ascending, of `count` rows with these lengths and files.

    The rows are sorted by length and divided into `count` groups of equal size. Of each group, one
    row is chosen: of the files from which the fewest rows are chosen so far, the row in the middle
    of the group, or the nearest to it.
    """
    by_length = np.argsort(np.asarray(lengths, dtype=np.int64), kind="stable").tolist()
    chosen: list[int] = []
    of_file: Counter[str] = Counter()
    for group in np.array_split(by_length, min(count, len(by_length))):
        middle = (len(group) - 1) / 2
        ranked = [
            (of_file[files[position]], abs(place - middle), int(position))
            for place, position in enumerate(group.tolist())
        ]
        position = min(ranked)[-1]
        of_file[files[position]] += 1
        chosen.append(position)
    return sorted(chosen)
