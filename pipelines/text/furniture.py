"""Blanks what interrupts the sentences of a document: page headers and footers, tags and markers.

A line is page furniture only beside others of its kind: see `_is_furniture`. It does not know the
layout of pages, only lines that recur.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_LINE = re.compile(r"[^\n\r\f\v\x85\u2028\u2029]+")
_MAX_LINE_CHARACTERS = 200
_MAX_RUN_LINES = 12
_DIGITS = re.compile(r"\d+")
# {3}, {fn:12}, {page_4}: never a plain word, which could belong to the sentence
_MARKER = re.compile(r"\{[\w.:/#-]{0,40}[\d_:/#][\w.:/#-]{0,40}\}")
_TAG = re.compile(r"</?[A-Za-z][A-Za-z0-9]{0,20}(?:\s[^<>=]{0,40}=[^<>]{0,200})?\s?/?>")
_MIN_HEADING_CHARACTERS = 12
_PAGE_BREAK = "\f"


@dataclass(frozen=True, slots=True)
class _Line:
    start: int
    end: int
    form: str

    @property
    def has_letters(self) -> bool:
        return any(character.isalpha() for character in self.form)


def without_interruptions(text: str) -> str:
    """Return `text` with page furniture, tags and markers replaced by blanks of the same length."""
    spans = sorted([*_marked_spans(text), *_furniture_spans(text)])
    if not spans:
        return text
    pieces = []
    done = 0
    for start, end in spans:
        if start >= done:
            pieces += [text[done:start], " " * (end - start)]
            done = end
    return "".join([*pieces, text[done:]])


def _marked_spans(text: str) -> Iterator[tuple[int, int]]:
    for opening, pattern in (("{", _MARKER), ("<", _TAG)):
        if opening in text:
            yield from (match.span() for match in pattern.finditer(text))


def _furniture_spans(text: str) -> Iterator[tuple[int, int]]:
    recurring, page_numbers = _recurring_forms(text)
    if not recurring and _PAGE_BREAK not in text:
        return
    for run in _runs(text, recurring):
        if _is_furniture(text, run, recurring, page_numbers):
            yield from ((line.start, line.end) for line in run)


def _lines(text: str) -> Iterator[_Line]:
    """Yield the lines that are not blank, without blanks at their ends, and digits as #."""
    for match in _LINE.finditer(text):
        words = match[0].strip()
        if words:
            start = match.start() + len(match[0]) - len(match[0].lstrip())
            form = "" if len(words) > _MAX_LINE_CHARACTERS else _DIGITS.sub("#", words)
            yield _Line(start, start + len(words), form)


def _recurring_forms(text: str) -> tuple[set[int], set[int]]:
    """Return the hashes of lines that recur, and of those whose number rises by one each time."""
    last_numbers: dict[int, tuple[int, ...]] = {}
    recurring: set[int] = set()
    rises: defaultdict[int, int] = defaultdict(int)
    for line in _lines(text):
        if not line.form:
            continue
        key = hash(line.form)
        numbers: tuple[int, ...] = ()
        if "#" in line.form:
            found = _DIGITS.findall(text[line.start : line.end])
            numbers = tuple(int(number) for number in found if len(number) < 6)
        if key in last_numbers:
            recurring.add(key)
            rises[key] += 1 if _rises(last_numbers[key], numbers) else -1
        last_numbers[key] = numbers
    return recurring, {key for key, balance in rises.items() if balance > 0}


def _rises(before: Sequence[int], now: Sequence[int]) -> bool:
    """Return whether one number is higher by one, and the others are the same."""
    if len(before) != len(now):
        return False
    steps = [later - earlier for earlier, later in zip(before, now, strict=True)]
    return sorted(steps) == [0] * (len(steps) - 1) + [1] if steps else False


def _runs(text: str, recurring: set[int]) -> Iterator[list[_Line]]:
    """Yield groups of neighbouring lines that recur or have only a number."""
    run: list[_Line] = []
    for line in _lines(text):
        if line.form and (not line.has_letters or hash(line.form) in recurring):
            run.append(line)
            continue
        if run:
            yield run
        run = []
    if run:
        yield run


def _is_furniture(
    text: str, run: Sequence[_Line], recurring: set[int], page_numbers: set[int]
) -> bool:
    """Return whether a run of lines that recur stands at a page border.

    It has a page break, a line with a page number that rises, or it interrupts a sentence and is a
    paragraph of its own. Lines of digits alone are table cells, except for one that touches a page
    break or stands beside another line of furniture.
    """
    if len(run) > _MAX_RUN_LINES:
        return False
    before, behind = _surroundings(text, run)
    inside = text[run[0].start : run[-1].end]
    has_break = _PAGE_BREAK in before + inside + behind
    worded = [line for line in run if line.has_letters]
    if not worded or len(run) - len(worded) > 1:
        return has_break and len(run) == 1
    if has_break or any(hash(line.form) in page_numbers for line in worded):
        return True
    return (
        len(run) == len(worded)
        and all(len(line.form) >= _MIN_HEADING_CHARACTERS for line in worded)
        and _is_blank_line(before)
        and _is_blank_line(behind)
        and _is_inside_sentence(text, run)
    )


def _is_inside_sentence(text: str, run: Sequence[_Line]) -> bool:
    words = text[max(0, run[0].start - _MAX_LINE_CHARACTERS) : run[0].start].rstrip()
    behind = text[run[-1].end : run[-1].end + _MAX_LINE_CHARACTERS].lstrip()
    ends_open = words[-1:].isalpha() or words.endswith(",")
    return ends_open and behind[:1].isalpha() and not behind[:1].isupper()


def _surroundings(text: str, run: Sequence[_Line]) -> tuple[str, str]:
    """Return the white space before and behind a run of lines."""
    start, end = run[0].start, run[-1].end
    first, last = start, end
    while first > 0 and text[first - 1].isspace():
        first -= 1
    while last < len(text) and text[last].isspace():
        last += 1
    return text[first:start], text[end:last]


def _is_blank_line(space: str) -> bool:
    return len(re.findall(r"\r\n|[\n\r\f]", space)) > 1
