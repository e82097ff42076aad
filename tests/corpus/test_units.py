"""Rows become units of about equal cost; nothing is left out; the order is the costliest first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.corpus import units
from pipelines.corpus.units import (
    Unit,
    UnitSplitter,
    costliest_first,
    number_units,
    units_of,
    units_table,
)

UNIT = Unit(-1, "short", "f", 0, 3, 90, 40, 1.5, "ids")
# whole numbers, so that a sum does not depend on its order
COSTS = st.lists(st.integers(0, 20), max_size=80)


def cut(batches: list[list[int]], target: float, size_bytes: int = 1) -> list[list[int]]:
    """The units that a cutter makes of batches of costs, the last one perhaps unfinished."""
    cutter = UnitSplitter(target)
    made: list[list[int]] = [[]]
    for batch in batches:
        seconds = np.array(batch, dtype=np.float64)
        start = 0
        for end in cutter.add(seconds, np.full(len(batch), size_bytes, dtype=np.int64)):
            made[-1] += batch[start:end]
            made.append([])
            start = end
        made[-1] += batch[start:]
    return made


@given(st.lists(COSTS, max_size=6), st.integers(1, 60))
def test_every_row_is_in_one_unit_of_about_the_target(
    batches: list[list[int]], target: int
) -> None:
    made = cut(batches, target)
    assert [cost for unit in made for cost in unit] == [cost for batch in batches for cost in batch]
    for unit in made[:-1]:
        assert sum(unit) >= target
        assert sum(unit[:-1]) < target
    assert sum(made[-1]) < target


@given(COSTS, st.integers(0, 80), st.integers(1, 60))
def test_cuts_do_not_depend_on_how_rows_are_read(costs: list[int], at: int, target: int) -> None:
    assert cut([costs], target) == cut([costs[:at], costs[at:]], target)


def test_rows_without_cost_are_bounded_by_their_number() -> None:
    made = cut([[0] * 30_000, [0] * 15_000], 30.0)
    assert [len(unit) for unit in made] == [20_000, 20_000, 5_000]


def test_bytes_bound_a_unit_whatever_it_costs() -> None:
    made = cut([[0] * 10], 30.0, size_bytes=units.MAX_UNIT_BYTES // 4)
    assert [len(unit) for unit in made] == [4, 4, 2]


def test_the_three_bounds_do_not_add_up() -> None:
    half = units.MAX_UNIT_BYTES // 2 + 1
    assert [len(unit) for unit in cut([[0, 9, 9]], 10.0, half)] == [2, 1]
    assert [len(unit) for unit in cut([[9, 0, 0]], 10.0, 1)] == [3]


def test_units_are_numbered_by_file_and_row_group() -> None:
    places = [("b", 1), ("a", 1), ("b", 0)]
    found = [replace(UNIT, file=file, row_group=group) for file, group in places]
    numbered = number_units(found, 7)
    assert [(unit.number, unit.file, unit.row_group) for unit in numbered] == [
        (7, "a", 1),
        (8, "b", 0),
        (9, "b", 1),
    ]


def test_the_costliest_unit_runs_first() -> None:
    found = [
        replace(UNIT, number=n, seconds=s) for n, s in ((0, 1.0), (1, 9.0), (2, 9.0), (3, 5.0))
    ]
    assert [unit.number for unit in costliest_first(found)] == [1, 2, 3, 0]


def test_units_survive_their_table() -> None:
    found = [replace(UNIT, number=number) for number in range(3)]
    table = units_table(found, {"key": "value"})
    assert units_of(table) == found
    assert table.schema.metadata == {b"key": b"value"}
    assert units_of(units_table([], {})) == []
