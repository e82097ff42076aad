"""Tests that headings, tables, code blocks and the first line of a text are recognized."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipelines.text.outline import Outline, opening


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("# One\ntext\n## Two\nhere", ("One", "Two")),
        ("One\n***\n\nTwo\n===\n\nhere", ("Two",)),
        ("Two\n===\n\nThree\n---\n\nhere", ("Two", "Three")),
        ("PART II\n\nItem 1A. Risk Factors\n\nhere", ("PART II", "Item 1A. Risk Factors")),
        ("# One\n## Two\n# Three\nhere", ("Three",)),
        ("just text, here", ()),
    ],
)
def test_the_heading_path_of_a_place(text: str, titles: tuple[str, ...]) -> None:
    assert Outline(text).headings_at(text.index("here")) == titles


def test_a_comment_in_code_is_not_a_heading() -> None:
    text = "# Real\n```\n# not a heading\n```\nhere"
    assert Outline(text).headings_at(text.index("here")) == ("Real",)


@pytest.mark.parametrize("block", ["```py\nx\ny\n```", "| a |\n| b |\n", "+--+\n|  |\n"])
def test_tables_and_code_are_blocks(block: str) -> None:
    text = f"before\n{block}\nafter"
    around = Outline(text).block_around(text.index(block) + 4)
    assert around is not None and text[around.start : around.end].strip() == block.strip()


def test_a_fence_that_is_never_closed_is_not_a_block() -> None:
    assert Outline("```\n" + "line\n" * 2_000).block_around(100) is None


def test_a_code_block_of_too_many_lines_is_not_a_block_but_the_next_is() -> None:
    text = "```\n" + "line\n" * 501 + "```\n| a |\n| b |\n```\nx\n```\n~~~\n"
    outline = Outline(text)
    assert outline.block_around(100) is None
    block = outline.block_around(text.index("| a |") + 1)
    assert block is not None
    assert text[block.start : block.end] == "```\n| a |\n| b |\n```"


def test_tables_within_code_are_code() -> None:
    text = "| a |\n| b |\n~~~\n| c |\n| d |\n```\n~~~\n| e |\n| f |\n"
    blocks = [Outline(text).block_around(text.index(letter)) for letter in "acdf"]
    assert [text[block.start : block.end] for block in blocks if block] == [
        "| a |\n| b |\n", *["~~~\n| c |\n| d |\n```\n~~~"] * 2, "| e |\n| f |\n",
    ]  # fmt: skip


def test_fences_that_are_never_closed_take_no_longer_than_other_lines() -> None:
    """Searching the closing fence of each fence from its start took a minute for a text that is
    within the endpoint's limit."""
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (20, 20))\n"
        "from pipelines.text.outline import Outline\n"
        "assert Outline('```x\\n' * 800_000).block_around(100) is None"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("text", "begins"),
    [("\n\n# Title\nwords", "Title"), ("One line only", "One line only"), ("x" * 999, "x" * 200)],
)
def test_the_opening_is_the_first_line(text: str, begins: str) -> None:
    assert opening(text) == begins
