"""The kinds of value that an answer can state: words, a date, a number or a duration."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from pipelines.text.durations import Duration


@dataclass(frozen=True, slots=True)
class Words:
    """A statement that is text, not a date, number or duration.

    Texts are the same statement regardless of case, punctuation and legal forms such as "Inc.".
    """

    text: str


class Money(Decimal):
    """A number with a currency or with `%` that an answer states; make it with `of`.

    In the document, the number is found with one of these currencies or with none.

    Attributes:
        currencies: the currencies that it may have, such as those that use the sign `$`; `%` alone
            for per cent.
    """

    currencies: frozenset[str] = frozenset()

    @classmethod
    def of(cls, value: Decimal, currencies: frozenset[str]) -> Money:
        """Return the number `value` with the currencies that it may have, at least one."""
        money = cls(value)
        money.currencies = currencies
        return money


class Measure(Decimal):
    """A number with a unit such as `kg` that an answer states; make it with `of`.

    In the document, the number is found with this unit or with none.

    Attributes:
        unit: the unit, as `units.unit_at` returns it.
    """

    unit: str = ""

    @classmethod
    def of(cls, value: Decimal, unit: str) -> Measure:
        """Return the number `value` with its unit."""
        measure = cls(value)
        measure.unit = unit
        return measure


@dataclass(frozen=True, slots=True)
class Moment:
    """A date, with the time `HH:MM:SS` if it has one other than midnight."""

    day: date
    time: str | None = None


Statement = Words | Moment | Decimal | Duration
"""The meaning of a value, whatever its spelling: words, a date, a number or a duration."""
