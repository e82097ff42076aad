"""Recognizes numbers that are computed from the numbers of a passage.

A rounded number, a sum, a difference, a ratio or a rate of change stands nowhere in a text, and is
no error. Only a number of 3 or more significant digits is recognized: others result by chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal, DivisionByZero, InvalidOperation, localcontext
from itertools import permutations

from pipelines.text.numbers import value_key

_MIN_DIGITS = 3
_PERCENT = Decimal(100)


def is_computed(value: Decimal, numbers: Sequence[frozenset[Decimal]]) -> bool:
    """Return whether a number is computed from one or two numbers of a passage.

    It is if it is the rounded value of one of the numbers, or the rounded sum, difference, ratio or
    rate of change of two of them, also in per cent. Always False for a number of fewer than 3
    significant digits. `numbers` has for each number of the passage the values that it may have, as
    a spelling can be ambiguous. Takes quadratic time in their count.
    """
    if len(value_key(value)) < _MIN_DIGITS:
        return False
    exponent = value.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    with localcontext() as context:
        context.prec = 40
        return any(_rounds_to(result, value, exponent) for result in _results(numbers))


def _rounds_to(result: Decimal, value: Decimal, exponent: int) -> bool:
    unit = Decimal(1).scaleb(exponent)
    return abs(result - value) * 2 <= unit


def _results(numbers: Sequence[frozenset[Decimal]]) -> Iterator[Decimal]:
    for values in numbers:
        yield from values
    for first, second in permutations(numbers, 2):
        for a in first:
            for b in second:
                yield a + b
                yield a - b
                try:
                    yield a / b
                    yield a / b * _PERCENT
                    yield (a - b) / b
                    yield (a - b) / b * _PERCENT
                except (DivisionByZero, InvalidOperation):
                    continue
