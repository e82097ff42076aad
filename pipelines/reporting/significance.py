"""Confidence intervals, and tests whether two results differ by more than chance.

Documents are the units: values of one document are not independent. Pure; knows no fields.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]
"""A number for each document."""
_Z = 1.959963984540054
"""The number of standard errors of a 95 % interval."""
PERMUTATIONS = 9_999
"""The random permutations of a test; the smallest p-value is 1 / 10,000."""
_SEED = 20_000
_NO_VARIANCE = 1e-12
_ROWS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with the bounds of its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Return the figure as JSON values, rounded to six digits."""
        return {
            "value": round(self.value, 6),
            "low": round(self.low, 6),
            "high": round(self.high, 6),
        }


class Method(StrEnum):
    """A test of significance of the difference between two results on the same documents.

    - MCNEMAR: McNemar's exact test, for one value in each document, which is right or wrong.
    - PERMUTATION: a paired permutation test of the figure, for anything else.
    """

    MCNEMAR = "mcnemar_exact"
    PERMUTATION = "paired_permutation"


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference of a figure between two results, and its significance.

    `value` is that of the first result minus that of the second, with its 95 % interval; `p` the
    probability of a difference at least as large if both were equally good. `better` and `worse`
    are the numbers of documents in which the first result is better, and worse.
    """

    figure: Figure
    p: float
    test: Method
    better: int
    worse: int

    def to_json(self) -> dict[str, Any]:
        """Return the difference as JSON values."""
        return {
            **self.figure.to_json(),
            "p": round(self.p, 6),
            "test": self.test.value,
            "better": self.better,
            "worse": self.worse,
        }


class RatioSums:
    """A ratio of sums over documents: of `parts`, each at most its whole, to `wholes`.

    Documents are added in blocks; only sums are kept.
    """

    def __init__(self) -> None:
        self._sums = np.zeros(2)
        self._products = np.zeros((2, 2))
        self._count = 0

    def add(self, parts: Numbers, wholes: Numbers) -> None:
        """Add documents, with one part and one whole for each."""
        values = np.stack([parts, wholes]).astype(np.float64)
        self._sums += values.sum(axis=1)
        self._products += values @ values.T
        self._count += int(np.count_nonzero(wholes))

    @classmethod
    def of_counts(cls, right: int, total: int) -> RatioSums:
        """Return the ratio of `right` values to all of `total`, each of a document of its own."""
        sums = cls()
        sums._sums += (right, total)
        sums._products += ((right, right), (right, total))
        sums._count = total
        return sums

    @property
    def part(self) -> float:
        """Return the sum of all parts."""
        return float(self._sums[0])

    @property
    def whole(self) -> float:
        """Return the sum of all wholes."""
        return float(self._sums[1])

    @property
    def figure(self) -> Figure | None:
        """Return the ratio with its interval; None if the sum of wholes is 0.

        The interval is Wilson's with the number of documents that would give the same variance if
        each had one independent value; the variance is that of a ratio of sums over documents. For
        one value in each document it is Wilson's interval itself.
        """
        if not self.whole:
            return None
        value = self.part / self.whole
        weights = np.array([1.0, -value])
        variance = float(weights @ self._products @ weights) / self.whole**2
        # without a single error, or with errors only, the documents show no variance
        shown = 0 < value < 1 and variance > _NO_VARIANCE
        size = value * (1 - value) / variance if shown else float(self._count)
        return Figure(value, *_wilson(value, size))


def _wilson(value: float, size: float) -> tuple[float, float]:
    middle = (value + _Z**2 / (2 * size)) / (1 + _Z**2 / size)
    square = max(0.0, value * (1 - value) / size + _Z**2 / (4 * size**2))
    half = _Z / (1 + _Z**2 / size) * math.sqrt(square)
    return max(0.0, min(value, middle - half)), min(1.0, max(value, middle + half))


class PairedSums:
    """The ratios of two results on the same documents, which are added in blocks.

    With `single`, each document has one value, which is right or wrong: parts are then 0 or 1, and
    wholes 1.
    """

    def __init__(self, *, single: bool, permutations: int = PERMUTATIONS) -> None:
        self._single = single
        self._sums = np.zeros(4)
        self._products = np.zeros((4, 4))
        self._better = self._worse = 0
        self._moved = np.zeros((2, permutations))
        self._random = np.random.default_rng(_SEED)

    def add(
        self, parts: Numbers, wholes: Numbers, other_parts: Numbers, other_wholes: Numbers
    ) -> None:
        """Add documents, with the parts and wholes of the first result and of the other one."""
        values = np.stack([parts, wholes, other_parts, other_wholes]).astype(np.float64)
        self._sums += values.sum(axis=1)
        self._products += values @ values.T
        one, other = _share(values[0], values[1]), _share(values[2], values[3])
        self._better += int((one > other).sum())
        self._worse += int((one < other).sum())
        if not self._single:
            self._permute(values[2:] - values[:2])

    def _permute(self, deltas: Numbers) -> None:
        """Exchange the results of a random half of the documents, in each permutation anew."""
        changed = deltas[:, deltas.any(axis=0)]
        for start in range(0, changed.shape[1], _ROWS_AT_ONCE):
            some = changed[:, start : start + _ROWS_AT_ONCE]
            shape = (some.shape[1], self._moved.shape[1])
            self._moved += some @ self._random.integers(0, 2, shape, np.int8)

    @property
    def difference(self) -> Difference | None:
        """Return the difference of the ratios and its significance; None if one does not exist."""
        part, whole, other_part, other_whole = self._sums.tolist()
        if not whole or not other_whole:
            return None
        value, other = part / whole, other_part / other_whole
        weights = np.array([1 / whole, -value / whole, -1 / other_whole, other / other_whole])
        half = _Z * math.sqrt(max(0.0, float(weights @ self._products @ weights)))
        middle = value - other
        figure = Figure(middle, max(-1.0, middle - half), min(1.0, middle + half))
        if self._single:
            p, test = mcnemar(self._better, self._worse), Method.MCNEMAR
        else:
            p, test = self._permutation(), Method.PERMUTATION
        return Difference(figure, p, test, self._better, self._worse)

    def _permutation(self) -> float:
        """Return the share of permutations, the given order included, whose difference is at least
        as large as the observed one."""
        part, whole, other_part, other_whole = self._sums.tolist()
        differences = _ratios(part + self._moved[0], whole + self._moved[1])
        differences -= _ratios(other_part - self._moved[0], other_whole - self._moved[1])
        observed = abs(part / whole - other_part / other_whole)
        # rounding must not tell equal differences apart
        extreme = int((np.abs(differences) >= observed - 1e-9).sum())
        return (1 + extreme) / (1 + self._moved.shape[1])


def _ratios(parts: Numbers, wholes: Numbers) -> Numbers:
    return np.divide(parts, wholes, out=np.zeros(len(parts)), where=wholes > _NO_VARIANCE)


def _share(parts: Numbers, wholes: Numbers) -> Numbers:
    """Return the ratio of each document; 1 for one in which nothing was to be found or given."""
    return np.divide(parts, wholes, out=np.ones(len(parts)), where=wholes != 0)


def mcnemar(better: int, worse: int) -> float:
    """Return the two-sided p-value of McNemar's exact test.

    `better` and `worse` are the numbers of documents that only one of two results has right: the
    first, and the second. Under the hypothesis that both are equally good, either is as likely.
    """
    count, fewer = better + worse, min(better, worse)
    logs = [
        math.lgamma(count + 1) - math.lgamma(at + 1) - math.lgamma(count - at + 1)
        for at in range(fewer + 1)
    ]
    tail = math.fsum(math.exp(log - count * math.log(2)) for log in logs)
    return min(1.0, 2 * tail)
