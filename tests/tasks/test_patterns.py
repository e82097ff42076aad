"""Tests of patterns: ECMA-262 syntax, matched by RE2."""

from __future__ import annotations

import pytest

from pipelines.tasks.escapes import PatternError
from pipelines.tasks.patterns import compile_pattern

DECIMAL = r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"
EMAIL = (
    r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+"
    r"[A-Za-z]{2,}$"
)
UUID = (
    r"^([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-8][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}"
    r"|00000000-0000-0000-0000-000000000000)$"
)
DATE = (
    r"^(?:(?:\d\d[2468][048]|\d\d[13579][26]|\d\d0[48]|[02468][048]00|[13579][26]00)-02-29|\d{4}-"
    r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|"
    r"(?:02)-(?:0[1-9]|1\d|2[0-8])))$"
)


@pytest.mark.parametrize(
    ("pattern", "fitting", "other"),
    [
        (r"^\d{4}-\d\d$", ["2026-01"], ["٢٠٢٦-01", "2026-01\n", "x2026-01"]),
        (r"b+", ["abc"], ["ac", ""]),
        (DATE, ["2024-02-29", "2023-12-31"], ["2023-02-29", "2024-13-01"]),
        (EMAIL, ["a.b@example.org"], [".a@example.org", "a..b@example.org", "a@b"]),
        (UUID, ["123e4567-e89b-12d3-a456-426614174000"], ["123e4567-e89b-92d3-a456-42661417400"]),
        (DECIMAL, ["12.50", "-0", "+.5"], ["", "+.", "1e5", "12.5.0"]),
        (r"^(?=.*[A-Z])(?=.*\d).{8,}$", ["abcdeF12"], ["abcdef12", "F1"]),
        (r"^\p{Lu}\p{L}+( \p{L}+)*$", ["Žofia Müller"], ["žofia", "Ž1"]),
        (r"^[\p{L}\-]+$", ["é-é"], ["é é"]),
        (r"^\/a\-b\.\_$", ["/a-b._"], ["/a-b.x"]),
        (r"^[\w-.]+\s[^\s]$", ["a-b.\u00a0c"], ["a b \u2003"]),
        (r"^[\s\S]\S\s$", ["\na\u3000"], ["\n\u3000a"]),
        (r"^\u00e4[\u{1F600}-\u{1F64F}]\ud83d\ude00\x41\cJ$", ["ä😀😀A\n"], ["ä😀😀A"]),
        ("[[:alpha:]]", [":]"], ["b"]),
        (r"^[\b]\0$", ["\b\0"], ["b0"]),
        (r"^(?<year>\d{4})$", ["2026"], ["26"]),
        (r"^\C\Q$", ["CQ"], ["ä"]),
        (r"^(|a|)*$", ["", "aaa"], ["b"]),
        (r"^a{,2}$", ["a{,2}"], ["", "aa"]),
    ],
)
def test_ordinary_patterns_mean_what_ecma_262_says(
    pattern: str, fitting: list[str], other: list[str]
) -> None:
    compiled = compile_pattern(pattern)
    assert [text for text in fitting + other if compiled.matches(text)] == fitting


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"(a)\1", r"backreference \\1 is not supported"),
        (r"(?<a>a)\k<a>", r"backreference \\k is not supported"),
        (r"(?<=a)b", "lookbehinds are not supported"),
        (r"(?<!a)b", "lookbehinds are not supported"),
        (r"a(?!b)", "only directly after a leading \\^"),
        (r"^(?!a)b|c", "without \\| outside of groups"),
        (r"^(?=a)*b", "only directly after a leading \\^"),
        (r"^(?=a(?=b))c", "only directly after a leading \\^"),
        (r"^(?=a", "not closed"),
        ("(", "missing \\)"),
        ("[", "missing \\]"),
        ("[]a]", "is an empty character class"),
        (r"a\Z", "invalid escape"),
        ("a++", "bad repetition"),
        ("a" * 2001, "2001 characters, more than 2000"),
        ("(a{1,100}){1,100}", "more than 1000, the limit"),
        ("a{999999999999999}", "more than 1000, the limit"),
        (r"[\p{L}]{100}", "more than 1000, the limit"),
        (r".{400}" * 3, "more than 1000, the limit"),
        ("(?:(?:(?:(?:a?){9}){9}){9}){9}", "more than 1000, the limit"),
        ("a\ud800", "surrogate"),
    ],
)
def test_unsupported_and_too_large_patterns_are_rejected_with_what_to_write(
    pattern: str, message: str
) -> None:
    with pytest.raises(PatternError, match=message):
        compile_pattern(pattern)


def test_a_text_with_a_lone_surrogate_is_matched() -> None:
    assert compile_pattern("^a.b$").matches("a\ud800b")


@pytest.mark.parametrize(
    ("pattern", "positions"),
    [
        ("", 0),
        ("^abc$", 3),
        (r"[a-z]\d.", 3),
        ("(ab){3}c", 7),
        ("((a{2}b){3}|c){4}", 40),
        ("a{2,5}", 10),
        ("(?i)ab?", 3),
        (r"\p{L}", 20),
        ("^(?=)(?!ab)(?=.*z)c", 9),
    ],
)
def test_the_size_of_a_pattern_counts_repetitions(pattern: str, positions: int) -> None:
    assert compile_pattern(pattern).positions == positions
