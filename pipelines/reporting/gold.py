"""Right answers by document, read from files once and kept on disk.

For each document, memory holds its id's hash and the place of its answers in a temporary file: 17
bytes. Knows no formats and no scores.
"""

from __future__ import annotations

import json
import os
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.corpus.ids import MAX_REPORTED
from pipelines.errors import InputError
from pipelines.reporting.gold_ids import hash_texts

_ROWS_AT_ONCE = 4096
_NOWHERE = -1


@dataclass(frozen=True, slots=True)
class GoldRow:
    """The right answers about one document.

    `doc_id` is its id as `gold_ids.gold_id` writes it, `place` the file and row that state them,
    for messages, and `answers` the right answers by task (see `gold_values.gold_answers`).
    """

    doc_id: str
    place: str
    answers: dict[str, Any]


class Gold:
    """Right answers by document, numbered from 0 in the order in which they were read.

    `tasks` are the names of the tasks of which any document has a right answer. Use it as a context
    manager, which deletes the temporary file at its end.
    """

    def __init__(self, rows: Iterable[GoldRow]) -> None:
        """Read all rows. Raises InputError if two of them are about the same document."""
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed at the end of the block)
        self._ends = array("q", [0])
        self.tasks: set[str] = set()
        try:
            hashes = np.concatenate([np.empty(0, np.uint64), *self._write(rows)])
            self._order = np.argsort(hashes, kind="stable")
            self._hashes = hashes[self._order]
            self._refuse_duplicates()
        except BaseException:
            self._file.close()
            raise

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self._hashes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def _write(self, rows: Iterable[GoldRow]) -> Iterator[npt.NDArray[np.uint64]]:
        """Write rows to the file, and yield the hashes of their ids."""
        ids: list[str] = []
        for row in rows:
            data = json.dumps([row.doc_id, row.place, row.answers]).encode()
            self._ends.append(self._ends[-1] + self._file.write(data))
            ids.append(row.doc_id)
            self.tasks |= row.answers.keys()
            if len(ids) == _ROWS_AT_ONCE:
                yield _hashes(ids)
                ids = []
        yield _hashes(ids)
        self._file.flush()

    def row(self, number: int) -> GoldRow:
        """Return the right answers with a number."""
        start, end = self._ends[number], self._ends[number + 1]
        return GoldRow(*json.loads(os.pread(self._file.fileno(), end - start, start)))

    def find(self, ids: pa.ChunkedArray) -> npt.NDArray[np.int64]:
        """Return the number of each document's right answers, -1 for a document without any.

        `ids` are texts, as `gold_ids.id_texts` returns them.
        """
        hashes = hash_texts(ids)
        firsts = np.searchsorted(self._hashes, hashes)
        numbers = np.full(len(hashes), _NOWHERE, np.int64)
        within = np.flatnonzero(firsts < len(self))
        alike = within[self._hashes[firsts[within]] == hashes[within]]
        for at in alike.tolist():
            numbers[at] = self._number(ids[at].as_py(), int(firsts[at]))
        return numbers

    def _number(self, doc_id: str, first: int) -> int:
        """Return the number of a document, given the first place of its hash; -1 if it has none."""
        place = first
        while place < len(self) and self._hashes[place] == self._hashes[first]:
            number = int(self._order[place])
            if self.row(number).doc_id == doc_id:
                return number
            place += 1
        return _NOWHERE

    def _refuse_duplicates(self) -> None:
        repeated = np.flatnonzero(self._hashes[1:] == self._hashes[:-1])
        duplicates: dict[str, list[str]] = {}
        for place in repeated.tolist():
            one, other = (self.row(int(self._order[at])) for at in (place, place + 1))
            # two different ids may have the same hash
            if one.doc_id == other.doc_id:
                duplicates.setdefault(one.doc_id, [one.place]).append(other.place)
            if len(duplicates) > MAX_REPORTED:
                break
        if duplicates:
            raise InputError(_describe_duplicates(list(duplicates.items())))


def _hashes(ids: Sequence[str]) -> npt.NDArray[np.uint64]:
    return hash_texts(pa.chunked_array([pa.array(ids, pa.string())]))


def _describe_duplicates(duplicates: Sequence[tuple[str, Sequence[str]]]) -> str:
    lines = [
        f"\n  {doc_id!r}: {', '.join(places[:3])}" for doc_id, places in duplicates[:MAX_REPORTED]
    ]
    return (
        f"--gold: documents have more than one row of right answers:{''.join(lines)}\n"
        "Keep one row for each document"
    )
