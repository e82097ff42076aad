"""The planner: index what is new in the corpus and record its units in the ledger.

A large corpus is indexed on Ray's CPUs, a small one in this process. Knows the index and the
ledger; nothing of engines or of how units are run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import ray

from pipelines.corpus.files import SourceFile
from pipelines.corpus.ids import MAX_REPORTED, find_duplicates
from pipelines.corpus.index import IndexConfig, SpanIndex, cut_spans, index_span
from pipelines.corpus.layout import Layout
from pipelines.corpus.rows import Corpus, Fragment, open_corpus, unreadable_reason
from pipelines.corpus.units import number_units
from pipelines.errors import InputError, PhifleetError, StorageError, UnreadableFile
from pipelines.job.spec import InputSpec
from pipelines.ledger.ledger import Ledger, new_index
from pipelines.ledger.records import Plan, sum_counts
from pipelines.run.cluster import Cluster
from pipelines.run.prepared import PreparedJob
from pipelines.run.progress import RunState
from pipelines.storage import Storage

_IDS_PER_SHARE = 20_000_000
# What this process has done before Ray has started a process for it.
SMALL_CORPUS_BYTES = 4 * 2**20
_FEW_IDS = 100_000
T = TypeVar("T")


@dataclass(frozen=True)
class Planner:
    """Turns files that no plan knows yet into a plan of their own."""

    prepared: PreparedJob
    ledger: Ledger
    cluster: Cluster
    unit_seconds: float
    state: RunState
    skip_bad_files: bool = False

    def extend(self, plans: Sequence[Plan], new: Sequence[SourceFile]) -> Sequence[Plan]:
        """The plans, with one more where there are new files. Raises InputError."""
        self.state.phase = "indexing"
        if self.skip_bad_files:
            new = self._sound(new)
            if not new and not plans and self.state.skipped_files:
                raise UnreadableFile(
                    f"input.path: no file can be read to its end; {self.state.skipped_files[0]}"
                )
        while new:
            plans = self._add_plan(plans, new)
            # where somebody else was first, theirs may lack some of ours
            planned = {file.path for plan in plans for file in plan.files}
            new = [file for file in new if file.path not in planned]
        return plans

    def _add_plan(self, plans: Sequence[Plan], new: Sequence[SourceFile]) -> Sequence[Plan]:
        """Index new files and record the next plan; return all plans as they stand then."""
        directory = new_index(len(plans))
        try:
            corpus = open_corpus(self.prepared.spec.input, new, _layout_of(plans))
            found = self._index(corpus, directory)
            self._check_ids(found, directory, plans)
        except PhifleetError as error:
            # it holds the texts once more
            with suppress(StorageError):
                self.ledger.storage.remove(directory)
            if isinstance(error, UnreadableFile):
                raise UnreadableFile(
                    f"{error.message.rstrip('. ')}; write it again, or leave it out with "
                    "--skip-bad-files"
                ) from error
            raise
        first = sum(len(plan.units) for plan in plans)
        plan = _plan(corpus, found, directory, first)
        if not self.ledger.add_plan(len(plans), plan):
            self.ledger.storage.remove(directory)
        return self.ledger.plans()

    def _sound(self, files: Sequence[SourceFile]) -> list[SourceFile]:
        """Those of the files that can be read to their ends; the others are noted."""
        self.state.phase = "looking for bad files"
        reasons = unreadable_files(self.prepared.spec.input, files)
        self.state.skipped_files = sorted(reasons.values())
        self.state.phase = "indexing"
        return [file for file in files if file.path not in reasons]

    def _index(self, corpus: Corpus, directory: str) -> list[SpanIndex]:
        config = IndexConfig(
            input=corpus.spec,
            layout=corpus.layout,
            tokenizer=self.prepared.tasks.tokenizer,
            reading=self.prepared.tasks.reading,
            cost=self.prepared.cost(self.cluster.device),
            unit_seconds=self.unit_seconds,
            storage=self.ledger.storage,
            directory=directory,
        )
        spans = cut_spans(corpus.fragments, self.cluster.cpus)
        self.state.spans = len(spans)
        found = []
        for index in index_spans(spans, config):
            found.append(index)
            self.state.spans_done += 1
            self.state.documents += index.rows
        return found

    def _check_ids(self, found: Sequence[SpanIndex], directory: str, plans: Sequence[Plan]) -> None:
        bad = [where for index in found for where in index.bad_ids]
        if bad:
            raise _refused_ids("are null, empty or not UTF-8", bad)
        files = [name for plan in plans for name in plan.rows_files]
        rows = sum(unit.rows for plan in plans for unit in plan.units)
        rows += sum(index.rows for index in found)
        files += _rows_files(directory, len(found))
        doubled = duplicate_ids(self.ledger.storage, files, rows)
        if doubled:
            raise _refused_ids("stand more than once", doubled)


def _refused_ids(what: str, named: Sequence[str]) -> InputError:
    lines = (f"ids that {what}:", *named[:MAX_REPORTED])
    return InputError(
        "\n  ".join(lines) + "\nGive every document an id of its own, or name another column as "
        "input.id_column"
    )


def new_files(files: Sequence[SourceFile], plans: Sequence[Plan]) -> list[SourceFile]:
    """Files that no plan knows. Raises InputError where a known one changed or is gone."""
    present = {file.path: file for file in files}
    known = [file for plan in plans for file in plan.files]
    for file in known:
        if file.path not in present:
            raise InputError(f"{file.path}: was part of this run and is gone; put it back")
        if present[file.path] != file:
            raise InputError(
                f"{file.path}: has changed since it was indexed; put the old one back, or run "
                "into another OUTPUT"
            )
    paths = {file.path for file in known}
    return [file for file in files if file.path not in paths]


def index_spans(spans: Sequence[Sequence[Fragment]], config: IndexConfig) -> Iterator[SpanIndex]:
    """Index spans on Ray Data, one CPU each, in any order; a small corpus here, in this process."""
    if sum(piece.size_bytes for span in spans for piece in span) <= SMALL_CORPUS_BYTES:
        yield from (index_span(number, span, config) for number, span in enumerate(spans))
        return
    shared = ray.put(config)

    def index(row: dict[str, Any]) -> dict[str, Any]:
        return {"found": _outcome(index_span, row["number"], row["pieces"], ray.get(shared))}

    rows = [{"number": number, "pieces": list(span)} for number, span in enumerate(spans)]
    dataset = ray.data.from_items(rows, override_num_blocks=max(1, len(rows)))
    for row in dataset.map(index, num_cpus=1).iter_rows():
        yield _value(row["found"])


def _outcome(asked: Callable[..., T], *given: Any) -> T | PhifleetError:
    """What it returns, or its error, which raised on Ray would come as an error of Ray's."""
    try:
        return asked(*given)
    except PhifleetError as error:
        return error


