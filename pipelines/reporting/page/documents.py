"""The documents of a report: chooses some, and returns their texts and answers.

Reads at most one part of the answers, and one fragment of the input, for each document. Knows
nothing of HTML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.corpus.sampling import spread
from pipelines.errors import SpecError
from pipelines.job.spec import InputSpec
from pipelines.ledger.names import part_name
from pipelines.ledger.records import Plan
from pipelines.reporting.page.document_facts import DocumentPage
from pipelines.reporting.page.facts import TaskFacts
from pipelines.reporting.page.places import InputTexts, Place, find_places
from pipelines.reporting.page.sampled import first_rows, part_names, unit_of_part
from pipelines.reporting.page.values import Places, answer_facts
from pipelines.reporting.page.windows import view_of
from pipelines.storage import Storage

_ROWS_OF_PART = 200
_MAX_CHARACTERS, _ALL_CHARACTERS = 24_000, 1_500_000
"""The characters of text that are shown of one document, and of all together."""
MAX_DOCUMENTS = 500
"""The documents that one page shows, at most."""
_ALL_ROWS = 2**31 - 1
_GONE = "The text cannot be shown: the index does not list this document any more."
_NO_INPUT = "The text cannot be shown: the job's input cannot be opened here ({})."
_NO_ANSWER = "No answer to this document is committed; phifleet errors lists dead letters."


@dataclass(frozen=True)
class DocumentReader:
    """Reads documents of a run, whose plans are `plans`.

    Attributes:
        storage: OUTPUT.
        plans: all plans of the run.
        spec: the job's section `input`, or None with `spec_fault`, why it cannot be used here.
        id_column: the name of the id column.
        tasks: the job's tasks.
        max_bytes: how much of the input may be read.
        spec_fault: see `spec`.
    """

    storage: Storage
    plans: Sequence[Plan]
    spec: InputSpec | None
    id_column: str
    tasks: Sequence[TaskFacts]
    max_bytes: int
    spec_fault: str = ""

    def sample(self, count: int) -> list[DocumentPage]:
        """Return `count` documents that are spread over the parts, or all of those that it looks at
        if there are fewer. Raises OutputError, StorageError."""
        parts = spread(part_names(self.storage), count) if count else []
        rows: dict[str, Mapping[str, Any]] = {}
        listed: dict[str, str | None] = {}
        # the smallest parts first, so that others make up for what they lack
        sizes = {unit.number: unit.rows for plan in self.plans for unit in plan.units}
        parts.sort(key=lambda name: sizes.get(unit_of_part(name), 0))
        for number, name in enumerate(parts):
            share = (count - len(rows)) // (len(parts) - number)
            for row in spread(self._rows(name, _ROWS_OF_PART), share):
                doc_id = str(row[self.id_column])
                rows[doc_id] = row
                listed[doc_id] = self._listed_in(unit_of_part(name))
        return self._pages(rows, find_places(self.storage, self.plans, listed))

    def chosen(self, ids: Sequence[str]) -> list[DocumentPage]:
        """Return the documents with these ids. Raises SpecError for an id that the run does not
        have, OutputError, StorageError."""
        wanted = dict.fromkeys(ids)
        places = find_places(self.storage, self.plans, wanted)
        if missing := [doc_id for doc_id in wanted if doc_id not in places]:
            raise SpecError(
                f"--id {missing[0]}: this run has no document with this id in column "
                f"{self.id_column!r}; check the id"
            )
        rows = self._find_rows({place.listed_in for place in places.values()}, wanted)
        return self._pages({doc_id: rows.get(doc_id, {}) for doc_id in wanted}, places)

    def _rows(self, name: str, rows: int) -> list[dict[str, Any]]:
        columns = [self.id_column, *(task.name for task in self.tasks)]
        read = first_rows(self.storage, name, rows, columns)
        return [] if read is None else read[0].to_pylist(maps_as_pydicts="strict")

    def _listed_in(self, unit: int) -> str | None:
        """Return the file of the index that lists a unit's documents; None if it is not known."""
        for plan in self.plans:
            for each in plan.units:
                if each.number == unit:
                    return _rows_file(each.file)
        return None

    def _find_rows(
        self, listed_in: set[str], wanted: Mapping[str, None]
    ) -> dict[str, Mapping[str, Any]]:
        """Return the rows of documents with answers by id, of units in these files of the index."""
        found: dict[str, Mapping[str, Any]] = {}
        units = [unit for plan in self.plans for unit in plan.units]
        for unit in units:
            if _rows_file(unit.file) not in listed_in or len(found) == len(wanted):
                continue
            name = part_name(unit.number).rpartition("/")[2]
            ids = first_rows(self.storage, name, _ALL_ROWS, [self.id_column])
            if ids and wanted.keys() & set(map(str, ids[0].column(0).to_pylist())):
                rows = {str(row[self.id_column]): row for row in self._rows(name, _ALL_ROWS)}
                found |= {doc_id: row for doc_id, row in rows.items() if doc_id in wanted}
        return found

    def _pages(
        self, rows: Mapping[str, Mapping[str, Any]], places: Mapping[str, Place]
    ) -> list[DocumentPage]:
        texts, why = self._texts(places)
        characters = characters_of_each(len(rows))
        return [
            self._page(doc_id, row, places.get(doc_id), texts.get(doc_id), why, characters)
            for doc_id, row in rows.items()
        ]

    def _texts(self, places: Mapping[str, Place]) -> tuple[dict[str, str | None], dict[str, str]]:
        if self.spec is None:
            return {}, dict.fromkeys(places, _NO_INPUT.format(self.spec_fault))
        texts = InputTexts(self.spec, self.plans, self.storage.root, self.max_bytes)
        return texts.read(places), texts.why

    def _page(
        self,
        doc_id: str,
        row: Mapping[str, Any],
        place: Place | None,
        text: str | None,
        why: Mapping[str, str],
        characters: int,
    ) -> DocumentPage:
        numbered = Places()
        answers = [
            answer_facts(task.name, task.kind, row[task.name], numbered)
            for task in self.tasks
            if task.name in row
        ]
        note = "" if text is not None else why.get(doc_id, _GONE)
        return DocumentPage(
            id=doc_id,
            source=place.source if place else None,
            row=place.row if place else None,
            text=None if text is None else view_of(text, numbered.spans, characters),
            note=note if row else f"{note} {_NO_ANSWER}".strip(),
            answers=answers,
        )


def characters_of_each(documents: int) -> int:
    """Return how many characters of its text a page shows of each of so many documents."""
    return min(_MAX_CHARACTERS, _ALL_CHARACTERS // max(1, documents))


def _rows_file(text_file: str) -> str:
    """Return the file of the index that lists the rows of the units in `text_file`, which has their
    texts: they differ in their kind only (see `index.index_file`)."""
    directory, _, name = text_file.rpartition("/")
    return f"{directory}/{name.replace('text-', 'rows-', 1)}"
