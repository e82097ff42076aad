"""Tests that page headers, footers and tags may interrupt a quote, and nothing else."""

from __future__ import annotations

import tracemalloc

import pytest

from pipelines.text.furniture import without_interruptions
from pipelines.text.quotes import QuoteFinder
from pipelines.text.source import Passage

PAGES = (
    "Opening words.\n\n{0}\n\nThe tenant pays the rent to\n\n{1}\n\nthe landlord each month.\n\n{2}"
)


@pytest.mark.parametrize(
    "furniture",
    [
        ("Lease of Oslo, page 1", "Lease of Oslo, page 2", "Lease of Oslo, page 3"),
        ("1 of 3", "2 of 3", "3 of 3"),
        ("Confidential Draft", "Confidential Draft", "Confidential Draft"),
        ("\f", "12\n\f", "13\n\f"),
        ("A. Lease\n\nPage 7", "A. Lease\n\nPage 8", "A. Lease\n\nPage 9"),
    ],
)
def test_a_quote_may_run_over_a_page_border(furniture: tuple[str, ...]) -> None:
    text = PAGES.format(*furniture)
    passages = QuoteFinder(text).find("The tenant pays the rent to the landlord each month.")
    start, end = text.index("The tenant"), text.index("each month.") + len("each month.")
    assert passages == (Passage(start, end, verified=True),)


@pytest.mark.parametrize(
    "lines", [("1", "12", "13"), ("no", "no", "no"), ("One line", "Another", "A third")]
)
def test_other_lines_in_between_belong_to_the_sentence(lines: tuple[str, ...]) -> None:
    passages = QuoteFinder(PAGES.format(*lines)).find("pays the rent to the landlord each month")
    assert passages and not passages[0].verified


def test_table_rows_in_between_are_no_page_furniture() -> None:
    text = "Total\n\n5\n\n6\n\nNet sales\n\n5\n\n7\n\nTotal\n\n8\n\n9\n\nNet sales\n\n1"
    assert without_interruptions(text) == text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a {3} b {fn:12} c", "a     b         c"),
        ('<b>a</b> <a href="x">b</a><br/>', "   a     " + " " * 12 + "b    " + " " * 5),
        ("shall {not} <5 and x <y and z> 3", "shall {not} <5 and x <y and z> 3"),
    ],
)
def test_tags_and_markers_are_blanked_but_no_words(text: str, kept: str) -> None:
    assert without_interruptions(text) == kept


@pytest.mark.parametrize("text", ["", "\f", "1\n1\n1", "x" * 300_000, "a\r\nb\x85c\u2028d\n" * 3])
def test_the_length_stays(text: str) -> None:
    assert len(without_interruptions(text)) == len(text)


def test_a_long_table_takes_no_memory_for_each_row() -> None:
    text = "\n".join(f"{row},{row * 7}" for row in range(20_000))
    tracemalloc.start()
    try:
        assert without_interruptions(text) == text
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * len(text)


def test_a_long_text_without_furniture_takes_little_more_memory_than_itself() -> None:
    """Each line, each pair of table rows and each tag is small, but there are many of them."""
    lines = "\n".join(f"{number:x} is a line\n{number}" for number in range(250_000))
    for text in (lines.translate(str.maketrans("0123456789", "ghijklmnop")), "a <b>b " * 100_000):
        tracemalloc.start()
        without_interruptions(text)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 2**23 + len(text)
