"""Selects, for each of several equal values of a list, the places in the document it may be from.

A place is the start and end, in characters, of words in the document that state the value. A
chunk's answer lists values in the document's order, and equal values are taken from different
places. So the first of them is from one of the first places, and the last from one of the last.
Knows no evidence, schema or prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.text.mentions import Place


@dataclass(frozen=True, slots=True)
class Turn:
    """The position of a value among the equal values of a list in one chunk's answer.

    Attributes:
        number: how many equal values come before it in the answer, from 0.
        values: the number of equal values in all, itself included.
    """

    number: int
    values: int


def own_places(places: Sequence[Place], own: Place, values: int) -> list[Place]:
    """Return the places from which a chunk's equal values may be taken, in the document's order.

    These are the places in the chunk, also in part. If they are fewer than `values`, the nearest
    places outside the chunk are added until there are `values`: the model also reads words around
    the chunk, and a passage that the chunk's border divides may have its value outside.

    Args:
        places: start and end, in characters, of each place in the document that states the value,
            in order.
        own: start and end of the chunk that the model was asked about.
        values: how many equal values the chunk's answer has.
    """
    inside = [place for place in places if place[1] > own[0] and place[0] < own[1]]
    missing = values - len(inside)
    if missing <= 0 or len(inside) == len(places):
        return inside
    outside = sorted(set(places).difference(inside), key=lambda place: _distance(place, own))
    return sorted([*inside, *outside[:missing]])


def _distance(place: Place, own: Place) -> int:
    return max(own[0] - place[1], place[0] - own[1])


def possible_places(places: Sequence[Place], turn: Turn, limit: int) -> Sequence[Place]:
    """Return at most `limit` of the places of equal values from which one of them may be taken.

    The value at position `turn.number` is not from one of the first `turn.number` places, since the
    values before it are from those, and likewise at the end. If there are fewer places than equal
    values, each of the first values has one place, and the others may be from any. `places` are in
    the document's order, and so is the result.
    """
    if turn.number >= len(places):
        return places[:limit]
    others = max(0, len(places) - turn.values)
    return places[turn.number : turn.number + min(others + 1, limit)]
