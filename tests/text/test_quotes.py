"""Tests that quotes are verified exactly where a document says the same."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from needs import CASES, needs_cases
from quote_samples import (
    CHANGES,
    HABITS,
    SAMPLES,
    over_pages,
    pairs,
    with_ligatures,
    written,
)

from pipelines.text.quotes import QuoteFinder
from pipelines.text.source import Passage


def _find(quote: str, text: str, start: int = 0, end: int | None = None) -> list[str]:
    """Return the words of the passages, in parentheses if they are only similar."""
    passages = QuoteFinder(text).find(quote, start, end)
    words = [text[passage.start : passage.end] for passage in passages]
    return [
        found if passage.verified else f"({found})"
        for found, passage in zip(words, passages, strict=True)
    ]


def _is_verified(passages: tuple[Passage, ...]) -> bool:
    return any(passage.verified for passage in passages)


def _cases(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (CASES / name).read_text("utf-8").splitlines()]


@needs_cases
def test_cases_of_the_kinds_of_quotes() -> None:
    for case in _cases("quotes.jsonl"):
        passages = QuoteFinder(case["text"]).find(case["quote"])
        spans = [[passage.start, passage.end] for passage in passages]
        assert _is_verified(passages) == case["verified"], case
        if case["verified"] or "near" in case:
            assert spans == [case.get("span", case.get("near"))], case


@needs_cases
def test_cases_of_real_filings() -> None:
    for case in _cases("quotes-real.jsonl"):
        passages = QuoteFinder(case["text"]).find(case["quote"])
        assert _is_verified(passages) == case["verdict"], case
        if case["verdict"]:
            assert passages == (Passage(case["start"], case["end"], True),), case


@pytest.mark.parametrize(
    ("quote", "text", "span"),
    [pytest.param(*case, id=kind) for kind, *case in pairs()],
)
def test_pairs_of_many_languages(quote: str, text: str, span: tuple[int, int] | None) -> None:
    passages = QuoteFinder(text).find(quote)
    if span:
        assert passages == (Passage(*span, verified=True),)
    else:
        assert passages and not _is_verified(passages)


def test_a_changed_fact_never_verifies() -> None:
    rng = random.Random(11)  # noqa: S311 - test input, the same each time
    finders = {sample: QuoteFinder(f"{sample.text}\n{sample.text}") for sample in SAMPLES}
    for _ in range(10_000):
        sample = rng.choice(SAMPLES)
        quote = CHANGES[rng.choice(list(CHANGES))](sample, rng)
        assert quote != sample.sentence
        assert not _is_verified(finders[sample].find(quote)), quote


def test_true_quotes_are_verified_whatever_the_extractor_does() -> None:
    rng = random.Random(12)  # noqa: S311 - test input, the same each time
    wrong = []
    for _ in range(2_000):
        sample = rng.choice(SAMPLES)
        habit = rng.choice([*HABITS, "pages"])
        text, span = over_pages(sample, rng) if habit == "pages" else written(sample, habit, rng)
        if QuoteFinder(text).find(sample.sentence) != (Passage(*span, verified=True),):
            wrong.append((habit, sample.language, text))
    assert len(wrong) <= 20, wrong[:3]


def test_ligatures_are_letters() -> None:
    words = "The final office offers five shuffled flats"
    assert _find(words, f"Note: {with_ligatures(words)}.") == [with_ligatures(words)]


@given(st.text(st.sampled_from("ab 1.,-(é한不\u0301\u00ad\n"), max_size=60), st.data())
def test_a_text_of_words_is_found_at_one_of_its_places(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    quote = text[start : data.draw(st.integers(start, len(text)))]
    for passage in QuoteFinder(f"Abcd {text} efgh").find(f"Abcd {text} efgh"):
        assert (passage.start, passage.end, passage.verified) == (0, len(text) + 10, True)
    for passage in QuoteFinder(text).find(quote):
        assert 0 <= passage.start < passage.end <= len(text)


@pytest.mark.parametrize(
    ("quote", "text"),
    [
        ("1234", "a 1 234 b"),
        ("1 234", "a 1234 b"),
        ("1,250 units", "1250 units"),
        ("1.250 units", "1,250 units"),
        ("234", "a 1\u202f234"),
        ("3.1", "it is 13.14 wide"),
        ("3.1", "it is 3.14 wide"),
        ("costs 5.", "costs 5.2 millions"),
        ("costs 5.", "costs 5 millions"),
        ("of .5 percent", "of 5 percent"),
        ("5 percent", "of .5 percent"),
        ("10", "10² meters"),
        ("5", "5½ meters"),
        ("5 m", "5 m² of land"),
        ("20192020", "in 2019–2020"),
        ("-5", "a 5 b"),
        ("5", "a −5 b"),
        ("$5", "a loss of -$5 b"),
        ("(5)", "a 5 b"),
        ("5", "12 (5) 13"),
        ("loss of 5", "loss of − 5"),
        ("loss of 5", "loss of (5)"),
        ("5 mW", "5 MW here"),
        ("6' tall", 'he is 6" tall'),
        ("二〇年", "二〇二〇年"),
        ("五百元", "二千五百元"),
        ("500 EUR", "a fee of 12 500 EUR"),
        ("fee of 12", "a fee of 12 500 EUR"),
        ("fee of 12", "a fee of 12\u00a0500"),
        ("a change of 4.1 %", "a change of - 4.1 %"),
        ("a change of 4.1 %", "a change of – 4.1 %"),
        ("a change of 4.1 %", "a change of —4.1 %"),
        ("10 K", "10 k here"),
        ("3 of 4 units", "3 of (4) units"),
    ],
)
def test_a_part_of_a_number_or_another_number_does_not_verify(quote: str, text: str) -> None:
    assert not _is_verified(QuoteFinder(text).find(quote))


@pytest.mark.parametrize(
    ("quote", "text", "words"),
    [
        ("1 234", "a 1\u202f234 b", "1\u202f234"),
        ("3.1", "it is 3.1, or so", "3.1"),
        ("-5", "a −5 b", "−5"),
        ("(5)", "a (5) b", "(5)"),
        ("12", "twelve (12) months", "12"),
        ("-$5", "a loss of -$5 b", "-$5"),
        ("5mW of power", "5 mW of power", "5 mW of power"),
        ("2019-2020", "in 2019–2020", "2019–2020"),
        ("costs 5.", "costs 5 units", "costs 5"),
        ("- 5 kg of flour", "5 kg of flour", "5 kg of flour"),
        ("5 million", "the price – 5 million – is due", "5 million"),
        ("Net sales 54 59", "Net sales 54 59 719", "Net sales 54 59"),
        ("2020 500 people", "in 2020 500 people", "2020 500 people"),
        ("Nil (373,445)", "Nil — (373,445)", "Nil — (373,445)"),
        ("2023 سنة", "في ٢٠٢٣ سنة", "٢٠٢٣ سنة"),
    ],
)
def test_the_same_number_verifies_in_another_writing(quote: str, text: str, words: str) -> None:
    assert _find(quote, text) == [words]


@pytest.mark.parametrize(
    ("quote", "text"),
    [
        ("word", "a wordy sword of words"),
        ("compliance with rules", "non-compliance with rules"),
        ("ment terminates", "the agree-\n     ment terminates"),
        ("the agree", "the agree-\nment terminates"),
        ("likely to", "un\u00adlikely to"),
        ("resume", "resume\u0301"),
        ("cafe au lait", "café au lait"),
        ("가나 학교", "간아 학교"),
        ("삼성", "삼성전자는 좋다"),
        ("承担违约责任", "乙方不承担违约责任"),
        ("支払い", "支払いません"),
        ("รับผิดชอบ", "ไม่รับผิดชอบ"),
        ("カラー印刷", "スカラー印刷"),
        ("😀 happy", "I am 🙂 happy"),
    ],
)
def test_a_part_of_a_word_or_another_word_does_not_verify(quote: str, text: str) -> None:
    assert not _is_verified(QuoteFinder(text).find(quote))


@pytest.mark.parametrize(
    ("quote", "text", "words"),
    [
        ("revenue", "revenue² grew", "revenue"),
        ("한국어 문장", "저는 한국어 문장입니다.", "한국어 문장"),
        ("삼성전자", "삼성전자는 좋다", "삼성전자"),
        ("东京", "在东京都", "东京"),
        ("ệ là chữ đúng", "e\u0302\u0323 là chữ đúng", "e\u0302\u0323 là chữ đúng"),
        ("🙂 happy 👍🏽", "I am 🙂 happy 👍🏽 now", "🙂 happy 👍🏽"),
        ("שלום עולם", "\u202bשלום עולם\u202c", "שלום עולם"),
        ("hello world", "hello\x00world", "hello\x00world"),
        ("\ud800abc def", "x \ud800abc def", "\ud800abc def"),
        ("Acme, Inc. signed", "Acme Inc. signed", "Acme Inc. signed"),
        ("'Hello', he said", "“Hello,” he said", "Hello,” he said"),
        (
            "Hello world is here",
            "Hello <b>world</b> {12} is here",
            "Hello <b>world</b> {12} is here",
        ),
    ],
)
def test_the_same_words_verify_in_another_writing(quote: str, text: str, words: str) -> None:
    assert _find(quote, text) == [words]


@pytest.mark.parametrize(
    "quote",
    ["", " \n", "…", "\u200b\u200e", "\x00", "$", "e", "of", "us", "the", "THE", "Ok", "不", "de"],
)
def test_a_letter_an_article_or_a_mark_proves_nothing(quote: str) -> None:
    text = f"{quote} us of the e THE Ok 不 de $ \x00 \u200b\u200e … {quote}"
    assert QuoteFinder(text).find(quote) == ()


@pytest.mark.parametrize("text", ["", "ab", "\u200b\u200e\u202e", " \n\f"])
def test_a_quote_longer_than_the_text_is_absent(text: str) -> None:
    assert QuoteFinder(text).find("abcd" * 100_000) == ()
    assert QuoteFinder(text).find_all("abcd") == ()


def test_abbreviations_prove_something() -> None:
    assert _find("IBM", "of IBM Germany") == ["IBM"]


def test_quotes_of_many_ideographs() -> None:
    clause = (
        "甲方应当在本合同签订之日起三十日内向乙方支付全部价款，逾期不支付的，应当承担违约责任。"
    )
    text = f"前言。{clause * 8}后记。"
    quote = (clause * 8)[:300]
    assert _find(quote, text) == [quote]
    changed = QuoteFinder(text).find(quote[:150] + "王" + quote[151:])
    assert changed == (Passage(3, 303, verified=False),)


@pytest.mark.parametrize(
    ("quote", "text", "verified"),
    [
        ("rating is BBB", "Its rating is BBB+ now", False),
        ("rating is BBB+", "Its rating is BBB+ now", True),
        ("rating is BBB+", "Its rating is BBB now", False),
        ("Rating: A", "Rating: A-", False),
        ("Rating: A", "(Rating: A−)", False),
        ("Rating: A", "Rating: A-, stable", False),
        ("Rating: A-", "Rating: A−", True),
        ("Rating: A-", "Rating: A– stable", True),
        ("Rating: A-", "Rating: A stable", False),
        ("written in C", "written in C++.", False),
        ("written in C", "written in C# here", False),
        ("written in C+", "written in C++ here", False),
        ("written in C++", "written in C++.", True),
        ("grade of A", "a grade of A* here", False),
        ("grade of A*", "a grade of A* here", True),
        ("balance 1,234", "balance 1,234- EUR", False),
        # marks that are not part of the word
        ("the tenant", "the tenant-\nNext", True),
        ("the tenant", "the tenant - who pays", True),
        ("the Company", "the Company--a bank", True),
        ("the Company", "the Company—a bank", True),
        ("in 2019", "in 2019- 2020", True),
        ("fee of $5", "fee of $5-$10", True),
        ("sum of 5", "sum of 5-10", True),
        ("grade A", "grade A+B", True),
        ("Net income", "Net income* rose", True),
        ("Rating: A", "*Rating: A* now", True),
        ("Rating: A", "**Rating: A** now", True),
        ("*Rating: A*", "Rating: A now", True),
        ("first item", "- first item\n- second item", True),
    ],
)
def test_signs_behind_a_word_belong_to_it(quote: str, text: str, verified: bool) -> None:
    assert _is_verified(QuoteFinder(text).find(quote)) is verified


def test_the_search_can_be_limited_to_a_span_of_the_text() -> None:
    text = "word and word and wordy"
    assert [p.start for p in QuoteFinder(text).find("word", 3)] == [9]
    assert _find("word", text, 10) == []
    assert _find("word", text, 18, 22) == []
    assert _find("word", text, 0, 3) == []


def test_all_places_of_a_value_are_found() -> None:
    finder = QuoteFinder("12 of 3125, 12,500 and 12.5; A 12 a, １２ AND LEE lee")
    assert [p.start for p in finder.find_all("12")] == [0, 31]
    assert len(finder.find_all("12", limit=1)) == 1
    assert [p.start for p in finder.find_all("12", 3)] == [31]
    assert [p.start for p in finder.find_all("Lee")] == [44, 48]
    assert finder.find_all("A") and not finder.find_all("$")


def test_a_similar_passage_begins_and_ends_at_words() -> None:
    text = "First. The tenant shall pay the rent monthly in advance to the owner. Last."
    assert _find("tenamt shal pay the rent montly in advence to the own", text) == [
        "(tenant shall pay the rent monthly in advance to the owner)"
    ]
    assert _find("the cat sat on the mat and slept", text) == []


@pytest.mark.parametrize(
    "quote",
    ["'a' * 900 + 'c'", "'a' * 900 + ' c'", "'12'", "'b' * 5_000_000", "'ab' * 300 + '7'"],
)
def test_a_hard_text_takes_little_time(quote: str) -> None:
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (20, 20))\n"
        "from pipelines.text.quotes import QuoteFinder\n"
        "text = 'a' * 2_000_000 + 'b c' + '312 ' * 500_000 + 'ab' * 500_000\n"
        f"QuoteFinder(text).find({quote}); QuoteFinder(text).find_all({quote})"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
