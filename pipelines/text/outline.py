"""What a text's layout says: its opening, its headings, its tables and blocks of code.

Markdown, reStructuredText and the numbering of filings ("Item 1A.") are known. Knows no tokens.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

_OPENING_CHARACTERS = 200
_HEADING_CHARACTERS = 120
_UNDERLINES = "=*-~^#"
_HEADING = re.compile(
    r"^(?:"
    r"(?P<marks>#{1,6})[ \t]+(?P<marked>[^\n]{1,120})"
    r"|(?P<underlined>[^\n]{1,120})\n(?P<line>[=*~\-^#])(?P=line){2,}[ \t]*$"
    r"|(?P<part>(?:PART|Part|CHAPTER|Chapter)[ \t]+[IVXLC\d]+\b[^\n]{0,100})"
    r"|(?P<item>(?:ITEM|Item|ARTICLE|Article|SECTION|Section)[ \t]+[IVXLC\d]+[A-Z]?\.[^\n]{0,100})"
    r")$",
    re.MULTILINE,
)
_FENCE = re.compile(r"^[ \t]*(?P<fence>```|~~~)(?P<rest>[^\n]*)$", re.MULTILINE)
_TABLE = re.compile(r"(?:^[ \t]*[|+][^\n]*(?:\n|\Z)){2,}", re.MULTILINE)
_MOST_CODE_LINES = 500


@dataclass(frozen=True, slots=True)
class Block:
    """A table or a block of code, by its characters."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Heading:
    start: int
    level: int
    title: str


class Outline:
    """The layout of one text. Made in time that grows with the text."""

    def __init__(self, text: str) -> None:
        self._blocks = list(_blocks(text))
        self._block_starts = [block.start for block in self._blocks]
        self._paths = list(_paths(self._headings(text)))
        self._path_starts = [start for start, _ in self._paths]

    def headings_at(self, offset: int) -> tuple[str, ...]:
        """The titles above a character, outermost first."""
        position = bisect_right(self._path_starts, offset)
        return self._paths[position - 1][1] if position else ()

    def block_around(self, offset: int) -> Block | None:
        """The table or code that a cut here would split."""
        position = bisect_right(self._block_starts, offset)
        block = self._blocks[position - 1] if position else None
        return block if block and block.start < offset < block.end else None

    def fitting_block(self, offset: int, start: int, limit: int) -> Block | None:
        """The block that a cut here would split, where it begins after `start` and so many
        characters as lie before `limit` can hold it."""
        block = self.block_around(offset)
        fits = block and start < block.start and block.end - block.start <= limit - start
        return block if fits else None

    def _headings(self, text: str) -> Iterator[_Heading]:
        for found in _HEADING.finditer(text):
            if not self.block_around(found.start() + 1):
                yield _heading(found)


def _blocks(text: str) -> Iterator[Block]:
    """Code between fences, and tables outside of it, in the text's order."""
    tables = [Block(*found.span()) for found in _TABLE.finditer(text)]
    at = 0
    for code in _code(text):
        while at < len(tables) and tables[at].start < code.end:
            if tables[at].start < code.start:
                yield tables[at]
            at += 1
        yield code
    yield from tables[at:]


def _code(text: str) -> Iterator[Block]:
    """Each fence with the next one that closes it. All are found before any is matched, so that a
    text of nothing but fences that are never closed takes no longer than any other."""
    fences = list(_FENCE.finditer(text))
    lines = _line_numbers(text, fences)
    closing: dict[str, int] = {}
    closed_by: list[int | None] = [None] * len(fences)
    for at in reversed(range(len(fences))):
        closed_by[at] = closing.get(fences[at]["fence"])
        if not fences[at]["rest"].strip(" \t"):
            closing[fences[at]["fence"]] = at
    begin = 0
    while begin < len(fences):
        end = closed_by[begin]
        if end is None or lines[end] - lines[begin] > _MOST_CODE_LINES + 1:
            begin += 1
            continue
        yield Block(fences[begin].start(), fences[end].end())
        begin = end + 1


def _line_numbers(text: str, places: list[re.Match[str]]) -> list[int]:
    numbers, counted = [], 0
    for before, place in zip([None, *places], places, strict=False):
        counted += text.count("\n", before.start() if before else 0, place.start())
        numbers.append(counted)
    return numbers


def _heading(found: re.Match[str]) -> _Heading:
    if marks := found["marks"]:
        return _Heading(found.start(), len(marks), found["marked"].strip(" #"))
    if title := found["underlined"]:
        return _Heading(found.start(), 1 + _UNDERLINES.index(found["line"]), title.strip())
    level, title = (1, found["part"]) if found["part"] else (2, found["item"])
    return _Heading(found.start(), level, title.strip())


def _paths(headings: Iterator[_Heading]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Where each heading begins, and the titles from the outermost down to its own."""
    above: list[_Heading] = []
    for heading in headings:
        above = [each for each in above if each.level < heading.level]
        above.append(heading)
        yield heading.start, tuple(each.title[:_HEADING_CHARACTERS] for each in above)


def opening(text: str) -> str:
    """The first line that says something, which is a title more often than not."""
    begun = text[: 100 * _OPENING_CHARACTERS].lstrip()
    return begun.partition("\n")[0][:_OPENING_CHARACTERS].strip("# \t\r")
