"""Statements: the values that chunks state, with the evidence of each.

A statement is one value of one chunk's answer, at any depth. Its evidence says where the value
stands in the document and how well that supports it. Pure; knows no schema, prompts or engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.documents import Evidence, EvidenceStatus, Fields
from pipelines.tasks.extraction import has_content
from pipelines.tasks.paths import field_path, item_path

PROVING = (EvidenceStatus.SHOWN, EvidenceStatus.FOUND)
"""The statuses of evidence that prove a value."""
_WEIGHTS = {EvidenceStatus.SHOWN: 1.0, EvidenceStatus.FOUND: 0.8, EvidenceStatus.NEAR: 0.4}
_UNSUPPORTED = 0.25
_RANKS = {status: rank for rank, status in enumerate(EvidenceStatus)}
_MAX_ROWS = 8


@dataclass(frozen=True, slots=True)
class ChunkFields:
    """The values and evidence that one chunk's answer has for the fields of an extraction.

    The chunk is text[start:end] of the document, in characters.
    """

    start: int
    end: int
    fields: Fields


@dataclass(frozen=True, slots=True)
class StatedChunk:
    """A chunk of a document, with the evidence of the values in its answer.

    Attributes:
        number: the chunk's index among those with an answer, from 0.
        start: the first character of the chunk in the document's text.
        end: the character after its last one.
        rows: the evidence of each value by the value's path; a value may have several rows, each
            with one passage of the document.
    """

    number: int
    start: int
    end: int
    rows: Mapping[str, Sequence[Evidence]]


@dataclass(frozen=True, slots=True)
class Statement:
    """A value in one chunk's answer: the whole answer, a field, an item, or anything within them.

    Attributes:
        value: the value; a fixed tuple is a Python tuple.
        path: its path in the chunk's answer, such as `parties[2].name`; "" for the whole answer.
        chunk: the chunk whose answer it is, with the evidence.
        shape: `path` with `[]` in place of each index of a list's item, such as `parties[].name`.
    """

    value: Any
    path: str
    chunk: StatedChunk
    shape: str = ""

    def member(self, name: str) -> Statement:
        """Return the statement of the property `name` of this object, or of the entry of this map.

        Its value is None if the object lacks it.
        """
        path, shape = field_path(self.path, name), field_path(self.shape, name)
        return Statement(self.value.get(name), path, self.chunk, shape)

    def items(self) -> list[Statement]:
        """Return the statements of this list's items, without items that have no content."""
        return [
            Statement(item, item_path(self.path, index), self.chunk, f"{self.shape}[]")
            for index, item in enumerate(self.value)
            if has_content(item)
        ]

    def _tuple_items(self) -> list[Statement]:
        return [
            Statement(item, item_path(self.path, at), self.chunk, item_path(self.shape, at))
            for at, item in enumerate(self.value)
        ]

    def leaves(self) -> Iterator[Statement]:
        """Yield the statements of all single values within this value, at any depth.

        A single value, called a leaf, is neither an object nor a list. It is this value itself if
        that is one. Leaves without content (null, blank) are skipped.
        """
        if isinstance(self.value, dict):
            for name in self.value:
                yield from self.member(name).leaves()
        elif isinstance(self.value, list | tuple):
            for item in self._tuple_items() if isinstance(self.value, tuple) else self.items():
                yield from item.leaves()
        elif has_content(self.value):
            yield self

    def column(self, leaf: Statement) -> str:
        """Return the path of a leaf of this value, one of `leaves`, from this value.

        Indexes of list items in it are replaced by `[]`, so that it is equal for all items.
        """
        return leaf.shape[len(self.shape) :]

    @property
    def rows(self) -> Sequence[Evidence]:
        """Return the evidence of this value itself, without that of values within it.

        Empty if it has none, as for an object.
        """
        return self.chunk.rows.get(self.path, ())

    @property
    def shown_words(self) -> str | None:
        """Return the document's words in the first verified quote that contains a leaf of it.

        None if no verified quote contains one.
        """
        for leaf in self.leaves():
            for row in leaf.rows:
                if row.status is EvidenceStatus.SHOWN and row.text:
                    return row.text
        return None

    @property
    def is_proven(self) -> bool:
        """Return whether a leaf of the value has evidence of the status SHOWN or FOUND.

        That is, a verified quote contains it, or the text does in a way that is rarely by chance.
        """
        return any(row.status in PROVING for leaf in self.leaves() for row in leaf.rows)

    @property
    def weight(self) -> float:
        """Return how much the statement counts against contradicting ones, from 0.0 to 1.0.

        It is the mean of its leaves' weights: 1.0 for a value that a verified quote contains
        (SHOWN), 0.8 for one that the text proves (FOUND), 0.4 for a similar passage (NEAR), 0.25
        for any other evidence or none. A value without leaves has weight 0.0.
        """
        weights = [self._leaf_weight(leaf) for leaf in self.leaves()]
        return sum(weights) / len(weights) if weights else 0.0

    def _leaf_weight(self, leaf: Statement) -> float:
        return max((_WEIGHTS.get(row.status, _UNSUPPORTED) for row in leaf.rows), default=0.25)


def stated_chunk(number: int, chunk: ChunkFields) -> StatedChunk:
    """Return a chunk with its evidence by path.

    `number` is its index, from 0, among the document's chunks that have an answer.
    """
    rows: dict[str, list[Evidence]] = {}
    for row in chunk.fields.evidence:
        rows.setdefault(row.path, []).append(row)
    return StatedChunk(number, chunk.start, chunk.end, rows)


def merged_rows(statements: Sequence[Statement], path: str, *, own: bool = False) -> list[Evidence]:
    """Return the evidence of a merged value, collected from the chunks' statements of it.

    Each path has at most 8 rows, with the best status first, and each passage of the document has
    one row of them. Rows without a passage are left out if another row of the path has one;
    otherwise only one of them is kept.

    Args:
        statements: the chunks' statements of the value.
        path: the path of the merged value, which replaces the paths of the statements.
        own: return only the evidence of the value itself, without that of values within it.
    """
    rows: dict[str, list[Evidence]] = {}
    for statement in statements:
        for leaf in (statement,) if own else statement.leaves():
            merged_path = path + leaf.path[len(statement.path) :]
            rows.setdefault(merged_path, []).extend(leaf.rows)
    return [row for merged_path, of_path in rows.items() for row in _best(of_path, merged_path)]


def _best(rows: Sequence[Evidence], path: str) -> Sequence[Evidence]:
    if len(rows) == 1 and rows[0].path == path:
        return rows
    ordered = sorted(rows, key=lambda row: (_RANKS[row.status], row.start or 0))
    if any(row.start is not None for row in ordered):
        ordered = [row for row in ordered if row.start is not None]
        by_place = {(row.start, row.end): row for row in reversed(ordered)}
        ordered = [row for row in ordered if by_place[row.start, row.end] is row]
    else:
        ordered = ordered[:1]
    return [replace(row, path=path) for row in ordered[:_MAX_ROWS]]