def _value(outcome: T | PhifleetError) -> T:
    if isinstance(outcome, PhifleetError):
        raise outcome
    return outcome


def _answer(asked: Any) -> Any:
    """What a task on Ray returned, or its error. A signal is heard meanwhile, as in `ray.get` it is
    not."""
    return _value(asked.future().result())


def unreadable_files(spec: InputSpec, files: Sequence[SourceFile]) -> dict[str, str]:
    """Why files cannot be read, by path: each is read whole, many of them on Ray's CPUs."""
    if sum(file.size_bytes for file in files) <= SMALL_CORPUS_BYTES:
        found = [unreadable_reason(spec, file) for file in files]
    else:
        look = ray.remote(num_cpus=1)(_outcome)
        asked = [look.remote(unreadable_reason, spec, file) for file in files]
        found = [_answer(each) for each in asked]
    return {file.path: why for file, why in zip(files, found, strict=True) if why}


def duplicate_ids(storage: Storage, rows_files: Sequence[str], rows: int) -> list[str]:
    """Ids that stand twice in the index, the first ten; where there are many, looked for on Ray, a
    share at a time."""
    if rows <= _FEW_IDS:
        return find_duplicates(storage, rows_files, share=0, shares=1)
    shares = 1 + rows // _IDS_PER_SHARE

    look = ray.remote(num_cpus=1)(_outcome)
    found: list[str] = []
    for share in range(shares):
        found += _answer(look.remote(find_duplicates, storage, rows_files, share, shares))
    return found


def _rows_files(directory: str, spans: int) -> list[str]:
    return [f"{directory}/rows-{number:05d}.parquet" for number in range(spans)]


def _layout_of(plans: Sequence[Plan]) -> Layout | None:
    """What all files of these plans have in common, None where none has a row."""
    found = [plan.layout for plan in plans if plan.layout is not None]
    return Layout.from_text(found[0]) if found else None


def _plan(corpus: Corpus, found: Sequence[SpanIndex], directory: str, first: int) -> Plan:
    units = number_units([unit for index in found for unit in index.units], first)
    return Plan(
        files=corpus.files,
        units=tuple(units),
        rows_files=tuple(_rows_files(directory, len(found))),
        problems=sum_counts(index.problems for index in found),
        layout=corpus.layout.to_text() if units else None,
    )
