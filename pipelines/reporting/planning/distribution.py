"""The lengths of a corpus's documents as counts by length: what every estimate is computed from.

A million documents have some ten thousand different lengths, so estimates take milliseconds. Pure
functions of arrays; lengths are in tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
"""One whole number for each different length."""
FloatArray = npt.NDArray[np.float64]
"""One number for each different length."""


@dataclass(frozen=True)
class LengthCounts:
    """How many documents have which length, in tokens.

    `lengths` are the different lengths in ascending order, and `counts` the numbers of documents of
    each; with a sample, numbers scaled to the corpus, which need not be whole.
    """

    lengths: IntArray
    counts: FloatArray

    @classmethod
    def of(cls, lengths: Iterable[int] | IntArray) -> LengthCounts:
        """Return the counts of documents with these lengths."""
        values, counts = np.unique(np.asarray(lengths, dtype=np.int64), return_counts=True)
        return cls(values, counts.astype(np.float64))

    def __add__(self, other: LengthCounts) -> LengthCounts:
        lengths, at = np.unique(np.concatenate([self.lengths, other.lengths]), return_inverse=True)
        counts = np.zeros(len(lengths))
        np.add.at(counts, at, np.concatenate([self.counts, other.counts]))
        return LengthCounts(lengths, counts)

    def times(self, factor: float) -> LengthCounts:
        """Return the counts multiplied by a number."""
        return LengthCounts(self.lengths, self.counts * factor)

    def where(self, chosen: npt.NDArray[np.bool_]) -> LengthCounts:
        """Return the counts of the lengths that are chosen."""
        return LengthCounts(self.lengths[chosen], self.counts[chosen])

    @property
    def documents(self) -> float:
        """The number of documents."""
        return float(self.counts.sum())

    @property
    def tokens(self) -> float:
        """The number of tokens of all documents together."""
        return float((self.lengths * self.counts).sum())

    def quantile(self, share: float) -> int:
        """Return the length that `share` of the documents do not exceed; 0 without documents."""
        if not len(self.lengths):
            return 0
        up_to = np.cumsum(self.counts)
        at = int(np.searchsorted(up_to, share * up_to[-1] * (1 - 1e-12)))
        return int(self.lengths[min(at, len(self.lengths) - 1)])


NO_LENGTHS = LengthCounts(np.empty(0, np.int64), np.empty(0))
"""The counts of no documents."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a histogram: the documents of `low` to `high` tokens, both included."""

    low: int
    high: int
    documents: float


def histogram(counts: LengthCounts) -> Sequence[Bar]:
    """Return the bars of a histogram whose bounds are powers of two, without empty bars at the
    ends. Lengths of 0 and 1 share a bar."""
    if not len(counts.lengths):
        return ()
    exponents = np.floor(np.log2(np.maximum(counts.lengths, 1))).astype(int)
    return tuple(
        Bar(
            0 if exponent == 0 else 2**exponent,
            2 ** (exponent + 1) - 1,
            float(counts.counts[exponents == exponent].sum()),
        )
        for exponent in range(int(exponents.min()), int(exponents.max()) + 1)
    )
