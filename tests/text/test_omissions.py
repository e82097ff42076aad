"""Tests of quotes of which something is left out."""

from __future__ import annotations

import pytest

from pipelines.text.quotes import QuoteFinder
from pipelines.text.source import Passage


def _find(quote: str, text: str) -> list[str]:
    """Return the words of the passages, in parentheses if they are only similar."""
    return [
        text[found.start : found.end] if found.verified else f"({text[found.start : found.end]})"
        for found in QuoteFinder(text).find(quote)
    ]


def test_a_quote_with_an_omission_has_a_passage_for_each_part() -> None:
    text = "The lessee, a company of Oslo, pays the rent (in advance) to the lessor."
    for omission in ("...", " … ", " [...] ", " […] ", " (...) ", ". . ."):
        parts = _find(f"The lessee{omission}pays the rent{omission}to the lessor", text)
        assert parts == ["The lessee", "pays the rent", "to the lessor"]
    assert _find("... pays the rent", text) == ["pays the rent"]


def test_a_quote_with_an_omission_is_verified_only_if_all_parts_are_in_order() -> None:
    text = "The lessee pays the rent in advance to the lessor."
    assert _find("The lessee ... bananas and apples", text) == ["(The lessee)"]
    assert not any(
        passage.verified for passage in QuoteFinder(text).find("to the lessor ... pays the rent")
    )


# language, text, quote: what is left out within the sentence turns the meaning
TURNED = [
    ("en", "The lessee shall not pay the fee.", "The lessee shall ... pay the fee"),
    ("en", "The lessee shall, in no case, pay it.", "The lessee shall ... pay it"),
    ("en", "The lender didn't ever agree to pay.", "The lender ... agree to pay"),
    ("en", "He shall have no duty and shall pay.", "He shall ... shall pay"),
    ("en", "Due is a fee of 100 EUR and a deposit of 500 EUR.", "Due is a fee of ... 500 EUR"),
    ("en", "It sold 30 cars and twelve boats in 2019.", "It sold 30 ... boats in 2019"),
    ("en", "The lessor receives the rent and the lessee pays it.", "The lessor ... pays it"),
    ("en", "Hansen Bank receives a fee, and Jansen AG pays it.", "Hansen Bank ... pays it"),
    ("en", "It pays the fee to Jansen, and the rent to Lee.", "It pays the fee ... to Lee"),
    ("en", "Art. 5 of Acme Inc. The lessee shall not pay it.", "Acme Inc. The lessee ... pay it"),
    ("de", "Der Mieter haftet für Schäden nicht, zahlt sie.", "Der Mieter haftet ... zahlt sie"),
    ("de", "Der Mieter hat keine Pflicht zur Zahlung.", "Der Mieter hat ... Pflicht zur Zahlung"),
    ("fr", "Le preneur n’a pas versé le loyer.", "Le preneur ... versé le loyer"),
    ("es", "El señor Ibáñez no pagará la cuota.", "El señor Ibáñez ... pagará la cuota"),
    ("pt", "A empresa Conceição não pagará a multa.", "A empresa Conceição ... pagará a multa"),
    ("it", "La società non verserà il canone.", "La società ... verserà il canone"),
    ("nl", "De huurder zal de huur nooit betalen.", "De huurder zal ... betalen"),
    ("ru", "Общество «Ромашка» не обязано платить.", "Общество «Ромашка» ... обязано платить"),
    ("el", "Η εταιρεία Άλφα δεν θα καταβάλει.", "Η εταιρεία Άλφα ... θα καταβάλει"),
    ("tr", "Yılmaz bunu ödemez ve kirayı öder.", "Yılmaz bunu ... kirayı öder"),
    ("pl", "Spółka Wiśniewski nie zapłaci opłaty.", "Spółka Wiśniewski ... zapłaci opłaty"),
    ("vi", "Ông Nguyễn Văn Ấn không phải trả phí.", "Ông Nguyễn Văn Ấn ... phải trả phí"),
    ("ar", "شركة النخيل لن تدفع رسوم العقد.", "شركة النخيل ... تدفع رسوم العقد"),
    ("he", "חברת אלון לא תשלם עמלה.", "חברת אלון ... תשלם עמלה"),
    ("hi", "शर्मा कंपनी शुल्क नहीं अब वापस देगी।", "शर्मा कंपनी शुल्क ... वापस देगी"),
    ("th", "บริษัทสยามจะไม่มีวันชำระค่าธรรมเนียม", "บริษัทสยามจะ ... ชำระค่าธรรมเนียม"),
    ("zh", "安达公司在任何情况下都不得支付费用。", "安达公司在任何情况下……支付费用"),
    ("zh", "甲方收取租金，乙方支付租金。", "甲方……支付租金"),
    ("ja", "山田商事は返金をしないが手数料を支払う。", "山田商事は……手数料を支払う"),
    ("ko", "한강상사는 수수료를 내지 않고 물건을 받는다.", "한강상사는 ... 물건을 받는다"),
]


