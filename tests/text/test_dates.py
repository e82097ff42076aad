from __future__ import annotations

from datetime import date

import pytest

from pipelines.text.dates import DayOrder, day_order, find_dates
from pipelines.text.numbers import ascii_digits

MARCH = date(2024, 3, 1)


@pytest.mark.parametrize(
    "words",
    [
        "2024-03-01", "2024/3/1", "1 March 2024", "March 1, 2024", "Mar. 1st, 2024", "1 MAR 2024",
        "01-Mar-2024", "1-MAR-24", "the 1st day of March, 2024", "first day of March 2024",
        "March the first, 2024", "1. März 2024", "1er mars 2024", "1 de marzo de 2024",
        "1 marzo 2024", "1 de março de 2024", "1 maart 2024", "1 mars 2024",
        "1 marca 2024", "1. března 2024", "1. maaliskuuta 2024", "1 марта 2024", "01.03.2024",
        "2024年3月1日", "２０２４年３月１日", "二〇二四年三月一日", "令和6年3月1日",
        "2024년 3월 1일", "民國113年3月1日",
    ],
)  # fmt: skip
def test_a_date_is_read_in_every_format(words: str) -> None:
    text = ascii_digits(f"It is due on {words}.")
    assert [day for _, _, day in find_dates(text, DayOrder.UNCLEAR)] == [MARCH]


def test_a_date_has_its_place() -> None:
    text = "Signed on the 18th day of April, 2001, in Bonn."
    assert [(text[s:e], day) for s, e, day in find_dates(text, DayOrder.UNCLEAR)] == [
        ("18th day of April, 2001", date(2001, 4, 18))
    ]


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("Dates are day/month/year.", DayOrder.DAY_FIRST),
        ("(MM/DD/YYYY)", DayOrder.MONTH_FIRST),
        ("28/2/2023", DayOrder.DAY_FIRST),
        ("2/28/2023", DayOrder.MONTH_FIRST),
        ("2/28/2023 and 28/2/2023", DayOrder.UNCLEAR),
        ("3/4/2023", DayOrder.UNCLEAR),
    ],
)
def test_a_document_tells_its_order_of_day_and_month(text: str, order: DayOrder) -> None:
    assert day_order(text) is order


def test_a_date_with_an_unclear_order_is_left_out() -> None:
    assert find_dates("signed 3/4/2023", DayOrder.UNCLEAR) == []
    assert find_dates("signed 3/4/2023", DayOrder.DAY_FIRST)[0][2] == date(2023, 4, 3)
    assert find_dates("signed 3/4/2023", DayOrder.MONTH_FIRST)[0][2] == date(2023, 3, 4)
    assert find_dates("signed 4/4/2023", DayOrder.UNCLEAR)[0][2] == date(2023, 4, 4)


@pytest.mark.parametrize(
    "text", ["30 February 2024", "March 2024", "1.2.3", "13/13/2023", "11 March 20245"]
)
def test_other_texts_are_no_dates(text: str) -> None:
    assert find_dates(text, DayOrder.DAY_FIRST) == []
