"""The counts of every document and field, on disk: 18 bytes for each, so that memory is bounded.

Knows numbers; knows no answers and no gold.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pipelines.reporting.counts import Counts

_RECORD = np.dtype(
    [
        ("matched", "f4"),
        ("answered", "f4"),
        ("expected", "f4"),
        ("similarity", "f4"),
        ("state", "u1"),
        ("strategy", "u1"),
    ]
)
Numbers = npt.NDArray[Any]
"""A number for each document of a block."""
_BLOCK = 2**16


class State(IntEnum):
    """What is known of a field in one document: NOT_JUDGED by the gold, or not in OUTPUT; COMPARED
    with an answer; or UNANSWERED, as a dead letter."""

    NOT_JUDGED = 0
    COMPARED = 1
    UNANSWERED = 2


@dataclass(frozen=True, slots=True)
class Scores:
    """The counts of one field in consecutive documents, one number for each.

    `similarity` is NaN where no texts were compared. `state` is the document's State, and
    `strategy` the number of the strategy by which it was read. A document in which the field is not
    judged has zeros.
    """

    matched: Numbers
    answered: Numbers
    expected: Numbers
    similarity: Numbers
    state: Numbers
    strategy: Numbers

    @property
    def judged(self) -> Numbers:
        """Return in which documents the field is judged."""
        return np.asarray(self.state != State.NOT_JUDGED)

    @property
    def compared(self) -> Numbers:
        """Return in which documents it is judged, and has an answer, which may be none."""
        return np.asarray(self.state == State.COMPARED)

    @property
    def right(self) -> Numbers:
        """Return in which documents the answer has all right values and no others."""
        complete = (self.matched == self.answered) & (self.matched == self.expected)
        return np.asarray(self.compared & complete)

    def where(self, chosen: Numbers) -> Scores:
        """Return the scores of the chosen documents only."""
        return Scores(*(getattr(self, each.name)[chosen] for each in fields(self)))

    def masked(self, chosen: Numbers) -> Scores:
        """Return the same documents, of which the others are not judged."""
        return Scores(*(getattr(self, each.name) * chosen for each in fields(self)))


class ScoreMatrix:
    """The scores of `documents` documents in the fields with these paths.

    Use it as a context manager, which deletes its temporary file at the end.
    """

    def __init__(self, documents: int, paths: Sequence[str]) -> None:
        self._documents = documents
        self._rows = {path: at for at, path in enumerate(paths)}
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed at the end of the block)
        shape = (max(1, len(paths)), max(1, documents))
        # a new file has zeros: State.NOT_JUDGED
        self._records = np.memmap(self._file, _RECORD, "w+", shape=shape)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        del self._records
        self._file.close()

    def set(self, path: str, document: int, counts: Counts, state: State, strategy: int) -> None:
        """Record the counts of a field in a document."""
        similar = np.nan if counts.similarity is None else counts.similarity
        self._records[self._rows[path], document] = (
            *(counts.matched, counts.answered, counts.expected, similar),
            *(state, strategy),
        )

    def blocks(self, path: str) -> Iterator[Scores]:
        """Yield the scores of a field in all documents, block by block."""
        records = self._records[self._rows[path]]
        for start in range(0, self._documents, _BLOCK):
            block = np.array(records[start : min(start + _BLOCK, self._documents)])
            yield Scores(*(block[name] for name in _RECORD.names or ()))
