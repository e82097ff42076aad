from __future__ import annotations

import pytest

from pipelines.text.names import WordIndex, is_name_like

TEXT = (
    "between Acme, Inc. (the X), AT&T Corp. and Foo L.L.C., J.P. Morgan & Co.; "
    "Beta Holdings GmbH 12.34 at -5 or 5 MW for $90 by Mary O’Brien"
)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ACME Inc", "Acme, Inc"),
        ("Acme Incorporated", "Acme, Inc"),
        ("AT & T Corporation", "AT&T Corp"),
        ("Foo LLC", "Foo L.L.C."),
        ("JP Morgan and Company", "J.P. Morgan & Co"),
        ("beta holdings", "Beta Holdings"),
        ("5 MW", "5 MW"),
        ("Mary O'Brien", "Mary O’Brien"),
    ],
)
def test_a_name_is_found_in_other_spellings(name: str, words: str) -> None:
    assert [TEXT[start:end] for start, end in WordIndex(TEXT).find(name, 8)] == [words]


@pytest.mark.parametrize(
    "name",
    ["Beta Holdings LLC", "12,34", "5 mW", "€90", "Acme Foo", "5 or -5", "", "Morgan Co"],
)
def test_other_names_are_not_found(name: str) -> None:
    assert WordIndex(TEXT).find(name, 8) == []


def test_places_are_limited_and_lie_in_the_range() -> None:
    index = WordIndex("Ann Lee. " * 20)
    assert index.find("ann lee", 8) == [(9 * i, 9 * i + 7) for i in range(8)]
    assert index.find("ann lee", 8, 10, 30) == [(18, 25)]
    assert index.find("ann lee", 8, 500) == []
    assert WordIndex("").find("ann", 8) == []


@pytest.mark.parametrize(
    ("text", "telling"),
    [
        ("Ann Lee", True),
        ("Delaware", False),
        ("INV-20394", True),
        ("田中太郎", True),
        ("x y", False),
    ],
)
def test_two_words_prove_something(text: str, telling: bool) -> None:
    assert is_name_like(text) is telling


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("BBB+", "rated BBB+ now", True),
        ("BBB+", "rated BBB now", False),
        ("BBB", "rated BBB+ now", False),
        ("A−", "rated A-", True),
        ("A-", "rated A", False),
        ("A- rating", "an A rating", False),
        ("C", "in C#", False),
        ("Acme", "by Acme- Ltd", True),
    ],
)
def test_signs_behind_a_word_belong_to_it(name: str, text: str, found: bool) -> None:
    assert bool(WordIndex(text).find(name, 8)) is found
