"""The planner: index the new files of the corpus and record their units in the ledger.

A large corpus is indexed on Ray's CPUs, a small one in this process. Knows the index and the
ledger; nothing of engines or of how units are run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import ray

from pipelines.corpus.files import SourceFile
from pipelines.corpus.fragments import Fragment
from pipelines.corpus.ids import MAX_REPORTED, RowsFile, find_duplicates
from pipelines.corpus.index import IndexConfig, SpanIndex, cut_spans, index_file, index_span
from pipelines.corpus.index_rows import write_known
from pipelines.corpus.layout import Layout
from pipelines.corpus.row_changes import HashedRows
from pipelines.corpus.rows import Corpus, open_corpus, unreadable_reason
from pipelines.corpus.units import number_units
from pipelines.errors import InputError, PhifleetError, StorageError, UnreadableFile
from pipelines.job.spec import InputSpec
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.names import new_index
from pipelines.ledger.records import Plan, current_rows, sum_counts
from pipelines.run.cluster import Cluster
from pipelines.run.following import Following, InputChanges, known_rows_of
from pipelines.run.prepared import PreparedJob
from pipelines.run.state import RunState
from pipelines.storage import Storage

# Ids that one task on Ray compares at a time, to bound its memory.
_IDS_PER_SHARE = 20_000_000
SMALL_CORPUS_BYTES = 4 * 2**20
"""A corpus of at most this many bytes is read in this process: that takes less time than the start
of a process on Ray."""
_FEW_IDS = 100_000
T = TypeVar("T")


@dataclass(frozen=True)
class Planner:
    """Turns input files that no plan contains into a further plan.

    Attributes:
        prepared: the job with its model and tasks.
        ledger: the ledger of OUTPUT.
        cluster: the cluster's resources; they decide how many spans are indexed concurrently.
        unit_seconds: engine time, by the cost estimate, for which units are cut, in seconds.
        state: the run's state for display, updated while the corpus is indexed.
        skip_bad_files: True to skip files that are damaged, and list them in the state; False to
            fail at the first one.
    """

    prepared: PreparedJob
    ledger: Ledger
    cluster: Cluster
    unit_seconds: float
    state: RunState
    skip_bad_files: bool = False

    def extend(self, plans: Sequence[Plan], changes: InputChanges) -> Sequence[Plan]:
        """Index the new files and record the plan that follows the changes; return all plans,
        `plans` first.

        If another driver records a plan at the same time, its plan is used, and files that it lacks
        are indexed again. Without changes, return `plans`. Raises InputError, or its subclass
        UnreadableFile, if the files are not a valid corpus, or if documents have changed or are
        gone and the run does not follow its input; StorageError.
        """
        self.state.phase = "indexing"
        if self.skip_bad_files:
            new = self._readable(changes.new)
            changes = replace(changes, new=new)
            if not new and not plans and self.state.skipped_files:
                raise UnreadableFile(
                    "input.path: none of the files can be read to its end; the first: "
                    f"{self.state.skipped_files[0]}; replace the files with intact copies"
                )
        while changes:
            plans = self._add_plan(plans, changes)
            # if another driver recorded its plan first, that plan may lack some of these files
            changes = changes.without(plans)
            if changes.gone:
                # documents are withdrawn only when the units of that plan are committed: next time
                break
        return plans

    def _add_plan(self, plans: Sequence[Plan], changes: InputChanges) -> Sequence[Plan]:
        """Index new files and try to record them as the next plan; return the recorded plans."""
        directory = new_index(len(plans))
        spec = self.prepared.spec.input
        try:
            known = known_rows_of(self.ledger.storage, plans, changes)
            following = Following(spec, self.ledger, plans, changes, known)
            corpus = open_corpus(spec, changes.new, layout_of(plans))
            spans = self._index(corpus, directory, known)
            rows_files = _rows_files(directory, len(spans))
            fields = following.plan_fields(rows_files, directory)
            plan = replace(_plan(corpus, spans, directory, _unit_count(plans)), **fields)
            self._check_ids(spans, [*plans, plan])
        except PhifleetError as error:
            # the index contains a copy of all texts
            with suppress(StorageError):
                self.ledger.storage.remove(directory)
            if isinstance(error, UnreadableFile):
                raise UnreadableFile(
                    f"{error.message.rstrip('. ')}; replace the file with an intact copy, or skip "
                    "it with --skip-bad-files"
                ) from error
            raise
        if not self.ledger.add_plan(len(plans), plan):
            self.ledger.storage.remove(directory)
        return self.ledger.plans()

    def _readable(self, files: Sequence[SourceFile]) -> list[SourceFile]:
        """Return the files that can be read to their ends, and list the others in the state."""
        self.state.phase = "looking for bad files"
        reasons = unreadable_files(self.prepared.spec.input, files)
        self.state.skipped_files = sorted(reasons.values())
        self.state.phase = "indexing"
        return [file for file in files if file.path not in reasons]

    def _index(self, corpus: Corpus, directory: str, known: HashedRows) -> list[SpanIndex]:
        known_file = f"{directory}/known" if len(known.ids) else None
        if known_file:
            write_known(self.ledger.storage, known_file, known)
        config = IndexConfig(
            input=corpus.spec,
            layout=corpus.layout,
            tokenizer=self.prepared.tasks.tokenizer,
            reading=self.prepared.tasks.reading,
            cost=self.prepared.cost(self.cluster.device),
            unit_seconds=self.unit_seconds,
            storage=self.ledger.storage,
            directory=directory,
            known=known_file,
        )
        spans = cut_spans(corpus.fragments, self.cluster.cpus)
        self.state.spans = len(spans)
        indexed = []
        for span in index_spans(spans, config):
            indexed.append(span)
            self.state.spans_done += 1
            self.state.documents += span.rows
        if known_file:
            self.ledger.storage.remove(known_file)
        return indexed

    def _check_ids(self, spans: Sequence[SpanIndex], plans: Sequence[Plan]) -> None:
        """Raise InputError if an id in these spans is invalid, or one occurs twice in the current
        files of all plans, of which the last is that of the spans."""
        column = self.prepared.spec.input.id_column
        bad_ids = [bad_id for span in spans for bad_id in span.bad_ids]
        if bad_ids:
            raise _id_error(column, "has values that are null, empty or not UTF-8", bad_ids)
        rows = sum(unit.rows for plan in plans for unit in plan.units)
        duplicates = duplicate_ids(self.ledger.storage, current_rows(plans), rows)
        if duplicates:
            raise _id_error(column, "has duplicate values", duplicates)


def _id_error(column: str, fault: str, ids: Sequence[str]) -> InputError:
    lines = (f"input.id_column: {column!r} {fault}; the first:", *ids[:MAX_REPORTED])
    return InputError(
        "\n  ".join(lines) + "\nGive every document a unique id, or set input.id_column to another "
        "column"
    )


def index_spans(spans: Sequence[Sequence[Fragment]], config: IndexConfig) -> Iterator[SpanIndex]:
    """Index spans and yield their results as they are finished, in any order.

    Each span is a task on Ray with one CPU. Spans of at most SMALL_CORPUS_BYTES together are
    indexed in this process, in order. Raises InputError, StorageError, RayError.
    """
    size_bytes = sum(fragment.size_bytes for span in spans for fragment in span)
    if size_bytes <= SMALL_CORPUS_BYTES:
        yield from (index_span(number, span, config) for number, span in enumerate(spans))
        return
    shared_config = ray.put(config)

    def index(row: dict[str, Any]) -> dict[str, Any]:
        config = ray.get(shared_config)
        return {"result": _result_or_error(index_span, row["number"], row["fragments"], config)}

    rows = [{"number": number, "fragments": list(span)} for number, span in enumerate(spans)]
    dataset = ray.data.from_items(rows, override_num_blocks=max(1, len(rows)))
    for row in dataset.map(index, num_cpus=1).iter_rows():
        yield _value(row["result"])


def _result_or_error(function: Callable[..., T], *arguments: Any) -> T | PhifleetError:
    """Return the function's result, or its PhifleetError: Ray would wrap a raised error in its own
    class."""
    try:
        return function(*arguments)
    except PhifleetError as error:
        return error


def _value(result: T | PhifleetError) -> T:
    if isinstance(result, PhifleetError):
        raise result
    return result


def _wait_for(task: Any) -> Any:
    """Return the result of a task on Ray, or raise its error. Signal handlers run during the wait,
    which they do not in `ray.get`."""
    return _value(task.future().result())


def unreadable_files(spec: InputSpec, files: Sequence[SourceFile]) -> dict[str, str]:
    """Read each file to its end, and return a message for each damaged one, by its path.

    Files of more than SMALL_CORPUS_BYTES together are read in tasks on Ray's CPUs. Raises
    InputError if a file's columns are not as the job requires, and StorageError.
    """
    if sum(file.size_bytes for file in files) <= SMALL_CORPUS_BYTES:
        reasons = [unreadable_reason(spec, file) for file in files]
    else:
        check = ray.remote(num_cpus=1)(_result_or_error)
        tasks = [check.remote(unreadable_reason, spec, file) for file in files]
        reasons = [_wait_for(task) for task in tasks]
    return {file.path: why for file, why in zip(files, reasons, strict=True) if why}


def duplicate_ids(storage: Storage, rows_files: Sequence[RowsFile], rows: int) -> list[str]:
    """Return a text for each id that occurs more than once in the index, with the id and some of
    its rows: at most ten texts from each share of the ids.

    Raises StorageError. More than 100,000 ids are compared on Ray, in shares of about 20 million,
    one after the other.

    Args:
        storage: OUTPUT.
        rows_files: the index's files with the ids.
        rows: number of ids in them.
    """
    if rows <= _FEW_IDS:
        return find_duplicates(storage, rows_files, share=0, shares=1)
    shares = 1 + rows // _IDS_PER_SHARE

    find = ray.remote(num_cpus=1)(_result_or_error)
    duplicates: list[str] = []
    for share in range(shares):
        duplicates += _wait_for(find.remote(find_duplicates, storage, rows_files, share, shares))
    return duplicates


def _rows_files(directory: str, spans: int) -> list[str]:
    return [index_file(directory, "rows", number) for number in range(spans)]


def _unit_count(plans: Sequence[Plan]) -> int:
    return sum(len(plan.units) for plan in plans)


def layout_of(plans: Sequence[Plan]) -> Layout | None:
    """Return the layout that all files of these plans have in common, or None if no plan has a
    row."""
    layouts = [plan.layout for plan in plans if plan.layout is not None]
    return Layout.from_text(layouts[0]) if layouts else None


def _plan(corpus: Corpus, spans: Sequence[SpanIndex], directory: str, first_unit: int) -> Plan:
    units = number_units([unit for span in spans for unit in span.units], first_unit)
    return Plan(
        files=corpus.files,
        units=tuple(units),
        rows_files=tuple(_rows_files(directory, len(spans))),
        problems=sum_counts(span.problems for span in spans),
        layout=corpus.layout.to_text() if units else None,
        without_rows=corpus.without_rows,
    )
