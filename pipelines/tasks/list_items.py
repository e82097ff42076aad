"""Match the items of several chunks' lists that are the same item of the document.

An item's place is where its values occur in the document's text; its statement is the item in one
chunk's answer.

- Items of two chunks are the same if they have the same place and do not contradict each other, so
  that items that the document really repeats stay.
- An item that ends at the border of a chunk is continued by the first item of the next chunk, if
  they state different fields.
- Items whose place is not known are the same as an equal item of another chunk. Within a chunk,
  all items are different.

Pure; knows no schema, prompts or engine.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipelines.tasks.comparison import contains, meaning_key, value_key
from pipelines.tasks.places import Place, PlacedItem, placed_items
from pipelines.tasks.statements import Statement

# Of the items that name a passage, such as a heading's, only the last ones are compared.
_MAX_COMPARED = 16
# The parts of an item that a border divides are at most so many characters apart.
_MAX_GAP = 64
_Position = tuple[int, int, int]
"""Orders merged items: place, number of the chunk, index in the chunk's list."""
_Mark = tuple[str, str, int]
"""The beginning or the end of a value's place: path within the item, "start" or "end", offset."""


@dataclass
class _Group:
    """The statements of one item of the merged list.

    Attributes:
        position: orders the items of the merged list.
        statements: those of the item, in the order of chunks.
        chunks: the numbers of their chunks.
        values: its single values by path, without those of nested lists.
        last_start: the start of its last place.
        end: the end of its last place.
    """

    position: _Position
    statements: list[Statement] = field(default_factory=list)
    chunks: set[int] = field(default_factory=set)
    values: dict[str, Any] = field(default_factory=dict)
    last_start: int = 0
    end: int = 0

    def extend(self, item: PlacedItem) -> None:
        """Add an item that has a place."""
        starts = [start for places in item.places.values() for start, _ in places]
        self.last_start = max(self.last_start, *starts)
        self.end = max(self.end, item.end)
        self.add(item.item)

    def add(self, statement: Statement) -> None:
        """Add the statement of the item by a further chunk."""
        self.statements.append(statement)
        self.chunks.add(statement.chunk.number)
        for path, value in single_values(statement).items():
            if not contains(self.values.get(path), value):
                self.values[path] = value


def single_values(statement: Statement) -> dict[str, Any]:
    """Return the single values of an object that a chunk states, by path.

    A single value is neither an object nor a list. Paths, such as `address.city`, are within the
    object. Values in lists, and null or blank ones, are left out.
    """
    values = {statement.column(leaf): leaf.value for leaf in statement.leaves()}
    return {path: value for path, value in values.items() if "[]" not in path}


def contradict(values: Mapping[str, Any], others: Mapping[str, Any], *, cut: bool = False) -> bool:
    """Return whether two objects have different values under the same path, in any spelling.

    Args:
        values: the single values of one object by path, as `single_values` returns them.
        others: those of the other object.
        cut: do not count two texts as different if one is the beginning or end of the other, as if
            cut off at the border of a chunk.
    """
    return any(
        path in others
        and meaning_key(value) != meaning_key(others[path])
        and not (cut and (contains(value, others[path]) or contains(others[path], value)))
        for path, value in values.items()
    )


def same_items(lists: Sequence[Statement]) -> list[list[Statement]]:
    """Merge a list that several chunks state, and return for each merged item its statements.

    A statement is a value in one chunk's answer; those of a merged item are from different chunks.
    `lists` has the statements of the same list, at most one a chunk, in document order. The merged
    items are in document order; an item whose place in the document is not known follows the item
    before it in its chunk's list. Items without content are left out.
    """
    if len(lists) == 1:
        return [[item] for item in lists[0].items()]
    placed = [_without_shared_places(placed_items(stated.items())) for stated in lists]
    matching = _Matching()
    for stated, items in zip(lists, placed, strict=True):
        matching.add_placed(items, stated.chunk.end)
    for stated, items in zip(lists, placed, strict=True):
        matching.add_unplaced(items, stated.chunk.start)
    return [group.statements for group in sorted(matching.groups, key=lambda g: g.position)]


