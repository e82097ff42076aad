"""Values and quotes that stand in a text only at a first glance, and such that do stand there."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from pipelines.documents import EvidenceStatus
from pipelines.tasks.evidence import evidence_of_fields
from pipelines.text.quotes import QuoteFinder
from pipelines.text.search import DocumentSearch

TIME = {"format": "date-time"}
TABLE = "(in thousands)\nCash 5\n\n"


def _is_shown(value: Any, text: str, quote: str, schema: dict[str, Any] | None = None) -> bool:
    form = {"type": "object", "properties": {"v": schema or {}}}
    rows = evidence_of_fields({"v": value}, form, {"v": quote}, DocumentSearch(text), 0, len(text))
    return rows[0].status in (EvidenceStatus.SHOWN, EvidenceStatus.FOUND)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        # signs
        (-1234, "all the staff (1,234 people) in it"), (-12345, "The people of the town (12,345)."),
        (-1234, "The headcount (1,234) rose."), (12345, "minus 12,345 degrees"),
        (12345, "a loss of —12,345"), (12345, "Net loss (12,345\n) (11,234\n)"),
        # parts of numbers and of codes
        (1234, "about 1,234½ tons"), (1234, "about 1,234 1/2 tons"), (2345, "x = 1_2345"),
        (1.234, "about 1.234e5 tons of the thing, 12.50"), (12345, "code 12345A67"),
        (1.234, "about 1.234 x 10^5 tons, for the value of the thing"),
        (12345, "see example.com/12345 for it"), (1999, "call 555-1999 now"),
        (1999, "model X1999 here"), (23450000, "营收1亿2345万元"), (23450000, "매출 1억 2345만원"),
        (345000, "выручка 2 млн 345 тыс рублей"), (2345, "1\u200b2345 units"),
        (123456789012345678901234567900, "id 123456789012345678901234567890"),
        # scales of something else
        (1250000, "Le montant est de 12 000 EUR pour les parts\nTotal 1250\n"),
        (1250000, "Der Betrag ist 12'000 Franken und mehr\nTotal 1250\n"),
        (1250000, f"{TABLE}The company has employees numbering 1,250\nand they are happy."),
        (1250000, f"{TABLE}The number of employees was 1,250.\nNext."),
        (1234, "(in thousands, except per share data)\nNet income per share 1.234\n"),
        (1250000, "sold 1,250\n\nThousands of people"),
        # currencies
        ("$12,500", "pays €12,500 now"), ("12,500 EUR", "pays $12,500 now"),
        ("12.5%", "pays 0.125 EUR"),
        ("5%", "a margin of 5 bps"), ("12.5%", "12.5 basis points"), ("5 bps", "a margin of 5%"),
        # negations
        ("liable", "The tenant is not liable"), ("liable for damage", "is not liable for damage"),
        ("haftbar für Schäden", "Er ist nicht haftbar für Schäden"),
        ("responsable du dommage", "Il n’est pas responsable du dommage"),
        # units
        ("5 kg", "it weighs 5 g"), ("5 kg", "it weighs 5 lb"), ("5 MW", "a plant of 5 GW"),
        ("12,500 kg", "loads of 12,500 lb"), ("12,500 km", "about 12,500 miles"),
        ("5 million kg", "about 5 million lbs"), ("10 AM", "at 10 PM"), ("5 MB", "5 Mb of it"),
        (3, "about three-quarters of it"), (2, "some two thirds of it"),
        # dates and times
        ("2024-03-15", "It was signed in 2024. March 15, 2025 is the deadline"),
        ("2023-03-31", "December 31, 2023 March 31, 2024\nCash 5 6"),
        ("2023-12-31", "1 January 2023 December 31, 2024"),
        ("2003-02-01", "install version 1.2.03 now"),
        ("2000-03-01", "On March 1, 2000 shares were issued"),
        # durations
        ("20 days", "within one hundred and twenty days"), ("5 years", "for twenty five years"),
        ("2 years", "for 1/2 years"), ("500 days", "for 1 500 days"), ("1 year", "for half a year"),
        ("6 months", "for one year and six months"), ("30 days", "within 30 business days"),
        ("30 business days", "within 30 days"),
        # names and addresses
        ("Ann Lee", "by Ann Lee-Smith"), ("Ann Lee", "by Mary-Ann Lee"),
        ("Ann Lee", "by Ann. Lee was absent"), ("Lee Bo", "Present: Ann Lee, Bo Kim"),
        ("Ann Lee", "Ann\n\nLee"), ("Ann O", "Ann O'Brien"), ("Unit 5", "in Unit 5A here"),
        ("Acme Widgets Inc.", "by Acme Widgets Holdings Ltd here"),
        ("Müller Bau GmbH", "die Müller Bau GmbH & Co. KG zahlt"),
        ("john.doe@x.com", "mail john_doe@x.com"), ("john-doe@x.com", "mail johndoe@x.com"),
        ("doe@x.com", "mail john.doe@x.com now"), ("C++ code", "some C code here"),
        ("liable party", "non-liable party"),
    ],
)  # fmt: skip
def test_another_value_is_neither_shown_nor_found(value: Any, text: str) -> None:
    assert not _is_shown(value, text, "")
    assert not _is_shown(value, text, text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234, "all the staff (1,234 people) in it"), (-12345, "minus 12,345 degrees"),
        (-12345, "Net loss $ (12,345\n) (11,234\n)"), (1998, "in 1997-1998"), (2025, "FY2025"),
        (123456789012345678901234567890, "id 123456789012345678901234567890"),
        ("$12,500", "pays 12,500 dollars now"), ("€12,500", "pays 12,500 EUR now"),
        ("$12,500", "Fee 12,500"), ("2024-03-31", "December 31, 2023 March 31, 2024\nCash 5 6"),
        ("120 days", "within one hundred and twenty days"),
        ("120 days", "within one hundred twenty (120) days"),
        ("18 months", "for one year and six months"), ("P1Y6M", "one year and six months"),
        ("18 months", "a year and a half"), ("1200 days", "for 1,200 days"),
        ("30 business days", "within thirty (30) business days"), ("2 years", "of 1-2 years"),
        ("Acme Widgets, Incorporated", "by Acme Widgets Inc here"), ("Ann Lee", "d'Ann Lee"),
        ("John Smith Jr.", "by John Smith, Jr. and"), ("Dr. Ann Lee", "by Dr Ann Lee"),
        ("J. R. Smith", "by J.R. Smith"), ("St Louis Bank", "by St. Louis Bank"),
        ("john.doe@x.com", "mail John.Doe@x.com."), ("+1 555 123-4567", "call +1 (555) 123-4567"),
    ],
)  # fmt: skip
def test_the_same_value_is_shown(value: Any, text: str) -> None:
    assert _is_shown(value, text, text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1 March 2024, 09:30", True),
        ("1 March 2024, 9:30 a.m.", True),
        ("1 March 2024, 09:30 PM", False),
        ("1 March 2024, 09:30:45", False),
        ("1 March 2024. " + "x " * 200 + "lunch at 09:30", False),
    ],
)
def test_a_time_stands_beside_its_date(text: str, shown: bool) -> None:
    assert _is_shown("2024-03-01T09:30:00", text, text, TIME) is shown


@pytest.mark.parametrize(
    ("quote", "text"),
    [
        ("営業利益 12,345 百万円", "今期の営業利益 △12,345 百万円でした"),
        ("■ Yes □ No to all", "□ Yes ■ No to all"),
        ("if (ready) start the engine", "if (!ready) start the engine"),
        ("when a = b holds for all", "when a != b holds for all"),
        ("y = x and more text", "y = -x and more text"),
        ("result of EUR 5 million", "result of -EUR 5 million"),
        ("ready flag is set", "not_ready flag is set"),
        ("the max_size", "the max_size_bytes"),
        ("signed by Ann Lee", "signed by Ann Lee-Smith today"),
        ("義務を履行", "乙は義務を履行しない。"),
        ("料金を支払", "乙は料金を支払わない。"),
        ("The tenant shall pay the rent", "The tenant shall\nnot\n\fpay the rent. It is\nnot\nso"),
        ("Rent is due on time", "Rent is <not> due on time"),
        # negations beside the quote
        ("liable for damage", "The tenant is not liable for damage"),
        ("to pay", "agrees never to pay"),
        ("have to pay", "He doesn’t have to pay"),
        ("fee is due", "If no fee is due"),
        ("Der Mieter haftet", "Der Mieter haftet nicht"),
        ("Haftung", "Es gibt keine Haftung"),
        ("versé le loyer", "Il n’a pas versé le loyer"),
        ("pagará", "El señor no pagará"),
        ("pagará a multa", "Ela não pagará a multa"),
        ("verserà", "La società non verserà"),
        ("обязано", "Общество не обязано"),
        ("θα καταβάλει", "Η εταιρεία δεν θα καταβάλει"),
        ("yükümlü", "Yılmaz yükümlü değildir"),
        ("zapłaci", "Spółka nie zapłaci"),
        ("phải trả", "Ông Ấn không phải trả"),
        ("تدفع", "شركة لن تدفع"),
        ("תשלם", "חברה לא תשלם"),
        ("betalen", "De huurder zal niet betalen"),
        ("the buyer", "neither the seller nor the buyer"),
        # signs and scales of numbers
        ("growth of ▲5 points", "growth of ▼5 points"),
        ("about 1e5 cells", "about 1e-5 cells"),
        ("5 mg/l is the limit", "<5 mg/l is the limit"),
        ("10 years", "in ≥ 10 years"),
        ("a fee of 5", "a fee of 5 million EUR"),
        ("a fee of 5", "a fee of 5 Mio. EUR"),
        ("费用为5", "费用为5万元"),
        ("手数料は5", "手数料は5億円です"),
        ("плата 5", "плата 5 млн рублей"),
    ],
)
def test_a_quote_that_says_something_else_does_not_verify(quote: str, text: str) -> None:
    assert not any(passage.verified for passage in QuoteFinder(text).find(quote))


@pytest.mark.parametrize(
    ("quote", "text"),
    [
        ("5 mg a day", "<b>5 mg a day</b>"), ("5 mg a day", "> 5 mg a day"),
        ("5 mg a day", "it is -> 5 mg a day"), ("a fee of 5 million", "a fee of 5 million EUR"),
        ("about 1e-5 cells", "about 1e−5 cells"), ("it rains", "whether or not it rains"),
        ("prazo de 30 dias", "paga no prazo de 30 dias em mora"),
        ("Hansen AG", "Paid: No   Hansen AG"), ("the tenant pays", "If not, the tenant pays"),
        ("growth of ▲5 points", "growth of △ 5 points"),
    ],
)  # fmt: skip
def test_a_quote_that_says_the_same_verifies(quote: str, text: str) -> None:
    assert any(passage.verified for passage in QuoteFinder(text).find(quote))


def test_bullets_are_no_boxes() -> None:
    text = "We sell: ■ apples of Kent ■ pears of Kent"
    assert QuoteFinder(text).find("apples of Kent pears of Kent")[0].verified


@pytest.mark.parametrize(
    "text", ["'2000 ' * 200_000", "'123 ' * 250_000", "'一' * 10**6", "'one ' + 'hundred ' * 10**5"]
)
def test_a_text_of_numbers_takes_little_time(text: str) -> None:
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (20, 20))\n"
        "from decimal import Decimal; from datetime import date; from fractions import Fraction\n"
        "from pipelines.text.mentions import DocumentMentions\n"
        f"text = {text}; mentions = DocumentMentions(text).span(0, len(text))\n"
        "mentions.numbers(Decimal(7777)); mentions.dates(date(2019, 3, 1))\n"
        "mentions.durations(('hours', Fraction(5)))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
