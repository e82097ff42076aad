"""Finds a passage that is similar to a quote, in time that does not depend on their differences.

Up to 8 pieces of the quote, each of 8 characters (4 in Chinese, Japanese or Korean), are looked up
in the text. If several of them occur at the same distances as in the quote, the two are aligned
there. Nothing that is found here verifies a quote.
"""

from __future__ import annotations

from collections.abc import Iterator

from rapidfuzz.distance import Indel, LCSseq

MIN_SIMILARITY = 0.75
"""Minimum similarity of a passage to the quote, from 0 to 1 for equal ones.

The similarity is 1 minus the number of insertions and deletions, divided by the sum of both
lengths."""
_MIN_CHARACTERS = 10
_MIN_IDEOGRAPHS = 5
_MAX_CHARACTERS = 2000
_PIECES = 8
_ENOUGH_PIECES = 3
_PLACES_OF_A_PIECE = 3
_PIECE_CHARACTERS = 8
_PIECE_IDEOGRAPHS = 4
_CANDIDATES = 3
_SOLID_CHARACTERS = 4


def find_similar(quote: str, text: str, start: int, end: int) -> tuple[int, int] | None:
    """Return the (start, end) of the passage in text[start:end] that is most similar to `quote`.

    Both are in bare form (see `folding.bare`). Of a quote, only the first 2,000 characters are
    compared. Returns None if no similarity reaches MIN_SIMILARITY, and for a quote of less than 10
    characters (5 in Chinese, Japanese or Korean). The search is heuristic: it may miss a passage.
    """
    quote = quote[:_MAX_CHARACTERS]
    dense = sum(character >= "\u2e80" for character in quote) * 2 > len(quote)
    if len(quote) < (_MIN_IDEOGRAPHS if dense else _MIN_CHARACTERS):
        return None
    size = _PIECE_IDEOGRAPHS if dense else _PIECE_CHARACTERS
    diagonals = _diagonals(quote, text, start, end, size)
    spans = [_align(quote, text, start, end, diagonal) for diagonal in diagonals]
    scored = [
        (Indel.normalized_similarity(quote, text[slice(*span)]), -span[0], span)
        for span in spans
        if span
    ]
    if not scored:
        return None
    score, _, span = max(scored)
    return span if score >= MIN_SIMILARITY else None


def _diagonals(quote: str, text: str, start: int, end: int, size: int) -> list[int]:
    """Return where the quote would begin by the places of its pieces, the most frequent first."""
    tolerance = len(quote) // 8 + size
    clusters: list[list[int]] = []
    for place in _places(quote, text, start, end, size):
        near = (cluster for cluster in clusters if abs(place - cluster[0]) <= tolerance)
        cluster = next(near, None)
        if cluster is None:
            clusters.append([place])
        else:
            cluster.append(place)
            if len(cluster) == _ENOUGH_PIECES:
                return [sorted(cluster)[len(cluster) // 2]]
    clusters.sort(key=len, reverse=True)
    return [sorted(cluster)[len(cluster) // 2] for cluster in clusters[:_CANDIDATES]]


def _places(quote: str, text: str, start: int, end: int, size: int) -> Iterator[int]:
    """Yield where the quote would begin if a piece of it stands at its place."""
    last = len(quote) - size
    count = min(_PIECES, last // max(1, size // 2) + 1)
    for number in range(count):
        offset = last * number // max(1, count - 1)
        place = start - 1
        for _ in range(_PLACES_OF_A_PIECE):
            place = text.find(quote[offset : offset + size], place + 1, end)
            if place < 0:
                break
            yield place - offset


def _align(quote: str, text: str, start: int, end: int, diagonal: int) -> tuple[int, int] | None:
    """Return the span around a diagonal that matches the quote, without stray characters."""
    slack = len(quote) // 6 + _SOLID_CHARACTERS
    left = max(start, diagonal - slack)
    window = text[left : min(end, diagonal + len(quote) + slack)]
    blocks = [block for block in LCSseq.editops(quote, window).as_matching_blocks() if block.size]
    solid = [block for block in blocks if block.size >= _SOLID_CHARACTERS]
    if not solid:
        return None
    first, last = solid[0], solid[-1]
    begin = left + first.b - first.a
    finish = left + last.b + len(quote) - last.a
    begin, finish = max(start, begin), min(end, finish)
    return (begin, finish) if begin < finish else None
