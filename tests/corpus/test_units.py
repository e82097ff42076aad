"""Every row is in one unit, units cost about the same, and the costliest runs first."""

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
# integers, so that a sum does not depend on its order
COSTS = st.lists(st.integers(0, 20), max_size=80)


def cut(batches: list[list[int]], target: float, size_bytes: int = 1) -> list[list[int]]:
    """Return the units into which batches of costs are cut; the last one may be unfinished."""
    splitter = UnitSplitter(target)
    units_of_costs: list[list[int]] = [[]]
    for batch in batches:
        seconds = np.array(batch, dtype=np.float64)
        start = 0
        for end in splitter.add(seconds, np.full(len(batch), size_bytes, dtype=np.int64)):
            units_of_costs[-1] += batch[start:end]
            units_of_costs.append([])
            start = end
        units_of_costs[-1] += batch[start:]
    return units_of_costs


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
    unnumbered = [replace(UNIT, file=file, row_group=group) for file, group in places]
    numbered = number_units(unnumbered, 7)
    assert [(unit.number, unit.file, unit.row_group) for unit in numbered] == [
        (7, "a", 1),
        (8, "b", 0),
        (9, "b", 1),
    ]


def test_the_costliest_unit_runs_first() -> None:
    costs = (1.0, 9.0, 9.0, 5.0)
    planned = [replace(UNIT, number=n, seconds=cost) for n, cost in enumerate(costs)]
    assert [unit.number for unit in costliest_first(planned)] == [1, 2, 3, 0]


def test_units_survive_their_table() -> None:
    written = [replace(UNIT, number=number) for number in range(3)]
    table = units_table(written, {"key": "value"})
    assert units_of(table) == written
    assert table.schema.metadata == {b"key": b"value"}
    assert units_of(units_table([], {})) == []
