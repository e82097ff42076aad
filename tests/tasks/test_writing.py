"""Tests of joining what was written about the parts of a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.tasks.writing import WrittenPart, join_parts


def joined(text: str, *borders: int, written: list[str] | None = None) -> str:
    """Join parts of `text` that end at `borders`, as themselves or as `written`."""
    spans = list(zip((0, *borders), (*borders, len(text)), strict=True))
    texts = written or [text[start:end] for start, end in spans]
    parts = [WrittenPart(*span, words) for span, words in zip(spans, texts, strict=True)]
    return join_parts(parts, text)


@pytest.mark.parametrize(
    ("text", "separator"),
    [
        ("One.\n\nTwo.", "\n\n"),
        ("One.\r\n\r\nTwo.", "\n\n"),
        ("One.\n \t\n\n\nTwo.", "\n\n"),
        ("One.\nTwo.", "\n"),
        ("One.  Two.", " "),
        ("One.Two.", ""),
    ],
)
def test_between_parts_stands_what_stands_in_the_text(text: str, separator: str) -> None:
    for border in range(4, text.index("Two") + 1):
        assert joined(text, border) == f"One.{separator}Two."
        assert joined(text, border, written=[" Eins.\n", "\n\nZwei."]) == f"Eins.{separator}Zwei."


def test_scripts_without_blanks_get_none_and_others_do() -> None:
    assert joined("一。二。", 2) == "一。二。"
    assert joined("一。二。", 2, written=["One.", "Two."]) == "One. Two."
    assert joined("One. Two.", 5, written=["一。", "二。"]) == "一。二。"
    assert joined("One.\n\nTwo.", 6, written=["一。", "二。"]) == "一。\n\n二。"


def test_a_part_about_which_nothing_was_written_leaves_the_stronger_separator() -> None:
    text = "One.\n\nTwo. Three."
    assert joined(text, 6, 11, written=["One.", "", "Three."]) == "One.\n\nThree."
    assert joined(text, 6, 11, written=["", "Two.", "Three."]) == "Two. Three."
    assert joined(text, 6, 11, written=["", " ", ""]) == ""


def test_white_space_between_parts_that_were_left_out_is_a_separator() -> None:
    text = "One.\n\n   \n\nTwo."
    parts = [WrittenPart(0, 4, "One."), WrittenPart(11, 15, "Two.")]
    assert join_parts(parts, text) == "One.\n\nTwo."


SPACED = st.tuples(st.just("One. two"), st.sampled_from((" ", "\n", "\n\n")))
UNSPACED = st.tuples(st.just("一。二"), st.sampled_from(("", "\n", "\n\n")))


@given(st.one_of(SPACED, UNSPACED), st.integers(1, 8), st.data())
def test_parts_joined_unchanged_are_the_text(
    script: tuple[str, str], count: int, data: st.DataObject
) -> None:
    words, separator = script
    text = separator.join([words] * count)
    borders = sorted(data.draw(st.sets(st.integers(1, len(text) - 1))))
    spans = list(zip((0, *borders), (*borders, len(text)), strict=True))
    shown = [(start, end) for start, end in spans if text[start:end].strip()]
    parts = [WrittenPart(start, end, text[start:end]) for start, end in shown]
    assert join_parts(parts, text) == text
