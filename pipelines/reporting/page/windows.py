"""Cuts a document's text into what a page shows: the places of evidence, and the text around them.

Pure. Offsets are characters, as in the evidence of answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from pipelines.reporting.page.document_facts import Segment, TextView, Window

_AROUND = 700
"""Characters that are shown before and after a place in a long text."""
# Looks for a line's or a word's end within so many characters, so that no word is cut in two.
_NEAR = 120

Span = tuple[int, int]


def view_of(text: str, spans: Sequence[Span], max_characters: int) -> TextView:
    """Return what is shown of a text: all of it if it has at most `max_characters`, else its
    beginning and a window around each of the `spans`, in their order until these are used up.

    The number of a place is the position of its span, counted from 1. Spans outside the text are
    ignored.
    """
    if len(text) <= max_characters:
        shown = [(0, len(text))] if text else []
    else:
        shown = _windows(text, spans, max_characters)
    windows = []
    last = 0
    for start, end in shown:
        segments = tuple(_segments(text, start, end, spans))
        windows.append(Window(start, end, start - last, segments))
        last = end
    return TextView(len(text), tuple(windows), len(text) - last)


def shown_places(view: TextView) -> frozenset[int]:
    """Return the numbers of the places that a view shows at least a part of."""
    return frozenset(
        place for window in view.windows for piece in window.segments for place in piece.places
    )


def _windows(text: str, spans: Sequence[Span], max_characters: int) -> list[Span]:
    """Return the parts of a long text that are shown, ascending and apart from each other."""
    around = min(_AROUND, max_characters // 4)
    chosen = [(0, _end(text, min(2 * around, max_characters)))]
    for start, end in spans:
        if not 0 <= start < end <= len(text):
            continue
        # a passage that is long itself is shown up to its first part
        stop = min(end, start + around)
        wanted = (_start(text, max(0, start - around)), _end(text, min(len(text), stop + around)))
        merged = _merged([*chosen, wanted])
        if sum(high - low for low, high in merged) > max_characters:
            break
        chosen = merged
    return chosen


def _merged(spans: Sequence[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _start(text: str, at: int) -> int:
    """Return a place from `at` on at which a line or a word begins."""
    if at == 0:
        return 0
    for gap in ("\n", " "):
        if (found := text.find(gap, at, at + _NEAR)) >= 0:
            return found + 1
    return at


def _end(text: str, at: int) -> int:
    """Return a place up to `at` at which a line or a word ends."""
    if at >= len(text):
        return len(text)
    for gap in ("\n", " "):
        if (found := text.rfind(gap, at - _NEAR, at)) > 0:
            return found + 1
    return at


def _segments(text: str, start: int, end: int, spans: Sequence[Span]) -> Iterator[Segment]:
    within = [(max(a, start), min(b, end), n) for n, (a, b) in enumerate(spans, 1) if a < b]
    within = [(a, b, n) for a, b, n in within if a < b]
    edges = {edge for a, b, _ in within for edge in (a, b)}
    cuts = sorted({start, end, *edges})
    for low, high in pairwise(cuts):
        places = tuple(n for a, b, n in within if a <= low and high <= b)
        ends = tuple(n for a, b, n in within if b == high and a <= low)
        yield Segment(text[low:high], places, ends)