@pytest.mark.parametrize(("language", "text", "quote"), TURNED)
def test_an_omission_that_turns_the_meaning_is_only_similar(
    language: str, text: str, quote: str
) -> None:
    passages = QuoteFinder(f"{text} Other words follow.").find(quote)
    assert passages, language
    assert not any(passage.verified for passage in passages)


KEPT = [
    ("en", "The lessee, a company of Oslo, pays the rent.", "The lessee ... pays the rent"),
    ("en", "The lessee, formed on 3 May 2020, pays 500 EUR.", "The lessee ... pays 500 EUR"),
    ("en", "The lessee (formerly Jansen, of Oslo) pays it.", "The lessee ... pays it"),
    (
        "en",
        "The lessee shall promptly and in full pay the rent.",
        "The lessee shall ... pay the rent",
    ),
    (
        "en",
        "The lessee pays. It is not late. The rent is low.",
        "The lessee pays ... The rent is low",
    ),
    (
        "en",
        "The lessee pays 500 EUR each month to the lessor.",
        "The lessee pays ... to the lessor",
    ),
    (
        "de",
        "Die Müller GmbH haftet stets und immer für Schäden.",
        "Die Müller GmbH ... für Schäden",
    ),
    ("fr", "La société verse chaque mois le loyer.", "La société ... le loyer"),
    ("es", "El señor Ibáñez pagará siempre la cuota.", "El señor Ibáñez ... la cuota"),
    ("pt", "A empresa paga no prazo da lei a multa.", "A empresa paga ... a multa"),
    ("it", "La società verserà ogni mese il canone.", "La società ... il canone"),
    ("ru", "Общество обязано сразу выплатить долг. Не более.", "Общество ... выплатить долг"),
    ("el", "Η εταιρεία θα καταβάλει αμέσως το ποσό.", "Η εταιρεία ... το ποσό"),
    ("tr", "Yılmaz her ay düzenli olarak kirayı öder.", "Yılmaz ... kirayı öder"),
    ("pl", "Spółka zapłaci co miesiąc całą opłatę.", "Spółka zapłaci ... opłatę"),
    ("vi", "Ông Nguyễn phải luôn luôn trả phí.", "Ông Nguyễn phải ... trả phí"),
    ("ar", "تدفع شركة النخيل كل شهر رسوم العقد.", "شركة النخيل ... رسوم العقد"),
    ("he", "חברת אלון תשלם בכל חודש עמלה.", "חברת אלון ... עמלה"),
    ("hi", "शर्मा कंपनी हर महीने पूरा शुल्क देगी।", "शर्मा कंपनी ... शुल्क देगी"),
    ("th", "บริษัทสยามต้องชำระทุกเดือนค่าธรรมเนียม", "บริษัทสยามต้องชำระ ... ค่าธรรมเนียม"),
    ("zh", "安达公司应当在每月初支付费用。", "安达公司应当……支付费用"),
    ("ja", "山田商事は毎月すべての手数料を支払う。", "山田商事は……手数料を支払う"),
    ("ko", "한강상사는 매월 모든 수수료를 지급한다.", "한강상사는 ... 수수료를 지급한다"),
]


@pytest.mark.parametrize(("language", "text", "quote"), KEPT)
def test_an_omission_that_keeps_the_meaning_is_verified(
    language: str, text: str, quote: str
) -> None:
    passages = QuoteFinder(text).find(quote)
    assert [passage.verified for passage in passages] == [True, True], language


def test_an_omission_over_a_page_border_is_the_same_sentence() -> None:
    border = "\n\nAnnual Report of the Group | Page {}\n\n"
    text = f"A{border.format(1)}The lessee shall{border.format(2)}not pay it.{border.format(3)}"
    assert _find("The lessee shall ... pay it", text) == ["(The lessee shall)"]


def test_an_omission_is_read_where_its_parts_are_closest() -> None:
    text = "The lessee shall pay a fee. The lessee shall never pay the rent."
    assert _find("The lessee shall ... pay the rent", text) == [
        "(The lessee shall)", "(pay the rent)"
    ]  # fmt: skip
    text = "The lessee shall not pay it. But the lessee shall promptly pay it."
    finder = QuoteFinder(text)
    assert finder.find("lessee shall ... pay it") == (Passage(37, 49, True), Passage(59, 65, True))
