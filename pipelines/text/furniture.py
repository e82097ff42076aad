"""Replaces by blanks what interrupts the sentences of a document: page furniture, tags and markers.

Page furniture are the headers, footers and page numbers between two pages. They are recognized by
lines that recur (see `_is_furniture`), since a text has no page layout. Tags are those of HTML;
markers are references in braces, such as `{fn:12}`.
"""

from __future__ import annotations

import heapq
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

_BLOCK_CHARACTERS = 65_536
_MAX_LINE_CHARACTERS = 200
_MAX_RUN_LINES = 12
_MAX_FORMS = 50_000
_DIGITS = re.compile(r"\d+")
# {3}, {fn:12}, {page_4}: never a plain word, which could belong to the sentence
_MARKER = re.compile(r"\{[\w.:/#-]{0,40}[\d_:/#][\w.:/#-]{0,40}\}")
# a word that is no tag of HTML needs an attribute: <not> may belong to the sentence
_TAG = re.compile(
    r"</?(?:[a-z][a-z0-9]{0,20}\s[^<>=]{0,40}=[^<>]{0,200}|a|abbr|b|big|blockquote|body|br|caption"
    r"|center|cite|code|col|dd|del|div|dl|dt|em|figure|font|footer|h[1-6r]|head|header|html|i|img"
    r"|ins|kbd|li|main|mark|nav|ol|p|page|pre|q|s|section|small|span|strike|strong|sub|sup|table"
    r"|tbody|td|tfoot|th|thead|title|tr|tt|u|ul|var)\s?/?>",
    re.IGNORECASE,
)
_MIN_HEADING_CHARACTERS = 12
_PAGE_BREAK = "\f"


class _Line(NamedTuple):
    start: int
    end: int
    form: str
    """The line without blanks at its ends, and with # for each number."""
    has_letters: bool


def without_interruptions(text: str) -> str:
    """Return `text` with page furniture, tags and markers replaced by as many blanks.

    All offsets stay valid. Returns `text` itself if it has none of them.
    """
    spans = heapq.merge(*_marked_spans(text), _furniture_spans(text))
    first = next(spans, None)
    if first is None:
        return text
    return "".join(_blanked(text, chain([first], spans)))


def _blanked(text: str, spans: Iterable[tuple[int, int]]) -> Iterator[str]:
    """Yield the parts of `text`, of some 100,000 characters, with blanks in the spans."""
    pieces: list[str] = []
    done = written = 0
    for start, end in spans:
        if start >= done:
            pieces += [text[done:start], " " * (end - start)]
            done = end
        if done - written > _BLOCK_CHARACTERS:
            yield "".join(pieces)
            pieces, written = [], done
    yield "".join([*pieces, text[done:]])


def _marked_spans(text: str) -> Iterator[Iterator[tuple[int, int]]]:
    for opening, pattern in (("{", _MARKER), ("<", _TAG)):
        if opening in text:
            yield (match.span() for match in pattern.finditer(text))


def _furniture_spans(text: str) -> Iterator[tuple[int, int]]:
    recurring = _recurring_forms(text)
    if not recurring and _PAGE_BREAK not in text:
        return
    # read twice, since a table of millions of rows would not fit in memory
    page_numbers = _page_number_forms(text, _runs(text, recurring))
    for run in _runs(text, recurring):
        if _is_furniture(text, run, page_numbers):
            yield from ((line.start, line.end) for line in run)


def _blocks(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the text in blocks of lines: offset, characters, the same with # for each number."""
    start = 0
    while start < len(text):
        limit = start + 2 * _BLOCK_CHARACTERS
        end = text.find("\n", start + _BLOCK_CHARACTERS, limit) + 1 or min(limit, len(text))
        block = text[start:end]
        yield start, block, _DIGITS.sub("#", block)
        start = end


def _recurring_forms(text: str) -> set[int]:
    """Return the hashes of the forms of lines that recur within 50,000 other forms.

    What stands on each page does. At most 50,000 are returned.
    """
    earlier: set[int] = set()
    seen: set[int] = set()
    recurring: set[int] = set()
    for _, _, forms in _blocks(text):
        for form in map(str.strip, forms.splitlines()):
            if form and len(form) <= _MAX_LINE_CHARACTERS:
                key = hash(form)
                if key not in seen and key not in earlier:
                    seen.add(key)
                elif len(recurring) < _MAX_FORMS:
                    recurring.add(key)
        if len(seen) >= _MAX_FORMS:
            earlier, seen = seen, set()
    return recurring


def _runs(text: str, recurring: set[int]) -> Iterator[list[_Line]]:
    """Yield groups of neighbouring lines that recur or have no letters."""
    run: list[_Line] = []
    for start, block, forms in _blocks(text):
        offset = start
        lines = zip(block.splitlines(keepends=True), forms.splitlines(), strict=True)
        for characters, form in lines:
            form = form.strip()
            if form:
                line = _line(characters, form, offset, recurring)
                if line:
                    # a longer run is no furniture, and a table may have millions of rows
                    if line.has_letters or len(run) <= _MAX_RUN_LINES:
                        run.append(line)
                elif run:
                    yield run
                    run = []
            offset += len(characters)
    if run:
        yield run


def _line(characters: str, form: str, offset: int, recurring: set[int]) -> _Line | None:
    """Return a line of a run, None if it belongs to the text."""
    if len(form) > _MAX_LINE_CHARACTERS:
        return None
    has_letters = any(map(str.isalpha, form))
    if has_letters and hash(form) not in recurring:
        return None
    start = offset + len(characters) - len(characters.lstrip())
    return _Line(start, start + len(characters.strip()), form, has_letters)


def _page_number_forms(text: str, runs: Iterable[Sequence[_Line]]) -> set[str]:
    """Return the forms of lines of which a number rises by one, mostly, each time they recur."""
    last_numbers: dict[str, list[int]] = {}
    balance: defaultdict[str, int] = defaultdict(int)
    for line in chain.from_iterable(runs):
        if line.has_letters and "#" in line.form:
            numbers = [int(digits[-6:]) for digits in _DIGITS.findall(text[line.start : line.end])]
            if line.form in last_numbers:
                balance[line.form] += 1 if _rises(last_numbers[line.form], numbers) else -1
            last_numbers[line.form] = numbers
    return {form for form, count in balance.items() if count > 0}


def _rises(before: Sequence[int], now: Sequence[int]) -> bool:
    """Return whether one number is higher by one, and the others are the same."""
    if len(before) != len(now):
        return False
    steps = [later - earlier for earlier, later in zip(before, now, strict=True)]
    return sorted(steps) == [0] * (len(steps) - 1) + [1] if steps else False


def _is_furniture(text: str, run: Sequence[_Line], page_numbers: set[str]) -> bool:
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
    if has_break and not all(_may_be_heading(line.form) for line in worded):
        return False
    if has_break or any(line.form in page_numbers for line in worded):
        return True
    return (
        len(run) == len(worded)
        and all(len(line.form) >= _MIN_HEADING_CHARACTERS for line in worded)
        and _is_blank_line(before)
        and _is_blank_line(behind)
        and _is_inside_sentence(text, run)
    )


def _may_be_heading(form: str) -> bool:
    """Return whether a line is more than a word of the sentence, in a narrow column."""
    return len(form) >= _MIN_HEADING_CHARACTERS or "#" in form or not form[0].islower()


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
