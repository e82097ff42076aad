"""Finds documents again: in the index by their ids, in the parts, and in the files of the input.

The index lists of each document its file and row, so that at most one fragment of the input is
read for a document. Knows nothing of HTML.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow.compute as pc

from pipelines.corpus.fragments import Fragment
from pipelines.corpus.ids import read_index
from pipelines.corpus.layout import Layout
from pipelines.corpus.rows import open_corpus, read_rows
from pipelines.corpus.sources import list_input
from pipelines.corpus.texts import documents_of
from pipelines.documents import DOC_ID, ROW, SOURCE
from pipelines.errors import PhifleetError
from pipelines.job.spec import InputSpec
from pipelines.ledger.records import Plan, current_files, current_rows
from pipelines.run.planner import layout_of
from pipelines.storage import Storage

_BYTES_OF_ONE = 2**20
"""What is counted against the budget for a fragment whose size is not known."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a document is in the input: its file and its row, and the file of the index that lists
    it."""

    source: str
    row: int
    listed_in: str


def find_places(
    storage: Storage, plans: Sequence[Plan], wanted: Mapping[str, str | None]
) -> dict[str, Place]:
    """Return the places of documents by id.

    `wanted` has for each id, in its text form, the file of the index that lists it, or None if it
    may be any. An id that is in none of them is missing in the result. Raises StorageError.
    """
    files = current_rows(plans)
    named = {name for name in wanted.values() if name is not None}
    some = [file for file in files if file[0] in named] if None not in wanted.values() else files
    places: dict[str, Place] = {}
    for file in some:
        if len(places) == len(wanted) or not storage.exists(file[0]):
            continue
        table = read_index(storage, file, [DOC_ID, SOURCE, ROW])
        ids = [str(doc_id) for doc_id in table.column(DOC_ID).to_pylist()]
        for at, doc_id in enumerate(ids):
            if doc_id in wanted and doc_id not in places:
                source, row = table[SOURCE][at].as_py(), table[ROW][at].as_py()
                places[doc_id] = Place(source, row, file[0])
    return places


@dataclass
class InputTexts:
    """Reads texts of documents from the input, at most `max_bytes` of it.

    Attributes:
        spec: the job's section `input`.
        plans: all plans of the run.
        output: the path of its OUTPUT, which is no part of the input.
        max_bytes: how much of the input may still be read.
        why: for documents without a text, by id, why there is none.
    """

    spec: InputSpec
    plans: Sequence[Plan]
    output: str
    max_bytes: int
    why: dict[str, str] = field(default_factory=dict)
    _fragments: dict[str, tuple[Layout, Sequence[Fragment]]] = field(default_factory=dict)

    def read(self, places: Mapping[str, Place]) -> dict[str, str | None]:
        """Return the texts of documents by id; None for one that cannot be read any more or
        that the budget does not allow. `why` then has the reason."""
        by_file: defaultdict[str, dict[str, Place]] = defaultdict(dict)
        for doc_id, place in places.items():
            by_file[place.source][doc_id] = place
        texts: dict[str, str | None] = {}
        for source, of_file in by_file.items():
            texts |= self._read_file(source, of_file)
        return texts

    def _read_file(self, source: str, places: Mapping[str, Place]) -> dict[str, str | None]:
        try:
            return dict(self._texts(source, places))
        except PhifleetError as error:
            # what is gone, damaged or forbidden is no failure of the report: it is stated
            for doc_id in places:
                self.why[doc_id] = f"The text cannot be read from the input: {error.message}"
        return {}

    def _texts(self, source: str, places: Mapping[str, Place]) -> Iterator[tuple[str, str | None]]:
        layout, fragments = self._open(source)
        for doc_id, place in places.items():
            before = [each for each in fragments if each.first_row <= place.row]
            if not before:
                self.why[doc_id] = f"{source} has no row {place.row} any more."
                continue
            fragment = max(before, key=lambda each: each.first_row)
            self.max_bytes -= fragment.size_bytes or _BYTES_OF_ONE
            if self.max_bytes < 0:
                self.why[doc_id] = (
                    "The text was not read, to read little of the input. phifleet report with "
                    "--id reads it."
                )
                continue
            yield doc_id, self._text_of(layout, fragment, doc_id, place)

    def _open(self, source: str) -> tuple[Layout, Sequence[Fragment]]:
        if source not in self._fragments:
            files = {path: file for path, (_, file) in current_files(self.plans).items()}
            known = files[source]
            if self.plans[-1].table is not None:
                # a plan's record does not say how a table's file is read
                listed = list_input(self.spec, self.output, self.plans[-1].version).files
                known = next((file for file in listed if file.path == source), known)
            corpus = open_corpus(self.spec, [known], layout_of(self.plans))
            self._fragments[source] = (corpus.layout, corpus.fragments)
        return self._fragments[source]

    def _text_of(self, layout: Layout, fragment: Fragment, doc_id: str, place: Place) -> str | None:
        for rows in read_rows(self.spec, layout, fragment):
            found = rows.filter(pc.equal(rows.column(ROW), place.row))
            if found.num_rows:
                (document,) = documents_of(found)
                if str(document.doc_id) == doc_id:
                    if document.text is None:
                        self.why[doc_id] = "The document has no text that can be read."
                    return document.text
                break
        self.why[doc_id] = (
            f"{place.source} has another document in row {place.row} now: the input has changed."
        )
        return None
