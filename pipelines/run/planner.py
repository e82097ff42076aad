"""The planner: index the new files of the corpus and record their units in the ledger.

A large corpus is indexed on Ray's CPUs, a small one in this process. Knows the index and the
ledger; nothing of engines or of how units are run.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from pipelines.corpus.files import SourceFile
from pipelines.corpus.ids import MAX_REPORTED
from pipelines.corpus.index import IndexConfig, SpanIndex, cut_spans, index_file
from pipelines.corpus.index_rows import write_known
from pipelines.corpus.layout import Layout
from pipelines.corpus.row_changes import HashedRows
from pipelines.corpus.rows import Corpus, open_corpus
from pipelines.corpus.units import number_units
from pipelines.errors import InputError, PhifleetError, StorageError, UnreadableFile
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.names import new_index
from pipelines.ledger.records import Plan, current_rows, sum_counts
from pipelines.run.cluster import Cluster
from pipelines.run.drafts import DraftKey, Drafts, Lengths, draft_key
from pipelines.run.following import Following, InputChanges, known_rows_of
from pipelines.run.indexing import duplicate_ids, index_spans, unreadable_files
from pipelines.run.prepared import PreparedJob
from pipelines.run.state import RunState


@dataclass(frozen=True, slots=True)
class Drafted:
    """The plans recorded so far and, last, the one that is not recorded yet, if there is one.

    `scratch` is the directory of an index that is not kept and that the caller removes; None if
    there is none.
    """

    plans: Sequence[Plan]
    scratch: str | None = None


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
        changes = self._without_bad_files(plans, changes)
        while changes:
            plans = self._add_plan(plans, changes)
            # if another driver recorded its plan first, that plan may lack some of these files
            changes = changes.without(plans)
            if changes.gone:
                # documents are withdrawn only when the units of that plan are committed: next time
                break
        return plans

    def draft(self, plans: Sequence[Plan], changes: InputChanges) -> Drafted:
        """Index the new files as `extend` does, but record no plan: keep the index as a draft,
        which a later `extend` uses if nothing has changed that it depends on.

        The index of an input that has lost files is not kept: what such a plan withdraws depends on
        the units that are committed when it is recorded. Raises as `extend` does.
        """
        changes = self._without_bad_files(plans, changes)
        if not changes:
            return Drafted(plans)
        drafts, key = self._drafts(plans), self._key(plans, changes)
        if (plan := drafts.find(key)) is not None:
            return Drafted([*plans, plan])
        directory = new_index(len(plans))
        try:
            plan = self._make_plan(plans, changes, directory, drafts.lengths(key))
        except BaseException:
            # a signal too: no run would remove what is left of this index
            with suppress(StorageError):
                self.ledger.storage.remove(directory)
            raise
        if changes.gone:
            return Drafted([*plans, plan], scratch=directory)
        drafts.keep(directory, key, plan)
        drafts.remove_others(key)
        return Drafted([*plans, plan])

    def _without_bad_files(self, plans: Sequence[Plan], changes: InputChanges) -> InputChanges:
        """Return the changes without damaged files, if the run skips these. Raises UnreadableFile
        if no file is left and none was read before."""
        self.state.phase = "indexing"
        if not self.skip_bad_files:
            return changes
        new = self._readable(changes.new)
        if not new and not plans and self.state.skipped_files:
            raise UnreadableFile(
                "input.path: none of the files can be read to its end; the first: "
                f"{self.state.skipped_files[0]}; replace the files with intact copies"
            )
        return replace(changes, new=new)

    def _add_plan(self, plans: Sequence[Plan], changes: InputChanges) -> Sequence[Plan]:
        """Try to record new files as the next plan, with a draft's index if there is one; return
        the recorded plans."""
        drafts, key = self._drafts(plans), self._key(plans, changes)
        if (plan := drafts.adopt(key)) is not None:
            self.ledger.add_plan(len(plans), plan)
            return self.ledger.plans()
        directory = new_index(len(plans))
        plan = self._make_plan(plans, changes, directory, drafts.lengths(key))
        if not self.ledger.add_plan(len(plans), plan):
            self.ledger.storage.remove(directory)
        drafts.remove_others(key)
        return self.ledger.plans()

    def _drafts(self, plans: Sequence[Plan]) -> Drafts:
        return Drafts(self.ledger.storage, len(plans))

    def _key(self, plans: Sequence[Plan], changes: InputChanges) -> DraftKey:
        cost = self.prepared.cost(self.cluster.device)
        tokenizer = self.prepared.tasks.tokenizer
        return draft_key(
            plans,
            changes,
            self.prepared.spec.input,
            tokenizer,
            cost,
            self.unit_seconds,
            self.cluster.cpus,
        )

    def _make_plan(
        self,
        plans: Sequence[Plan],
        changes: InputChanges,
        directory: str,
        lengths: Lengths | None,
    ) -> Plan:
        """Index new files into a directory, and return the plan that may be recorded. `lengths` is
        an index that has the lengths of their texts, None if there is none."""
        spec = self.prepared.spec.input
        try:
            known = known_rows_of(self.ledger.storage, plans, changes)
            following = Following(spec, self.ledger, plans, changes, known)
            corpus = open_corpus(spec, changes.new, layout_of(plans))
            spans = self._index(corpus, directory, known, lengths)
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
        return plan

    def _readable(self, files: Sequence[SourceFile]) -> list[SourceFile]:
        """Return the files that can be read to their ends, and list the others in the state."""
        self.state.phase = "looking for bad files"
        reasons = unreadable_files(self.prepared.spec.input, files)
        self.state.skipped_files = sorted(reasons.values())
        self.state.phase = "indexing"
        return [file for file in files if file.path not in reasons]

    def _index(
        self, corpus: Corpus, directory: str, known: HashedRows, lengths: Lengths | None
    ) -> list[SpanIndex]:
        known_file = f"{directory}/known" if len(known.ids) else None
        if known_file:
            write_known(self.ledger.storage, known_file, known)
        config = self._config(corpus, directory, known_file)
        config = replace(config, counted=lengths.directory if lengths else None)
        spans = cut_spans(corpus.fragments, lengths.cpus if lengths else self.cluster.cpus)
        self.state.spans = len(spans)
        indexed = []
        for span in index_spans(spans, config):
            indexed.append(span)
            self.state.spans_done += 1
            self.state.documents += span.rows
        if known_file:
            self.ledger.storage.remove(known_file)
        return indexed

    def _config(self, corpus: Corpus, directory: str, known_file: str | None) -> IndexConfig:
        return IndexConfig(
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
