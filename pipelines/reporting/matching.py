"""The best assignment of the items of two lists to each other.

Knows items as sets of values; knows nothing of schemas, gold or answers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_matrix

Pair = tuple[int | None, int | None]
"""The indices of an item in two lists; None for an item without a counterpart in the other list."""
Values = frozenset[Hashable]
# More items than any answer has, of which no two are equal; their assignment takes a second or two.
_MAX_ASSIGNED = 2000


def best_pairs(
    some: Sequence[Iterable[Hashable]], others: Sequence[Iterable[Hashable]]
) -> list[Pair]:
    """Pair the items of two lists, so that pairs have as many equal values in common as possible.

    Each item is given by its values, with repetitions. Items of a pair have at least one value in
    common. Returns all pairs, and each other item alone, in the order of the first list and then of
    the second. Of the items without an equal one, only the first 2,000 of each list are compared.
    """
    first, second = [_values(item) for item in some], [_values(item) for item in others]
    pairs = _equal_pairs(first, second)
    left = [at for at in range(len(first)) if at not in pairs][:_MAX_ASSIGNED]
    used = set(pairs.values())
    right = [at for at in range(len(second)) if at not in used][:_MAX_ASSIGNED]
    pairs |= _assigned(first, left, second, right)
    used = set(pairs.values())
    alone: list[Pair] = [(None, at) for at in range(len(second)) if at not in used]
    return [*((at, pairs.get(at)) for at in range(len(first))), *alone]


def _values(item: Iterable[Hashable]) -> Values:
    """Return values as a set in which repeated ones are numbered."""
    counts = Counter(item)
    return frozenset((value, number) for value, count in counts.items() for number in range(count))


def _equal_pairs(first: Sequence[Values], second: Sequence[Values]) -> dict[int, int]:
    """Pair items that are equal. There is a best assignment that has all of these pairs."""
    places: defaultdict[Values, list[int]] = defaultdict(list)
    for at in reversed(range(len(second))):
        places[second[at]].append(at)
    return {
        at: places[values].pop() for at, values in enumerate(first) if values and places.get(values)
    }


def _assigned(
    first: Sequence[Values], left: Sequence[int], second: Sequence[Values], right: Sequence[int]
) -> dict[int, int]:
    """Return the best assignment of the items at the indices `left` to those at `right`."""
    if not left or not right:
        return {}
    numbers: dict[Hashable, int] = {}
    rows = [[numbers.setdefault(value, len(numbers)) for value in first[at]] for at in left]
    columns = [[numbers.setdefault(value, len(numbers)) for value in second[at]] for at in right]
    common = (_incidence(rows, len(numbers)) @ _incidence(columns, len(numbers)).T).toarray()
    return {left[row]: right[column] for row, column in _maximal(common) if common[row, column]}


def _maximal(common: Any) -> Iterator[tuple[int, int]]:
    rows, columns = linear_sum_assignment(common, maximize=True)
    yield from zip(rows.tolist(), columns.tolist(), strict=True)


def _incidence(rows: Sequence[Sequence[int]], width: int) -> Any:
    """Return a sparse matrix that has 1 where the item of a row has the value of a column."""
    ends = np.cumsum([0, *map(len, rows)])
    values = np.array([value for row in rows for value in row], np.int64)
    return csr_matrix((np.ones(len(values), np.int32), values, ends), shape=(len(rows), width))
