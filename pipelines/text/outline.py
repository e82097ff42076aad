"""The layout of a text: its first line, headings, tables and code blocks.

Recognizes Markdown, reStructuredText and the headings of filings ("Item 1A."). Does not know
tokens.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.text.characters import character_start, first_line
from pipelines.text.comments import (
    is_banner,
    is_marked_comment,
    is_script,
    is_underlined_code,
)

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
_MAX_CODE_LINES = 500
_LINE_BREAKS = "\r\x0b\x0c\x85\u2028\u2029"


@dataclass(frozen=True, slots=True)
class Block:
    """A table or a code block, text[start:end] in characters."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Heading:
    start: int
    level: int
    title: str


class Outline:
    """The headings, tables and code blocks of one text, which can be looked up by offset.

    The constructor finds them all, in time linear in the length of `text`. All kinds of line breaks
    are recognized. Offsets are in characters of the given `text`.
    """

    def __init__(self, text: str) -> None:
        # the offsets after each CR LF in the text in which it is one character
        self._pairs = [
            match.end() - number for number, match in enumerate(re.finditer("\r\n", text), 1)
        ]
        text = text.replace("\r\n", "\n")
        for line_break in _LINE_BREAKS:  # far faster than `translate` in a long text
            text = text.replace(line_break, "\n")
        self._blocks = list(_blocks(text))
        self._block_starts = [block.start for block in self._blocks]
        self._paths = list(_paths(self._headings(text)))
        self._path_starts = [self._given(start) for start, _ in self._paths]
        self._blocks = [Block(*map(self._given, (b.start, b.end))) for b in self._blocks]
        self._block_starts = [block.start for block in self._blocks]

    def headings_at(self, offset: int) -> tuple[str, ...]:
        """Return the titles of the sections that contain character `offset`, outermost first.

        Empty before the first heading. A heading belongs to its own section. A title has at most
        120 characters.
        """
        position = bisect_right(self._path_starts, offset)
        return self._paths[position - 1][1] if position else ()

    def block_around(self, offset: int) -> Block | None:
        """Return the table or code block that a cut before character `offset` would split.

        Returns None if the offset is in no block, or at the start or end of one.
        """
        position = bisect_right(self._block_starts, offset)
        block = self._blocks[position - 1] if position else None
        return block if block and block.start < offset < block.end else None

    def fitting_block(self, offset: int, start: int, limit: int) -> Block | None:
        """Return the block that a cut before character `offset` would split, if it fits a chunk.

        `start` is where the current chunk begins and `limit` its maximum end. Returns None if there
        is no such block, if it is longer than `limit - start` characters, or if it does not begin
        after `start`, so that moving it to the next chunk would not help.
        """
        block = self.block_around(offset)
        fits = block and start < block.start and block.end - block.start <= limit - start
        return block if fits else None

    def _given(self, offset: int) -> int:
        """Return the offset in the given text of one in the text with LF as line breaks."""
        return offset + bisect_right(self._pairs, offset)

    def _headings(self, text: str) -> Iterator[_Heading]:
        script = is_script(text)
        for match in _HEADING.finditer(text):
            if not self.block_around(match.start() + 1) and not _is_comment(match, script):
                yield _heading(match)


def _blocks(text: str) -> Iterator[Block]:
    """Yield the code blocks, and the tables outside of them, in order of their start."""
    tables = [Block(*match.span()) for match in _TABLE.finditer(text)]
    position = 0
    for code in _code_blocks(text):
        while position < len(tables) and tables[position].start < code.end:
            if tables[position].start < code.start:
                yield tables[position]
            position += 1
        yield code
    yield from tables[position:]


def _code_blocks(text: str) -> Iterator[Block]:
    """Yield the code between each opening fence and the next fence that closes it.

    The closing fences are determined in one pass from the end, so that time is linear also for a
    text with many fences that are never closed.
    """
    fences = list(_FENCE.finditer(text))
    lines = _line_numbers(text, fences)
    closing: dict[str, int] = {}
    closed_by: list[int | None] = [None] * len(fences)
    for index in reversed(range(len(fences))):
        closed_by[index] = closing.get(fences[index]["fence"])
        if not fences[index]["rest"].strip(" \t"):
            closing[fences[index]["fence"]] = index
    begin = 0
    while begin < len(fences):
        end = closed_by[begin]
        if end is None or lines[end] - lines[begin] > _MAX_CODE_LINES + 1:
            begin += 1
            continue
        yield Block(fences[begin].start(), fences[end].end())
        begin = end + 1


def _line_numbers(text: str, matches: list[re.Match[str]]) -> list[int]:
    """Return the line number of each match, from 0; `matches` are in order."""
    numbers, lines = [], 0
    for previous, match in zip([None, *matches], matches, strict=False):
        lines += text.count("\n", previous.start() if previous else 0, match.start())
        numbers.append(lines)
    return numbers


def _is_comment(match: re.Match[str], script: bool) -> bool:
    """Return whether a match of _HEADING is a comment, or a banner in a log, rather than a heading.

    `script` is whether the text begins as a script.
    """
    text, end = match.string, match.end()
    if marks := match["marks"]:
        if is_banner(match["marked"]):
            return True
        return script or is_marked_comment(text, match.start(), end, marks)
    if title := match["underlined"]:
        return is_banner(title) or is_underlined_code(text, title, end)
    return False


def _heading(match: re.Match[str]) -> _Heading:
    """Return the heading of a match of _HEADING, with its level, from 1 for the outermost."""
    if marks := match["marks"]:
        return _Heading(match.start(), len(marks), match["marked"].strip(" #"))
    if title := match["underlined"]:
        return _Heading(match.start(), 1 + _UNDERLINES.index(match["line"]), title.strip())
    level, title = (1, match["part"]) if match["part"] else (2, match["item"])
    return _Heading(match.start(), level, title.strip())


def _paths(headings: Iterator[_Heading]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield the start of each heading, and its path: the titles from the outermost to its own."""
    path: list[_Heading] = []
    for heading in headings:
        path = [parent for parent in path if parent.level < heading.level]
        path.append(heading)
        yield heading.start, tuple(parent.title[:_HEADING_CHARACTERS] for parent in path)


def opening(text: str) -> str:
    """Return the first line of a text that is not blank, cut off after 200 characters.

    It is often the title; `#` and blanks at its ends are removed. Empty if the text is blank, or
    begins with 20,000 characters of white space.
    """
    line = first_line(text[: 100 * _OPENING_CHARACTERS].lstrip())
    return line[: character_start(line, min(len(line), _OPENING_CHARACTERS))].strip("# \t\r")
