"""Intervals and tests, against values computed by hand and against all permutations."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.reporting.significance import Method, PairedSums, RatioSums, mcnemar


def ratio(parts: list[float], wholes: list[float]) -> RatioSums:
    sums = RatioSums()
    for start in range(0, len(parts), 3):
        sums.add(np.array(parts[start : start + 3]), np.array(wholes[start : start + 3]))
    return sums


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [
        # Wilson's interval: (p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)
        (49, 49, 0.9273, 1.0),
        (0, 10, 0.0, 0.2775),
        (81, 263, 0.2553, 0.3662),
    ],
)
def test_the_interval_of_single_values_is_wilsons(
    right: int, total: int, low: float, high: float
) -> None:
    values = [1.0] * right + [0.0] * (total - right)
    for sums in (ratio(values, [1.0] * total), RatioSums.of_counts(right, total)):
        assert sums.figure is not None
        assert sums.figure.value == pytest.approx(right / total)
        assert sums.figure.low == pytest.approx(low, abs=1e-4)
        assert sums.figure.high == pytest.approx(high, abs=1e-4)


def test_values_of_one_document_do_not_narrow_the_interval() -> None:
    single = ratio([1.0, 0.0, 1.0, 1.0], [1.0] * 4).figure
    repeated = ratio([9.0, 0.0, 9.0, 9.0], [9.0] * 4).figure
    assert single is not None and repeated is not None
    assert repeated.low == pytest.approx(single.low)
    assert repeated.high == pytest.approx(single.high)


def test_a_ratio_without_a_whole_does_not_exist() -> None:
    assert ratio([0.0, 0.0], [0.0, 0.0]).figure is None


@pytest.mark.parametrize(
    ("better", "worse", "p"),
    [
        (0, 0, 1.0),
        (5, 0, 2 / 2**5),
        # 2 * (1 + 9) / 2**9
        (1, 8, 20 / 512),
        (4, 4, 1.0),
    ],
)
def test_mcnemars_p_value_is_that_of_the_binomial_distribution(
    better: int, worse: int, p: float
) -> None:
    assert mcnemar(better, worse) == pytest.approx(p)


def paired(rows: list[tuple[int, int, int, int]], *, single: bool = False) -> PairedSums:
    sums = PairedSums(single=single)
    for start in range(0, len(rows), 2):
        sums.add(*np.array(rows[start : start + 2], float).T)
    return sums


def test_single_values_are_tested_by_mcnemars_test() -> None:
    rows = [(1, 1, 0, 1)] * 5 + [(1, 1, 1, 1)] * 4
    found = paired(rows, single=True).difference
    assert found is not None
    assert (found.test, found.better, found.worse) == (Method.MCNEMAR, 5, 0)
    assert found.p == pytest.approx(2 / 32)
    assert found.figure.value == pytest.approx(5 / 9)


ROW = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)).map(
    lambda x: (min(x[:2]), max(x[:2]), min(x[2:]), max(x[2:]))
)


def exact_p(rows: list[tuple[int, int, int, int]]) -> Fraction | None:
    """The share of all exchanges whose difference is at least as large as the observed one."""
    differences = []
    for exchanged in product((False, True), repeat=len(rows)):
        sums = [0, 0, 0, 0]
        for (a, b, c, d), other in zip(rows, exchanged, strict=True):
            for at, value in enumerate((c, d, a, b) if other else (a, b, c, d)):
                sums[at] += value
        one = Fraction(sums[0], sums[1]) if sums[1] else Fraction(0)
        two = Fraction(sums[2], sums[3]) if sums[3] else Fraction(0)
        differences.append(abs(one - two))
        if not any(exchanged) and not (sums[1] and sums[3]):
            return None
    return Fraction(sum(each >= differences[0] for each in differences), len(differences))


@settings(max_examples=25)
@given(st.lists(ROW, min_size=1, max_size=7))
def test_the_permutation_test_agrees_with_all_permutations(
    rows: list[tuple[int, int, int, int]],
) -> None:
    found, expected = paired(rows).difference, exact_p(rows)
    if expected is None:
        assert found is None
    else:
        assert found is not None and found.test is Method.PERMUTATION
        # four standard errors of a share of 9,999 random permutations
        assert found.p == pytest.approx(float(expected), abs=0.02)


def test_the_permutation_test_has_the_same_result_each_time() -> None:
    rows = [(at % 3, 3, at % 2, 3) for at in range(40)]
    first, second = paired(rows).difference, paired(rows).difference
    assert first == second


def test_the_interval_of_a_difference_contains_it_and_covers_equal_results() -> None:
    rows = [(1, 1, 0, 1), (0, 1, 1, 1), (1, 1, 1, 1), (0, 1, 0, 1)] * 10
    found = paired(rows).difference
    assert found is not None
    # errors of the documents: 1, -1, 0, 0; their standard error is sqrt(20) / 40
    assert found.figure.value == 0
    assert found.figure.high == pytest.approx(1.96 * 20**0.5 / 40, abs=1e-3)
