"""Decide at which place in the document each item of a chunk's list is stated.

The evidence of an item's values may name several places, since the same words can occur repeatedly.
An item stands where its values are close together, and items are listed in the document's order.
Pure; knows no schema, prompts or engine.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipelines.documents import EvidenceStatus
from pipelines.tasks.comparison import value_key
from pipelines.tasks.statements import StatedChunk, Statement

Place = tuple[int, int]
"""The start and end of a passage, in characters."""
# Values further apart than this are as good as anywhere.
_FAR = 400
# Two items in the same place, such as that of a quote of both, are worse than items far apart.
_SHARED = 10_000
# An item listed before an item that precedes it in the document is worse than any distance.
_OUT_OF_ORDER = 100_000


@dataclass(frozen=True, slots=True)
class PlacedItem:
    """An item of the list in a chunk's answer, with the places of its values in the document.

    Attributes:
        item: the statement of the item: its value in the chunk's answer, with the evidence.
        places: the place of each value that has one, by its path within the item, with `[]` for
            indexes; of several values under one path, such as those of a nested list, all places.
        anchor: the path of the value whose place counts as the item's; None if no value has a
            place.
        start: the first character of the anchor's place; None if no value has a place, or if the
            item is crowded.
        is_crowded: whether the list has more equal items than there are known places for them, so
            that this one has none.
    """

    item: Statement
    places: Mapping[str, Sequence[Place]]
    anchor: str | None
    start: int | None
    is_crowded: bool = False

    @property
    def end(self) -> int:
        """Return the character after the last place of the item's values; 0 without any place."""
        return max((end for places in self.places.values() for _, end in places), default=0)


@dataclass(frozen=True, slots=True)
class _Candidates:
    """The possible places of an item's values, by path within the item, each in order."""

    item: Statement
    places: Mapping[str, Sequence[Place]]
    anchor: str | None


def placed_items(items: Sequence[Statement]) -> list[PlacedItem]:
    """Return the items of one chunk's list with their places in the document, in the list's order.

    `items` are the statements of the items, as `Statement.items` returns them. A place is the start
    and end, in characters, of words with the value. Of several possible places, those are selected
    for which items are in the document's order, the values of an item are close together, and equal
    items are at different places.
    """
    columns = [_possible_places(item) for item in items]
    scores = _anchor_scores(items, columns)
    candidates = [
        _Candidates(item, places, max(places, key=scores.__getitem__, default=None))
        for item, places in zip(items, columns, strict=True)
    ]
    keys = [value_key(item.value) for item in items]
    anchors = _distinct(candidates, _in_order(candidates, keys), keys)
    before = _columns_before_anchor(candidates, anchors)
    limits = [place[0] for place in anchors if place is not None]
    limits.sort()
    return [
        _placed(candidate, place, limits, before)
        for candidate, place in zip(candidates, anchors, strict=True)
    ]


def _possible_places(item: Statement) -> dict[str, list[Place]]:
    """Return the places of an item's values by path; those within the chunk if there are any.

    A quote shows several items as a rule, so its place counts only without places of the value.
    """
    columns: dict[str, set[Place]] = {}
    chunk = item.chunk
    for leaf in item.leaves():
        found = [row for row in leaf.rows if row.status is EvidenceStatus.FOUND]
        places = [
            (row.start, row.end)
            for row in found or leaf.rows
            if row.start is not None and row.end is not None
        ]
        inside = [place for place in places if _is_inside(place, chunk)]
        if places:
            columns.setdefault(item.column(leaf), set()).update(inside or places)
    return {column: sorted(places) for column, places in columns.items()}


def _is_inside(place: Place, chunk: StatedChunk) -> bool:
    return place[1] > chunk.start and place[0] < chunk.end


def _anchor_scores(
    items: Sequence[Statement], columns: Sequence[Mapping[str, Sequence[Place]]]
) -> dict[str, float]:
    """Return for each path how well its places tell the items apart.

    It is the number of different places in the chunk, divided by the mean number of places of an
    item.
    """
    different: dict[str, set[Place]] = {}
    counts: dict[str, list[int]] = {}
    for item, of_item in zip(items, columns, strict=True):
        for column, places in of_item.items():
            inside = [place for place in places if _is_inside(place, item.chunk)]
            different.setdefault(column, set()).update(inside)
            counts.setdefault(column, []).append(len(places))
    # values of nested lists are many to an item, each with its own place
    return {
        column: len(places) * len(counts[column]) / sum(counts[column]) / (1 + column.count("[]"))
        for column, places in different.items()
    }


def _in_order(candidates: Sequence[_Candidates], keys: Sequence[str]) -> list[Place | None]:
    """Return a place for each item so that items are in order and their values close together.

    Of equally good choices the earliest places are taken. `keys` are equal for equal items.
    """
    # for each item with places: its places with their costs and the index of the previous choice
    steps: list[list[tuple[float, int]]] = []
    placed = [index for index, candidate in enumerate(candidates) if candidate.anchor is not None]
    for previous, current in pairwise([None, *placed]):
        assert current is not None
        equal = previous is not None and keys[previous] == keys[current]
        earlier = [] if previous is None else _anchor_places(candidates[previous])
        steps.append(
            _step(candidates[current], earlier, steps[-1] if steps else [], strictly=equal)
        )
    result: list[Place | None] = [None] * len(candidates)
    choice = _cheapest(steps[-1]) if steps else 0
    for index, step in zip(reversed(placed), reversed(steps), strict=True):
        result[index] = _anchor_places(candidates[index])[choice]
        choice = step[choice][1]
    return result


