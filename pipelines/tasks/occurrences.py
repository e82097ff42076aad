"""Decides which places of a chunk each of several equal values of a list may stand at.

A chunk states what stands in it, in the document's order, and equal values are that of different
places. So the first of them stands at one of the first places, and the last at one of the last.
Knows no evidence, schema or prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.text.mentions import Place


@dataclass(frozen=True, slots=True)
class Turn:
    """Which of the equal values of a list one is: its number, from 0, and how many there are."""

    number: int
    values: int


def own_places(places: Sequence[Place], own: Place, values: int) -> list[Place]:
    """Return those places that so many equal values of a chunk, text[own[0]:own[1]], stand at.

    These are the places in the chunk. Only if they are too few, the nearest of the others follow: a
    statement that the border divides may have its value on the other side. `places` are in order.
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
    """Return at most `limit` of the places of equal values at which one of them may stand.

    If the places are too few, each of the first values has one, and the others may stand at any.
    """
    if turn.number >= len(places):
        return places[:limit]
    others = max(0, len(places) - turn.values)
    return places[turn.number : turn.number + min(others + 1, limit)]
