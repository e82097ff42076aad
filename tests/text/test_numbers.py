from __future__ import annotations

from decimal import Decimal

import pytest

from pipelines.text.mentions import DocumentMentions
from pipelines.text.numbers import TOKEN, ascii_digits, is_telling
from pipelines.text.separators import Separators, separators_of


def places(value: str, text: str) -> list[str]:
    mentions = DocumentMentions(text).span(0, len(text))
    return [text[start:end] for start, end in mentions.numbers(Decimal(value))]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Net loss was $72,500 thousand in the year", "72500"),
        ("Net loss was $72,500 thousand in the year", "72500000"),
        ("it grew by 4.1% in May", "4.1"),
        ("it grew by 4.1% in May", "0.041"),
        ("it grew by 4.1 per cent", "0.041"),
        ("a spread of 50 basis points", "0.005"),
        ("Der Preis ist 1.234 Euro und nicht mehr", "1234"),
        ("Umsatz 1.234.567,89", "1234567.89"),
        ("Zins 3,75 % und Tilgung", "0.0375"),
        ("Total 1'234.50", "1234.50"),
        ("Rs. 12,34,567 only", "1234567"),
        ("le prix est de 12\u00a0345,50 EUR et les parts", "12345.50"),
        ("le prix est de 12 345 EUR et les parts", "12345"),
        ("budget 1\u202f234\u202f567", "1234567"),
        ("at -12 degrees", "-12"),
        ("at \N{MINUS SIGN}12 degrees", "-12"),
        ("profit -$1,200", "-1200"),
        ("Net loss (72,500) (61,200)", "-72500"),
        ("Net loss $(72,500)", "-72500"),
        ("a term of twelve (12) months", "12"),
        ("Five Thousand Dollars ($5,000) is due", "5000"),
        ("pages 10-12", "12"),
        ("$5m of cash", "5000000"),
        ("a loan of €2.5bn was", "2500000000"),
        ("1,2 Millionen Euro und der Rest", "1200000"),
        ("营收5000万元", "50000000"),
        ("売上高は３４５６円", "3456"),
        ("٣٤٥٦ دينار", "3456"),
        ("in FY2025 sales", "2025"),
        ("signed 28/2/2023", "2023"),
        ("one hundred and five thousand people", "105000"),
        ("twenty-five percent of it", "0.25"),
        ("共三百五十人", "350"),
        ("a rate of .5 here", "0.5"),
        ("(in thousands)\nNet loss 72,500 61,200\n", "72500000"),
        (
            "All amounts in millions unless otherwise stated.\n" + "x " * 9000 + "\nCash 31.5\n",
            "31500000",
        ),
        ("单位：万元\n净利润 1,250\n", "12500000"),
    ],
)  # fmt: skip
def test_a_number_stands_in_a_text_in_any_format(text: str, value: str) -> None:
    assert places(value, text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("at -12 degrees", "12"),
        ("at 12 degrees", "-12"),
        ("pages 10-12", "-12"),
        ("a term of twelve (12) months", "-12"),
        ("Net loss (72,500) (61,200)", "72500"),
        ("is due in full ($5,000) today", "-5000"),
        ("1.234", "1234"),
        ("1.234", "1.234"),
        ("Der Preis ist 1.234 Euro und nicht mehr", "1.234"),
        ("The price of the share was 1.234 dollars", "1234"),
        ("cells 12 345 of the table", "12345"),
        ("le prix est de 12 345 EUR et les parts", "345"),
        ("form F-12", "12"),
        ("call 555-123-4567", "4567"),
        ("at 12:30 today", "30"),
        ("signed 3/4/2023", "3"),
        ("due on 1 March 2024", "1"),
        ("version 1.2.3", "1.2"),
        ("number 007", "7"),
        ("(in thousands)\nThe 5,000 shares of the holders\n", "5000000"),
        ("(in thousands)\nA 1\n(in dollars)\nNet loss 72,500\n", "72500000"),
        ("a beam of 5 m and 3 mm", "5000000"),
        ("two three four", "9"),
    ],
)
def test_no_other_number_is_read(text: str, value: str) -> None:
    assert not places(value, text)


@pytest.mark.parametrize(
    ("text", "separators"),
    [
        ("1.234,50", Separators.COMMA),
        ("1,234.50", Separators.POINT),
        ("1.234.567", Separators.COMMA),
        ("$12.50", Separators.POINT),
        ("3,5 %", Separators.COMMA),
        ("1,234.50 and 1.234,50", Separators.UNCLEAR),
        ("el precio es de 1.234", Separators.UNCLEAR),
        ("共1,234元，其中包括现金和其他资产", Separators.POINT),
        ("der Preis und die Ware", Separators.COMMA),
        ("the price of the goods", Separators.POINT),
    ],
)
def test_a_document_tells_its_separators(text: str, separators: Separators) -> None:
    assert separators_of(text) is separators


@pytest.mark.parametrize(
    ("value", "telling"),
    [("7", False), ("999", False), ("2000", False), ("1250", True), ("72500", True),
     ("1234", True), ("0.041", False), ("12.345", True), ("1000000", False)],
)  # fmt: skip
def test_only_numbers_of_several_digits_prove_something(value: str, telling: bool) -> None:
    assert is_telling(Decimal(value)) is telling


def test_replaced_digits_keep_their_places() -> None:
    text = "a٣b３c（１２）％"
    assert ascii_digits(text) == "a3b3c(12)%"
    assert len(ascii_digits(text)) == len(text)
    assert [match[0] for match in TOKEN.finditer(ascii_digits(text))] == ["3", "3", "12"]
