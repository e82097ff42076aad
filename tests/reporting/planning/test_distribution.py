"""Tests of the counts of documents by length, against lists of lengths."""

from __future__ import annotations

import numpy as np

from pipelines.reporting.planning.distribution import NO_LENGTHS, Bar, LengthCounts, histogram

COUNTS = LengthCounts.of([5, 1, 5, 100])


def test_counts_are_those_of_the_list() -> None:
    assert COUNTS.lengths.tolist() == [1, 5, 100] and COUNTS.counts.tolist() == [1, 2, 1]
    assert (COUNTS.documents, COUNTS.tokens) == (4, 111)
    assert NO_LENGTHS.documents == NO_LENGTHS.tokens == NO_LENGTHS.quantile(0.5) == 0


def test_sums_and_multiples_are_those_of_longer_lists() -> None:
    total = COUNTS + LengthCounts.of([5, 7])
    assert total.lengths.tolist() == [1, 5, 7, 100] and total.counts.tolist() == [1, 3, 1, 1]
    assert COUNTS.times(2.5).documents == 10
    assert COUNTS.where(np.array([True, False, True])).tokens == 101


def test_quantiles_are_lengths_that_a_share_of_the_documents_does_not_exceed() -> None:
    hundred = LengthCounts.of(range(1, 101))
    assert [hundred.quantile(share) for share in (0.01, 0.5, 0.9, 1.0)] == [1, 50, 90, 100]


def test_a_histogram_has_powers_of_two_as_bounds_and_no_gaps() -> None:
    assert histogram(LengthCounts.of([0, 1, 2, 3, 8, 15])) == (
        Bar(0, 1, 2.0), Bar(2, 3, 2.0), Bar(4, 7, 0.0), Bar(8, 15, 2.0),
    )  # fmt: skip
    assert histogram(NO_LENGTHS) == ()
