"""Plans what is answered again: dead letters, or all documents for tasks that were added.

Chooses the documents by the committed files, finds their rows in the input, and makes the plan.
Knows the index and the ledger; nothing of engines or of how units are run.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray

from pipelines.corpus.chosen import (
    ChosenConfig,
    ChosenDocuments,
    gather_units,
    write_chosen,
    write_chosen_rows,
)
from pipelines.corpus.files import SourceFile
from pipelines.corpus.ids import accounted_hashes, hash_ids
from pipelines.corpus.index import IndexConfig, cut_spans
from pipelines.corpus.row_changes import Hashes
from pipelines.corpus.rows import open_corpus
from pipelines.corpus.sources import list_input
from pipelines.corpus.units import Unit
from pipelines.documents import DOC_ID, SOURCE
from pipelines.errors import ClusterError, InputError, PhifleetError, StorageError
from pipelines.ledger.lease import Lease
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.names import new_index
from pipelines.ledger.published import read_files
from pipelines.ledger.records import Commit, Plan, current_files
from pipelines.ledger.redo import Redo
from pipelines.run.cluster import Cluster
from pipelines.run.indexing import map_spans
from pipelines.run.job_record import grown_record
from pipelines.run.output_state import OutputState
from pipelines.run.planner import layout_of
from pipelines.run.prepared import PreparedJob
from pipelines.storage import Storage

# Units whose files are read at the same time; each is in memory whole.
_PARALLEL = 8


@dataclass(frozen=True)
class Chosen:
    """The documents that are answered again, by the number of their unit.

    `letters` counts their dead letters by reason, and `files` has the input files that these name;
    both are empty unless dead letters are retried.
    """

    units: Mapping[int, ChosenDocuments] = field(default_factory=dict)
    letters: Mapping[str, int] = field(default_factory=dict)
    files: Collection[str] = ()


def choose_letters(storage: Storage, commits: Sequence[Commit], reasons: Sequence[str]) -> Chosen:
    """Return the documents with dead letters of these reasons in the units with these commits. Of a
    document whose tasks failed singly, only those tasks are asked again.

    Raises Incomplete if a unit's dead letters are lost or damaged, StorageError.
    """
    wanted = [commit for commit in commits if any(commit.reasons.get(name) for name in reasons)]
    units, counts, files = {}, Counter[str](), set[str]()
    with ThreadPoolExecutor(_PARALLEL) as pool:
        read = pool.map(lambda commit: _letters(storage, commit, reasons), wanted)
        for commit, letters in zip(wanted, read, strict=True):
            units[commit.unit] = _documents_of(letters)
            counts.update(letters["reason"].to_pylist())
            files.update(letters[SOURCE].unique().to_pylist())
    return Chosen(units, dict(sorted(counts.items())), files)


def _letters(storage: Storage, commit: Commit, reasons: Sequence[str]) -> pa.Table:
    letters = _table(read_files(storage, commit)[1])
    assert letters is not None
    return letters.filter(pc.is_in(letters["reason"], pa.array(reasons, pa.string())))


def _documents_of(letters: pa.Table) -> ChosenDocuments:
    tasks: defaultdict[int, list[str]] = defaultdict(list)
    names = zip(hash_ids(letters[DOC_ID]), letters["task"].to_pylist(), strict=True)
    for one, task in names:
        if task is not None:
            tasks[int(one)].append(task)
    asked = {one: tuple(of_document) for one, of_document in tasks.items()}
    return ChosenDocuments(np.unique(hash_ids(letters[DOC_ID])), asked)


def choose_for_added_tasks(storage: Storage, commits: Sequence[Commit]) -> Chosen:
    """Return all documents but those that failed as a whole: there is no text to ask about, or they
    have ended engines. Raises as `choose_letters`."""
    with ThreadPoolExecutor(_PARALLEL) as pool:
        read = pool.map(lambda commit: _not_failed(storage, commit), commits)
        units = {
            commit.unit: ChosenDocuments(ids, {})
            for commit, ids in zip(commits, read, strict=True)
            if len(ids)
        }
    return Chosen(units)


def _not_failed(storage: Storage, commit: Commit) -> Hashes:
    part, letters = map(_table, read_files(storage, commit))
    if letters is not None:
        letters = letters.filter(pc.is_valid(letters["task"]))
    return accounted_hashes(None if part is None else part.select([0]), letters)


def _table(data: bytes | None) -> pa.Table | None:
    return None if data is None else pq.read_table(pa.BufferReader(data))


@dataclass(frozen=True)
class RedoPlanner:
    """Makes the plans of units that are answered again.

    Attributes:
        prepared: the job with its model and tasks.
        ledger: the ledger of OUTPUT.
        cluster: the cluster's resources.
        unit_seconds: as in Planner; units keep their documents, so it is not used to cut them.
        lease: the driver's lease.
    """

    prepared: PreparedJob
    ledger: Ledger
    cluster: Cluster
    unit_seconds: float
    lease: Lease

    def add_tasks(self, output: OutputState) -> None:
        """Record the plan that asks the added tasks about the documents of all units. Raises as
        `retry`."""
        chosen = choose_for_added_tasks(self.ledger.storage, self._commits(output.plans))
        job = grown_record(output.record, self.prepared)
        self._record(output.plans, chosen, Redo(output.added, job=job))

    def retry(
        self, plans: Sequence[Plan], reasons: tuple[str, ...]
    ) -> tuple[Sequence[Plan], Mapping[str, int]]:
        """Record the plan that answers again what has dead letters of these reasons, if there are
        any; return all plans, and the numbers of these dead letters by reason.

        `plans` are all plans, of which every unit is committed and every redo finished. If another
        driver records a plan at the same time, nothing is recorded. Raises InputError if the input
        is not as the run has read it, Incomplete, Fenced, StorageError.
        """
        chosen = choose_letters(self.ledger.storage, self._commits(plans), reasons)
        if not chosen.units:
            return plans, {}
        tasks = tuple(task.spec.name for task in self.prepared.tasks.all)
        self._record(plans, chosen, Redo(tasks, reasons=reasons, letters=chosen.letters))
        return self.ledger.plans(), chosen.letters

    def _commits(self, plans: Sequence[Plan]) -> Sequence[Commit]:
        return self.ledger.commits(unit.number for plan in plans for unit in plan.units)

    def _record(self, plans: Sequence[Plan], chosen: Chosen, redo: Redo) -> None:
        directory = new_index(len(plans))
        try:
            plan = self._plan(plans, chosen, redo, directory)
        except ray.exceptions.RayError as error:
            raise ClusterError(
                f"reading {self.prepared.spec.input.path} failed on the cluster: "
                f"{str(error).strip().splitlines()[-1]}. Check the run's log, then run the same "
                "command again"
            ) from error
        self.lease.check()
        if not self.ledger.add_plan(len(plans), plan):
            self.ledger.storage.remove(directory)
            self.lease.check()

    def _plan(self, plans: Sequence[Plan], chosen: Chosen, redo: Redo, directory: str) -> Plan:
        """Find the rows of the chosen documents in the input, write them to a new index, and return
        the plan that answers them again; `redo` has no units."""
        try:
            redo = replace(redo, units=self._write_rows(plans, chosen, redo, directory))
        except PhifleetError:
            # the index contains a copy of the texts
            with suppress(StorageError):
                self.ledger.storage.remove(directory)
            raise
        newest = plans[-1]
        return Plan((), (), (), {}, table=newest.table, version=newest.version, redo=redo)

    def _write_rows(
        self, plans: Sequence[Plan], chosen: Chosen, redo: Redo, directory: str
    ) -> tuple[Unit, ...]:
        spec, storage = self.prepared.spec.input, self.ledger.storage
        corpus = open_corpus(spec, self._files(plans, chosen), layout_of(plans))
        name = f"{directory}/chosen"
        documents = write_chosen(storage, name, chosen.units)
        index = IndexConfig(
            input=spec,
            layout=corpus.layout,
            tokenizer=self.prepared.tasks.tokenizer,
            reading=self.prepared.tasks.reading,
            cost=self.prepared.cost(self.cluster.device),
            unit_seconds=self.unit_seconds,
            storage=storage,
            directory=directory,
        )
        config = ChosenConfig(index, name, redo.tasks, len(self.prepared.tasks.all))
        spans = cut_spans(corpus.fragments, self.cluster.cpus)
        units = gather_units(storage, directory, list(map_spans(write_chosen_rows, spans, config)))
        found = sum(unit.rows for unit in units)
        if found != documents:
            raise InputError(
                f"input.path: {spec.path} has {found} of the {documents} documents that are to be "
                "answered again; restore the input as this run has read it, or set input.follow: "
                "true and run without --retry and without added tasks first"
            )
        return units

    def _files(self, plans: Sequence[Plan], chosen: Chosen) -> list[SourceFile]:
        """Return the input's files as the run has read them: only those that dead letters name, if
        no row can have moved to another file."""
        files = {path: file for path, (_, file) in current_files(plans).items()}
        if plans[-1].table is not None:
            # a plan's record does not say how a table's file is read
            spec, root = self.prepared.spec.input, self.ledger.storage.root
            listed = list_input(spec, root, plans[-1].version).files
            files = {file.path: file for file in listed if file.path in files}
        stable = not any(plan.gone for plan in plans)
        if chosen.files and stable and set(chosen.files) <= set(files):
            return [files[path] for path in sorted(chosen.files)]
        return list(files.values())
