"""Tests that comments and banners are no headings, that headings stay, and that line breaks of all
kinds give the same outline."""

from __future__ import annotations

import pytest
from needs import CASES, needs_cases

from pipelines.text.chunking import ChunkSize, cut
from pipelines.text.outline import Outline, opening
from pipelines.text.tokens import ChatTokenizer

COMMENTS = {
    "script": "#!/bin/sh\n# Install\napt-get install jq\n\n# Done\necho done\n",
    "Python": "import os\n\n# The limit\nLIMIT = 3\n\n# Storage\nclass Store:\n    pass\n",
    "comment block": "# Copyright of the authors\n# All rights reserved\n\nSome code\n",
    "banner": "# ==========\n# Settings\n# ==========\n\nx = 1\n",
    "only a banner": "text\n\n# ----------\n\ntext\n",
    "YAML": "# Server\nport: 8080\n\n# Hosts\nhosts:\n  - a\n",
    "INI": "; settings\n# Database\n[database]\nhost = db\n",
    "env": "# The key\nexport KEY=abc\n",
    "C": "#include <stdio.h>\n\n// Helpers\n//--------\nint x = 1;\n----------\n",
    "SQL": "-- Tables\n---------\nCREATE TABLE a (\n  b int\n);\n",
    "SQL banner": "----------\n-- Tables\n----------\nSELECT 1;\n",
    "Dockerfile": "# Base image\nFROM debian:12\n# Tools\nRUN apt-get update\n",
    "log": "2024-05-01 10:00:00 INFO started\n=====\n2024-05-01 10:00:01 INFO ended\n",
    "log banner": "=====\nBuild 7\n=====\n2024-05-01 10:00:01 INFO building\n",
    "front matter": "---\ntitle: report\n---\n\nText.\n",
    "levels": "ERROR: no such file\n-----\nINFO: retry\n",
}
HEADINGS = {
    "# One\n\ntext": "One",
    "# One\ntext right below": "One",
    "# Notes\n\n    code = 1\n": "Notes",
    "# Install\n```\npip install x\n```\n": "Install",
    "Title\n=====\n\nText.": "Title",
    "=====\nTitle\n=====\n\nText.": "Title",
    "3. Terms of payment\n-------\nThe rent is due.": "3. Terms of payment",
    "## 1.2 Scope\n\nThis applies.": "1.2 Scope",
    "# Report of 2024\nAuthor: Jane\n": "Report of 2024",
    "Item 1A. Risk Factors\n\nWe may fail.": "Item 1A. Risk Factors",
    "ARTICLE IV. Rent\nRent is due.": "ARTICLE IV. Rent",
    "# 目的\n\n本報告書は": "目的",
    "# Select a plan\n\nSELECT is a word.": "Select a plan",
}
BREAKS = ["\r\n", "\r", "\x85", "\u2028", "\u2029"]
DOCUMENT = (
    "Intro\n=====\n\nThis is the first part. It has words.\n\n```\ncode = 1\n# no heading\n```\n\n"
    "Terms\n-----\n\nThe rent is due.\n\n| a | b |\n| 1 | 2 |\n\n# Notes\n\nSee above.\n\n"
)


def _titles(text: str) -> set[str]:
    outline = Outline(text)
    return {title for offset in range(len(text)) for title in outline.headings_at(offset)}


@pytest.mark.parametrize("kind", COMMENTS)
def test_comments_and_banners_are_no_headings(kind: str) -> None:
    assert _titles(COMMENTS[kind]) == set()


@pytest.mark.parametrize("text", HEADINGS)
def test_headings_stay(text: str) -> None:
    assert _titles(text) == {HEADINGS[text]}


@needs_cases
def test_the_code_of_the_shared_cases_has_no_headings() -> None:
    assert _titles((CASES / "texts/code.py.txt").read_text()) == set()


@pytest.mark.parametrize("line_break", BREAKS)
def test_every_line_break_gives_the_outline_of_lf(line_break: str) -> None:
    lines = DOCUMENT.split("\n")
    text = line_break.join(lines)
    expected, outline = Outline(DOCUMENT), Outline(text)
    given = shifted = 0
    for line in lines:
        for place in range(len(line) + 1):
            assert outline.headings_at(shifted + place) == expected.headings_at(given + place)
            one, other = expected.block_around(given + place), outline.block_around(shifted + place)
            assert (one is None) == (other is None)
            if one and other:
                content = text[other.start : other.end].replace(line_break, "\n")
                assert content == DOCUMENT[one.start : one.end]
        given, shifted = given + len(line) + 1, shifted + len(line) + len(line_break)


@pytest.mark.parametrize("line_break", BREAKS)
def test_every_line_break_gives_the_borders_of_lf(
    line_break: str, tiny_tokenizer: ChatTokenizer
) -> None:
    text = (DOCUMENT * 8).replace("\n", line_break)
    ends = [chunk.end for chunk in cut(text, ChunkSize(150), tiny_tokenizer)][:-1]
    assert ends
    for end in ends:
        assert text[:end].endswith(line_break * 2)


@needs_cases
def test_the_shared_cases_have_the_same_headings_with_lf_and_with_crlf() -> None:
    lf, crlf = ((CASES / "texts" / name).read_bytes().decode() for name in ("lf.txt", "crlf.txt"))
    assert crlf.replace("\r\n", "\n") == lf
    expected, outline = Outline(lf), Outline(crlf)
    offsets = [at for at, character in enumerate(crlf) if character != "\r"]
    for given, shifted in enumerate(offsets):
        if lf[given] != "\n":
            assert outline.headings_at(shifted) == expected.headings_at(given)


@pytest.mark.parametrize("line_break", BREAKS)
def test_the_opening_ends_at_any_line_break(line_break: str) -> None:
    assert opening(f"{line_break}# Title{line_break}words") == "Title"


def test_the_opening_is_not_cut_within_a_character() -> None:
    family = "👩‍👩‍👧"
    assert opening(family * 60) == family * 40