def _anchor_places(candidate: _Candidates) -> Sequence[Place]:
    return () if candidate.anchor is None else candidate.places[candidate.anchor]


def _step(
    candidate: _Candidates,
    earlier: Sequence[Place],
    costs: Sequence[tuple[float, int]],
    *,
    strictly: bool,
) -> list[tuple[float, int]]:
    """Return each place's least cost, with the index of the previous item's place.

    `earlier` are the previous item's places with their `costs`, both empty for the first item. With
    `strictly`, an item cannot stand at the same place as the previous one.
    """
    if not earlier:
        return [(_distance(candidate, place), 0) for place in _anchor_places(candidate)]
    best_index = _cheapest(costs)
    best, at, result = costs[best_index][0] + _OUT_OF_ORDER, 0, []
    for place in _anchor_places(candidate):
        while at < len(earlier) and earlier[at][1] <= place[0]:
            if costs[at][0] < best:
                best, best_index = costs[at][0], at
            at += 1
        cost, index = best, best_index
        for other in range(at, len(earlier)):
            if earlier[other][0] > place[0]:
                break
            if not (strictly and earlier[other] == place) and costs[other][0] + _SHARED < cost:
                cost, index = costs[other][0] + _SHARED, other
        result.append((cost + _distance(candidate, place), index))
    return result


def _cheapest(costs: Sequence[tuple[float, int]]) -> int:
    return min(range(len(costs)), key=lambda index: costs[index][0])


def _distance(candidate: _Candidates, place: Place) -> float:
    """Return how far an item's other values are from a place.

    A place that the border of the chunk divides is further.
    """
    chunk = candidate.item.chunk
    is_whole = chunk.start <= place[0] and place[1] <= chunk.end
    return (0 if is_whole else _FAR) + sum(
        min(_FAR, abs(_nearest(places, place[0])[0] - place[0]))
        for column, places in candidate.places.items()
        if column != candidate.anchor
    )


def _nearest(places: Sequence[Place], start: int) -> Place:
    at = bisect_left(places, (start, 0))
    return min(places[max(0, at - 1) : at + 1], key=lambda place: abs(place[0] - start))


def _distinct(
    candidates: Sequence[_Candidates], chosen: Sequence[Place | None], keys: Sequence[str]
) -> list[Place | None]:
    """Return the chosen places so that equal items have different ones.

    The first of several equal items gets the first place. If there are more equal items than
    places, the last ones get none.
    """
    result = list(chosen)
    groups: dict[tuple[str, str | None], list[int]] = {}
    for index, candidate in enumerate(candidates):
        if chosen[index] is not None:
            groups.setdefault((keys[index], candidate.anchor), []).append(index)
    for indices in groups.values():
        used = {place for index in indices if (place := chosen[index]) is not None}
        if len(used) < len(indices):
            free = {place for index in indices for place in _anchor_places(candidates[index])}
            missing = len(indices) - len(used)
            places: list[Place | None] = [*sorted([*used, *sorted(free - used)[:missing]])]
            padded = places + [None] * (len(indices) - len(places))
            for index, place in zip(indices, padded, strict=True):
                result[index] = place
    return result


def _columns_before_anchor(
    candidates: Sequence[_Candidates], anchors: Sequence[Place | None]
) -> set[str]:
    """Return the paths of values that stand before the anchors of their items, not after them."""
    balance: dict[str, int] = {}
    starts = sorted(place[0] for place in anchors if place is not None)
    for candidate, place in zip(candidates, anchors, strict=True):
        if place is None:
            continue
        for column, places in candidate.places.items():
            after, before = _beside(places, place[0], starts)
            balance[column] = balance.get(column, 0) + bool(after) - bool(before)
    return {column for column, difference in balance.items() if difference < 0}


def _beside(
    places: Sequence[Place], start: int, starts: Sequence[int]
) -> tuple[Sequence[Place], Sequence[Place]]:
    """Return the places between an item's anchor and the next one, and between the last and it."""
    at = bisect_left(starts, start)
    last = starts[at - 1] if at > 0 else -1
    following = bisect_left(starts, start + 1)
    here = bisect_left(places, (start, 0))
    end = bisect_left(places, (starts[following], 0)) if following < len(starts) else len(places)
    return places[here:end], places[bisect_left(places, (last + 1, 0)) : here]


def _placed(
    candidate: _Candidates, anchor: Place | None, starts: Sequence[int], before: set[str]
) -> PlacedItem:
    """Return an item with one place of each value: the one between its neighbours, or nearest."""
    if anchor is None:
        return PlacedItem(candidate.item, {}, None, None, candidate.anchor is not None)
    chosen: dict[str, Sequence[Place]] = {}
    for column, places in candidate.places.items():
        after, preceding = _beside(places, anchor[0], starts)
        if "[]" in column:
            chosen[column] = after or places
        elif column == candidate.anchor:
            chosen[column] = (anchor,)
        else:
            first, second = (preceding[-1:], after[:1]) if column in before else (
                after[:1], preceding[-1:],
            )  # fmt: skip
            chosen[column] = first or second or (_nearest(places, anchor[0]),)
    return PlacedItem(candidate.item, chosen, candidate.anchor, anchor[0])
