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

Numbers = npt.NDArray[np.float64]
"""A number for each document."""
_Z = 1.959963984540054
"""The number of standard errors of a 95 % interval."""
PERMUTATIONS = 9_999
"""The random permutations of a test; the smallest p-value is 1 / 10,000."""
_SEED = 20_000
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


class Test(StrEnum):
    """A test of significance of the difference between two results on the same documents.

    - MCNEMAR: McNemar's exact test, for one value in each document, which is right or wrong.
    - PERMUTATION: a paired permutation test of the figure, for anything else.
    """

    # pytest collects classes that begin with Test
    __test__ = False

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
    test: Test
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


def ratio(parts: Numbers, wholes: Numbers) -> Figure | None:
    """Return the sum of `parts` divided by that of `wholes`, with its interval; None without any.

    Both have a number for each document, and a part is at most its whole. The interval is Wilson's
    with the number of documents that would give the same variance if each had one independent
    value; the variance is that of a ratio of sums over documents. For one value in each document it
    is Wilson's interval itself.
    """
    whole = float(wholes.sum())
    if whole == 0:
        return None
    value = float(parts.sum()) / whole
    variance = float(((parts - value * wholes) ** 2).sum()) / whole**2
    count = float(np.count_nonzero(wholes))
    # without a single error, or with errors only, the documents show no variance
    size = value * (1 - value) / variance if variance > 1e-15 and 0 < value < 1 else count
    return Figure(value, *_wilson(value, size))


def _wilson(value: float, size: float) -> tuple[float, float]:
    middle = (value + _Z**2 / (2 * size)) / (1 + _Z**2 / size)
    half = (
        _Z
        / (1 + _Z**2 / size)
        * math.sqrt(max(0.0, value * (1 - value) / size + _Z**2 / (4 * size**2)))
    )
    return max(0.0, min(value, middle - half)), min(1.0, max(value, middle + half))


@dataclass(frozen=True, slots=True)
class Paired:
    """The parts and wholes of a ratio, as for `ratio`, of two results on the same documents."""

    parts: Numbers
    wholes: Numbers
    other_parts: Numbers
    other_wholes: Numbers


def difference(paired: Paired, *, single: bool) -> Difference | None:
    """Return the difference of the ratios of two results, and its significance.

    With `single`, each document has one value, which is right or wrong: parts are then 0 or 1, and
    wholes 1. Returns None if a ratio does not exist.
    """
    if not paired.wholes.sum() or not paired.other_wholes.sum():
        return None
    better, worse = _better_and_worse(paired)
    if single:
        p, test = mcnemar(better, worse), Test.MCNEMAR
    else:
        p, test = permutation(paired), Test.PERMUTATION
    return Difference(_difference_figure(paired), p, test, better, worse)


def _better_and_worse(paired: Paired) -> tuple[int, int]:
    """Return in how many documents the first result is better than the second, and worse."""
    one = _share(paired.parts, paired.wholes)
    other = _share(paired.other_parts, paired.other_wholes)
    return int((one > other).sum()), int((one < other).sum())


def _share(parts: Numbers, wholes: Numbers) -> Numbers:
    """Return the ratio of each document; 1 for one in which nothing was to be found or given."""
    return np.divide(parts, wholes, out=np.ones(len(parts)), where=wholes != 0)


def _difference_figure(paired: Paired) -> Figure:
    """Return the difference with its interval, from the variance of both ratios together."""
    whole, other_whole = paired.wholes.sum(), paired.other_wholes.sum()
    value, other = paired.parts.sum() / whole, paired.other_parts.sum() / other_whole
    errors = (paired.parts - value * paired.wholes) / whole
    errors -= (paired.other_parts - other * paired.other_wholes) / other_whole
    half = _Z * math.sqrt(float((errors**2).sum()))
    middle = float(value - other)
    return Figure(middle, max(-1.0, middle - half), min(1.0, middle + half))


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


def permutation(paired: Paired, permutations: int = PERMUTATIONS) -> float:
    """Return the two-sided p-value of a paired permutation test of two ratios.

    Each permutation exchanges the results of a random half of the documents. The p-value is the
    share of permutations, the given order included, whose difference is at least as large. The
    random numbers are the same each time.
    """
    deltas = np.stack([paired.other_parts - paired.parts, paired.other_wholes - paired.wholes])
    changed = np.flatnonzero(deltas.any(axis=0))
    moved = np.zeros((2, permutations))
    random = np.random.default_rng(_SEED)
    for start in range(0, len(changed), _ROWS_AT_ONCE):
        some = deltas[:, changed[start : start + _ROWS_AT_ONCE]]
        exchanged = random.integers(0, 2, (some.shape[1], permutations), np.int8)
        moved += some @ exchanged
    sums = (paired.parts.sum(), paired.wholes.sum())
    others = (paired.other_parts.sum(), paired.other_wholes.sum())
    differences = _ratios(sums[0] + moved[0], sums[1] + moved[1])
    differences -= _ratios(others[0] - moved[0], others[1] - moved[1])
    observed = abs(sums[0] / sums[1] - others[0] / others[1])
    # rounding must not tell equal differences apart
    extreme = int((np.abs(differences) >= observed - 1e-9).sum())
    return (1 + extreme) / (1 + permutations)


def _ratios(parts: Numbers, wholes: Numbers) -> Numbers:
    return np.divide(parts, wholes, out=np.zeros(len(parts)), where=wholes > 1e-12)
