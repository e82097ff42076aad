"""Blocklists: folding, whole words, scripts without blanks, expressions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.checks.blocklist import blocklist
from pipelines.checks.words import contains, words_of
from pipelines.errors import SpecError


def broken(phrase: str, text: str) -> bool:
    return blocklist([phrase], (), "checks.0").rules([text]) == ["phrases[0]"]


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("Project Falcon", "about PROJECT\nfalcon."),
        ("Project Falcon", "the project-falcon team"),
        ("project falcon", "“Pro\u00adject” ｆａｌｃｏｎ"),
        ("straße", "Die STRASSE"),
        ("Müller", "MU\u0308LLER & Co."),
        ("AT&T", "by at&t, Inc."),
        ("C++", "written in c++"),
        ("機密", "これは機密文書です"),
        ("ลับ", "เอกสารลับมาก"),
        ("42", "room ４２"),
        ("don't", "Don’t"),
    ],
)
def test_a_phrase_is_found_as_words_whatever_their_form(phrase: str, text: str) -> None:
    assert broken(phrase, text)


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("falcon", "falcons"),
        ("the rapist", "the therapist"),
        ("the rapist", "therapist"),
        ("therapist", "the rapist"),
        ("Müller", "Muller"),
        ("C++", "a C compiler"),
        ("project falcon", "project of falcon"),
        ("42", "421"),
        ("fraud", ""),
    ],
)
def test_a_phrase_is_not_found_within_words_or_in_other_words(phrase: str, text: str) -> None:
    assert not broken(phrase, text)


def test_the_rule_names_the_phrase_that_stands_first_in_the_text() -> None:
    rules = blocklist(["insider", "side letter", "side"], ["^x"], "checks.0")
    assert rules.rules(["a side letter", "x side", "insider", "xy", "none"]) == [
        "phrases[1]", "phrases[2]", "phrases[0]", "expressions[0]", None,
    ]  # fmt: skip


def test_expressions_match_the_text_as_written_and_with_its_characters_unified() -> None:
    rules = blocklist((), [r"\bEMP-[0-9]{6}\b", "(?i)top secret"], "checks.0")
    assert rules.rules(["emp-123456", "id EMP‑１２３４５６", "TOP\u00a0SECRET"]) == [
        None, "expressions[0]", "expressions[1]",
    ]  # fmt: skip


def test_no_expression_takes_exponential_time() -> None:
    rules = blocklist((), ["(a+)+$", "(a|a)*b"], "checks.0")
    # a backtracking matcher would not end
    assert rules.rules(["a" * 20_000 + "c"]) == [None]


def test_phrases_and_expressions_that_cannot_be_used_are_refused_with_their_path() -> None:
    with pytest.raises(SpecError) as caught:
        blocklist(["fine", "…"], ["(?<=a)b", "(", "fine"], "checks.2")
    lines = caught.value.message.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "checks.2.phrases.1", "checks.2.expressions.0", "checks.2.expressions.1",
    ]  # fmt: skip
    assert "lookbehinds are not supported" in lines[1]


@given(st.lists(st.sampled_from(["fraud", "Straße", "機", "42", "%"]), min_size=1, max_size=4))
def test_words_are_found_in_any_text_that_has_them(words: list[str]) -> None:
    phrase = " ".join(words)
    assert contains(words_of(f"before {phrase.upper()}, after"), words_of(phrase))
    assert not contains(words_of("before after"), words_of(phrase))
