"""Cut indexed rows into units of about equal cost and one pool, and put them in order.

Pure: arrays and tables in, units out. Knows nothing of files, engines or Ray.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

SHORT, LONG = "short", "long"

# Bounds beside the cost, so that a unit's rows fit a worker's memory whatever the model.
MAX_UNIT_ROWS = 20_000
MAX_UNIT_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Unit:
    """Documents of one pool: one row group of a file that the index wrote.

    `seconds` is the engine time it should take, `prompt_tokens` what its prompts hold, `longest`
    the most tokens that one of its prompts takes with its answer, and `ids` the digest of its
    documents' ids.
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


@dataclass
class UnitSplitter:
    """Collects rows of one pool until they make a unit.

    `add` yields the row numbers (within the rows given to that call) before which to cut.
    """

    target_seconds: float
    _filled: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(3), init=False)

    def add(
        self, seconds: npt.NDArray[np.float64], size_bytes: npt.NDArray[np.int64]
    ) -> Iterator[int]:
        """A unit is full when its seconds, its bytes or its rows reach their bound."""
        rows = np.column_stack([seconds, size_bytes, np.ones(len(seconds))])
        bounds = np.array([self.target_seconds, MAX_UNIT_BYTES, MAX_UNIT_ROWS])
        start = 0
        while start < len(rows):
            filled = self._filled + np.cumsum(rows[start:], axis=0)
            full = np.flatnonzero((filled >= bounds).any(axis=1))
            if not len(full):
                self._filled = filled[-1]
                return
            self._filled = np.zeros(3)
            start += int(full[0]) + 1
            yield start


def number_units(units: Iterable[Unit], first: int) -> list[Unit]:
    """The units with their numbers from `first` on, in the order of file and row group."""
    ordered = sorted(units, key=lambda unit: (unit.file, unit.row_group))
    return [replace(unit, number=first + position) for position, unit in enumerate(ordered)]


def costliest_first(units: Iterable[Unit]) -> list[Unit]:
    """The order of running: the costliest first, so that none is left alone at the end."""
    return sorted(units, key=lambda unit: (-unit.seconds, unit.number))


def units_table(units: Sequence[Unit], metadata: Mapping[str, str]) -> pa.Table:
    rows = [{name: getattr(unit, name) for name in UNIT_SCHEMA.names} for unit in units]
    return pa.Table.from_pylist(rows, schema=UNIT_SCHEMA.with_metadata(dict(metadata)))


def units_of(table: pa.Table) -> list[Unit]:
    return [Unit(**row) for row in table.select(UNIT_SCHEMA.names).to_pylist()]