@dataclass
class _Matching:
    """Groups the items of the chunks added so far.

    Attributes:
        groups: the merged items, in no particular order.
        by_value: the groups of items with a place by each mark of their values.
        by_anchor: the same by the marks of their anchors only.
        last: the group of the item that is last in the document, with the end of the last chunk.
    """

    groups: list[_Group] = field(default_factory=list)
    by_value: dict[_Mark, list[_Group]] = field(default_factory=dict)
    by_anchor: dict[_Mark, list[_Group]] = field(default_factory=dict)
    last: tuple[_Group, int] | None = None
    equal: _EqualGroups | None = None

    def add_placed(self, items: Sequence[PlacedItem], end: int) -> None:
        """Add the items of the next chunk that have a place; `end` is the chunk's."""
        ordered = sorted(
            ((item.start, index) for index, item in enumerate(items) if item.start is not None),
        )
        last = self.last[0] if self.last else None
        for rank, (start, index) in enumerate(ordered):
            item = items[index]
            group = self._at_same_place(item) or (self._continued(item) if rank == 0 else None)
            if group is None:
                group = _Group((start, item.item.chunk.number, index))
                self.groups.append(group)
            group.position = min(group.position, (start, *group.position[1:]))
            group.extend(item)
            self._register(item, group)
            last = group
        self.last = (last, end) if last else None

    def _at_same_place(self, item: PlacedItem) -> _Group | None:
        """Return the group of an earlier chunk's item at the place of this one."""
        values = single_values(item.item)
        number = item.item.chunk.number
        best, most = None, 0
        marks = list(_marks(item))
        for group in self._candidates(item, marks):
            if number in group.chunks or contradict(values, group.values, cut=True):
                continue
            shared = sum(group in self.by_value.get(mark, ())[-_MAX_COMPARED:] for mark in marks)
            if shared > most:
                best, most = group, shared
        return best

    def _candidates(self, item: PlacedItem, marks: Sequence[_Mark]) -> Iterator[_Group]:
        for mark in marks:
            groups = self.by_value if mark[0] == item.anchor else self.by_anchor
            yield from groups.get(mark, ())[-_MAX_COMPARED:]

    def _continued(self, item: PlacedItem) -> _Group | None:
        """Return the group of the last item before this chunk, if this item continues it.

        Then neither chunk can have read the other part: one ends before this item does, and the
        other begins after the last value of the former part.
        """
        if self.last is None:
            return None
        group, border = self.last
        values = single_values(item.item)
        first = min(start for places in item.places.values() for start, _ in places)
        is_near = 0 <= first - group.end <= _MAX_GAP
        is_divided = item.end > border and group.last_start < item.item.chunk.start
        if not is_near or not is_divided or values.keys() & group.values.keys():
            return None
        return group if values and group.values else None

    def _register(self, item: PlacedItem, group: _Group) -> None:
        for mark in _marks(item):
            indexes = (
                (self.by_value, self.by_anchor) if mark[0] == item.anchor else (self.by_value,)
            )
            for index in indexes:
                groups = index.setdefault(mark, [])
                if not groups or groups[-1] is not group:
                    groups.append(group)

    def add_unplaced(self, items: Sequence[PlacedItem], start: int) -> None:
        """Add the items of one chunk that have no place; `start` is the chunk's."""
        if all(item.start is not None for item in items):
            return
        if self.equal is None:
            self.equal = _EqualGroups(self.groups)
        searches: dict[str, Iterator[_Group]] = {}
        position = start
        for index, item in enumerate(items):
            if item.start is not None:
                position = item.start
                continue
            key = value_key(item.item.value)
            if key not in searches:
                searches[key] = self.equal.without(item, key)
            group = next(searches[key], None)
            if group is None:
                group = _Group((position, item.item.chunk.number, index))
                self.groups.append(group)
                self.equal.add(group, key)
            group.add(item.item)


def _marks(item: PlacedItem) -> Iterator[_Mark]:
    for path, places in item.places.items():
        for start, end in places:
            yield path, "start", start
            yield path, "end", end


class _EqualGroups:
    """The groups by the values of their items, to find equal ones for items without a place."""

    def __init__(self, placed: Sequence[_Group]) -> None:
        self._placed: dict[str, list[tuple[int, int]]] = {}
        self._unplaced: dict[str, list[_Group]] = {}
        self._groups = list(placed)
        for index, group in enumerate(self._groups):
            for key in {value_key(statement.value) for statement in group.statements}:
                self._placed.setdefault(key, []).append((group.position[0], index))
        for positions in self._placed.values():
            positions.sort()

    def add(self, group: _Group, key: str) -> None:
        """Add a group of equal items without a place."""
        self._unplaced.setdefault(key, []).append(group)

    def without(self, item: PlacedItem, key: str) -> Iterator[_Group]:
        """Yield the groups of equal items that may be this one: none has an item of its chunk.

        Those whose place is in the chunk come first. They are the only ones for an item that has
        more equal items in its chunk than places are known.
        """
        chunk = item.item.chunk
        placed = self._placed.get(key, [])
        first, end = bisect_left(placed, (chunk.start, 0)), bisect_left(placed, (chunk.end, 0))
        places: list[list[tuple[int, int]]] = [placed[first:end]]
        if not item.is_crowded:
            places += [placed[:first], placed[end:]]
        inside, *outside = ([self._groups[index] for _, index in part] for part in places)
        unplaced = [] if item.is_crowded else list(self._unplaced.get(key, ()))
        for groups in (inside, unplaced, *outside):
            yield from (group for group in groups if chunk.number not in group.chunks)


def _without_shared_places(items: Sequence[PlacedItem]) -> list[PlacedItem]:
    """Return the items of one chunk's list without the places that several items have in common.

    Such a place, as that of words in a heading, does not tell items apart. The place of an item's
    anchor stays.
    """
    uses: dict[tuple[str, Place], int] = {}
    for item in items:
        for column, places in item.places.items():
            for place in places:
                uses[column, place] = uses.get((column, place), 0) + 1
    return [_without(item, uses) for item in items]


def _without(item: PlacedItem, uses: Mapping[tuple[str, Place], int]) -> PlacedItem:
    places = {
        column: kept
        for column, places in item.places.items()
        if (kept := [p for p in places if column == item.anchor or uses[column, p] == 1])
    }
    return replace(item, places=places) if places != item.places else item
