"""The best assignment of items, against all assignments of short lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.reporting.matching import best_pairs

ITEMS = st.lists(st.lists(st.sampled_from("abcd"), max_size=4), max_size=4)


def common(one: Sequence[str], other: Sequence[str]) -> int:
    return (Counter(one) & Counter(other)).total()


def most(some: Sequence[Sequence[str]], others: Sequence[Sequence[str]]) -> int:
    """The most equal values of any assignment, by trying all."""
    padded = [*others, *([] for _ in some)]
    return max(sum(map(common, some, chosen)) for chosen in permutations(padded, len(some)))


@given(ITEMS, ITEMS)
def test_pairs_have_as_many_values_in_common_as_any_assignment(
    some: list[list[str]], others: list[list[str]]
) -> None:
    pairs = best_pairs(some, others)
    both = [(x, y) for x, y in pairs if x is not None and y is not None]
    assert sum(common(some[x], others[y]) for x, y in both) == most(some, others)
    assert sorted(x for x, _ in pairs if x is not None) == list(range(len(some)))
    assert sorted(y for _, y in pairs if y is not None) == list(range(len(others)))


def test_items_without_a_common_value_stay_alone() -> None:
    assert best_pairs(["ab", "c"], ["bx", "y"]) == [(0, 0), (1, None), (None, 1)]


def test_equal_items_are_paired_one_by_one() -> None:
    assert best_pairs(["a", "a", "a"], ["a", "a"]) == [(0, 0), (1, 1), (2, None)]


def test_a_thousand_items_are_assigned() -> None:
    some = [[f"name {at}", f"size {at % 7}"] for at in range(1000)]
    others = [[f"name {at}", "size -"] for at in reversed(range(1000))]
    assert best_pairs(some, others) == [(at, 999 - at) for at in range(1000)]


@pytest.mark.parametrize("empty", [[], [[]]])
def test_an_empty_list_has_no_pairs(empty: list[list[str]]) -> None:
    assert all(None in pair for pair in best_pairs(empty, ["a"]))
