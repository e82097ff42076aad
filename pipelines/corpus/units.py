"""Units: rows of one pool, grouped so that every unit costs about the same engine time.

Pure functions of arrays and tables. Knows nothing of files, engines or Ray.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

SHORT, LONG = "short", "long"
"""The names of the pools: engines for prompts within the reach of the model's short rope factors,
and engines for longer prompts."""

MAX_UNIT_ROWS, MAX_UNIT_BYTES = 20_000, 256 * 2**20
"""Limits of a unit in addition to its cost, so that its rows fit a worker's memory with every
model: a unit ends with the row that reaches one of them."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Documents of one pool that are answered, committed and retried together: one row group of a
    file that the index wrote.

    `number` is unique within a run. `pool` is SHORT or LONG. `file` is the name of that file below
    OUTPUT, and `rows` the number of documents. `prompt_tokens` is the sum over all prompts,
    `longest` the length in tokens of the longest prompt with its answer, `seconds` the expected
    engine time, and `ids` the digest of the documents' ids (`digest_ids`).
    """

    number: int
    pool: str
    file: str
    row_group: int
    rows: int
    prompt_tokens: int
    longest: int
    seconds: float
    ids: str


UNIT_SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        ("pool", pa.string()),
        ("file", pa.string()),
        ("row_group", pa.int32()),
        ("rows", pa.int64()),
        ("prompt_tokens", pa.int64()),
        ("longest", pa.int64()),
        ("seconds", pa.float64()),
        ("ids", pa.string()),
    ]
)
"""The columns of a table of units: the attributes of `Unit`."""


@dataclass
class UnitSplitter:
    """Cuts the rows of one pool into units of about `target_seconds` of engine time each."""

    target_seconds: float
    _filled: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(3), init=False)

    def add(
        self, seconds: npt.NDArray[np.float64], size_bytes: npt.NDArray[np.int64]
    ) -> Iterator[int]:
        """Take the next rows and yield the positions among them, counted from 0, before which a
        unit ends.

        `seconds` is the engine time and `size_bytes` the size of each row. A unit ends with the row
        with which its seconds, its bytes or its number of rows reach their limit. Rows after the
        last cut count towards the first unit of the next call.
        """
        rows = np.column_stack([seconds, size_bytes, np.ones(len(seconds))])
        limits = np.array([self.target_seconds, MAX_UNIT_BYTES, MAX_UNIT_ROWS])
        start = 0
        while start < len(rows):
            filled = self._filled + np.cumsum(rows[start:], axis=0)
            full = np.flatnonzero((filled >= limits).any(axis=1))
            if not len(full):
                self._filled = filled[-1]
                return
            self._filled = np.zeros(3)
            start += int(full[0]) + 1
            yield start


def number_units(units: Iterable[Unit], first: int) -> list[Unit]:
    """Return the units with consecutive numbers from `first` on, in the order of file and row
    group."""
    ordered = sorted(units, key=lambda unit: (unit.file, unit.row_group))
    return [replace(unit, number=first + position) for position, unit in enumerate(ordered)]


def costliest_first(units: Iterable[Unit]) -> list[Unit]:
    """Return the units in the order in which they run: by descending cost, so that no long unit is
    still running at the end while other engines are idle."""
    return sorted(units, key=lambda unit: (-unit.seconds, unit.number))


def units_table(units: Sequence[Unit], metadata: Mapping[str, str]) -> pa.Table:
    """Return a table with a row for every unit and the columns of UNIT_SCHEMA; `metadata` becomes
    the key-value metadata of its schema."""
    rows = [{name: getattr(unit, name) for name in UNIT_SCHEMA.names} for unit in units]
    return pa.Table.from_pylist(rows, schema=UNIT_SCHEMA.with_metadata(dict(metadata)))


def units_of(table: pa.Table) -> list[Unit]:
    """Return the units of a table that `units_table` returned, in its order."""
    return [Unit(**row) for row in table.select(UNIT_SCHEMA.names).to_pylist()]
