"""Finds what has changed in the input since a run read it, and plans what follows from it.

Compares the files that exist now with those of the plans, and then their rows. Knows the index and
the ledger; nothing of engines or of how units are run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from pipelines.corpus.files import SourceFile
from pipelines.corpus.ids import RowsFile
from pipelines.corpus.index_rows import owners_spans, read_rows_of
from pipelines.corpus.not_read import NotRead
from pipelines.corpus.row_changes import HashedRows, RowChanges, compare_rows
from pipelines.corpus.sources import list_input
from pipelines.errors import InputError, OutputError
from pipelines.job.spec import InputSpec
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.names import DELTA_LOG
from pipelines.ledger.records import Plan, current_files
from pipelines.ledger.withdrawals import find_owners, write_withdrawn
from pipelines.storage import Storage

_NEW_OUTPUT = "set output.path to a new directory"


@dataclass(frozen=True, slots=True)
class InputChanges:
    """The differences between the files of the input and those of a run's plans.

    `new` are the files that no plan has, and `gone` the files of plans that the input does not have
    any more, each with the number of its plan; a file that has changed is both. `table`,
    `version` and `not_read` are as in `InputFiles`. With `postponed` the differences count only
    when all planned units are committed: until then, a commit could bring back what the input does
    not have.
    """

    new: Sequence[SourceFile] = ()
    gone: Sequence[tuple[int, str]] = ()
    table: str | None = None
    version: int | None = None
    postponed: bool = False
    not_read: NotRead = field(default_factory=NotRead)

    def without(self, plans: Sequence[Plan]) -> InputChanges:
        """Return the changes that these plans, perhaps another driver's, do not have yet."""
        current = current_files(plans)
        gone = [each for each in self.gone if current.get(each[1], (-1,))[0] == each[0]]
        new = [file for file in self.new if not _is_current(file, current)]
        return replace(self, new=new, gone=gone)

    def __bool__(self) -> bool:
        return bool(self.new or self.gone)


def find_changes(
    spec: InputSpec, plans: Sequence[Plan], committed: Collection[int], exclude: str
) -> InputChanges:
    """Return the differences between the input and the plans.

    `committed` are the numbers of committed units, and `exclude` is OUTPUT's directory (see
    `list_corpus`). A run whose units are not all committed keeps the version of a table with which
    it began. Raises InputError if there is no input, or if a plain file of a plan has changed or is
    missing and the run does not follow its input.
    """
    unfinished = any(unit.number not in committed for plan in plans for unit in plan.units)
    was_table = plans[-1].table if plans else None
    if unfinished and (was_table or spec.follow):
        return InputChanges(table=was_table, version=plans[-1].version, postponed=spec.follow)
    listed = list_input(spec, exclude)
    if plans and listed.table != was_table:
        raise InputError(
            f"input.path: {spec.path} is {_kind(listed.table)} now, and was {_kind(was_table)} "
            f"when this run read it; restore it, or {_NEW_OUTPUT}"
        )
    if not plans and not listed.files:
        raise InputError(
            f"input.path: the {listed.table} table {spec.path} has no rows at version "
            f"{listed.version}; check the table, or set input.version to another one"
        )
    current = current_files(plans)
    present = {file.path: file for file in listed.files}
    if not spec.follow and listed.table is None:
        _refuse_changed_files([file for _, file in current.values()], present)
    return InputChanges(
        new=[file for file in listed.files if not _is_current(file, current)],
        gone=[(plan, path) for path, (plan, file) in current.items() if present.get(path) != file],
        table=listed.table,
        version=listed.version,
        not_read=listed.not_read,
    )


def refuse_stale_table(spec: InputSpec, storage: Storage) -> None:
    """Raise OutputError if the run follows its input, and OUTPUT has a Delta table of the answers:
    documents that are withdrawn from the answers' files would stay in the table."""
    if spec.follow and storage.names(DELTA_LOG):
        raise OutputError(
            f"{storage.path(DELTA_LOG)}: an earlier run made OUTPUT's answers a Delta table "
            "(output.table), which input.follow: true cannot change: remove the key input.follow, "
            f"or {_NEW_OUTPUT}"
        )


def _kind(table: str | None) -> str:
    return f"{'an' if table == 'Iceberg' else 'a'} {table} table" if table else "not a table"


def _is_current(file: SourceFile, current: Mapping[str, tuple[int, SourceFile]]) -> bool:
    return file.path in current and current[file.path][1] == file


def _refuse_changed_files(planned: Sequence[SourceFile], present: Mapping[str, SourceFile]) -> None:
    """Raise InputError if a planned file is not present, or has another size or version."""
    follow = f"set input.follow: true, or {_NEW_OUTPUT}"
    for file in planned:
        if file.path not in present:
            raise InputError(
                f"{file.path}: was indexed by this run and is missing or empty now; restore the "
                f"file, or, to remove its documents' answers from OUTPUT, {follow}"
            )
        if present[file.path] != file:
            raise InputError(
                f"{file.path}: has changed since it was indexed; restore the old file, or, to "
                f"answer the changed documents again, {follow}"
            )


def known_rows_of(storage: Storage, plans: Sequence[Plan], changes: InputChanges) -> HashedRows:
    """Return the rows that the files which are gone had. Raises StorageError."""
    files: list[RowsFile] = []
    for number in sorted({plan for plan, _ in changes.gone}):
        plan = plans[number]
        gone = {path for owner, path in changes.gone if owner == number}
        others = frozenset(file.path for file in plan.files) - gone
        files += [(name, others) for name in plan.rows_files]
    return read_rows_of(storage, files)


@dataclass(frozen=True)
class Following:
    """The difference between rows of files that are gone and rows of new files, and what it means
    for a plan.

    `known` are the rows of the files that are gone.
    """

    spec: InputSpec
    ledger: Ledger
    plans: Sequence[Plan]
    changes: InputChanges
    known: HashedRows
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def plan_fields(self, rows_files: Sequence[str], directory: str) -> dict[str, Any]:
        """Return the fields of the new plan that follow from the changes, given its index's files,
        and write the list of withdrawn documents to `directory`.

        Raises InputError if documents have changed or are gone, and the run does not follow its
        input.
        """
        fields = {"table": self.changes.table, "version": self.changes.version}
        if not self.changes.gone:
            return fields
        storage = self.ledger.storage
        rows = compare_rows(self.known, read_rows_of(storage, rows_files))
        if len(rows.withdrawn) and not self.spec.follow:
            raise InputError(self._refusal(rows))
        withdrawn = None
        if len(rows.withdrawn):
            withdrawn = f"{directory}/withdrawn"
            spans = owners_spans(storage, _rows_files(self.plans), rows.withdrawn)
            owners = find_owners(self.ledger, _units_of(self.plans, spans), rows.withdrawn)
            write_withdrawn(storage, withdrawn, owners)
        counts = {
            name: getattr(rows, name) for name in ("added", "changed", "removed", "unchanged")
        }
        gone = tuple(sorted(self.changes.gone))
        return {
            **fields,
            "gone": gone,
            "withdrawn": withdrawn,
            "changes": {**counts, "at": self.at},
        }

    def _refusal(self, rows: RowChanges) -> str:
        old, new = self.plans[-1].version, self.changes.version
        return (
            f"input.path: {self.spec.path}: version {new} of the table adds {rows.added} documents "
            f"to those that this run has read at version {old}, changes {rows.changed} and removes "
            f"{rows.removed}. To answer the changed ones again and remove the answers of the "
            f"others from OUTPUT, set input.follow: true; to stay with version {old}, set "
            f"input.version: {old}"
        )


def _rows_files(plans: Sequence[Plan]) -> list[str]:
    return [name for plan in plans for name in plan.rows_files]


def _units_of(plans: Sequence[Plan], rows_files: Collection[str]) -> list[int]:
    """Return the numbers of the units with rows that these files of the index list."""
    texts = {name.replace("/rows-", "/text-") for name in rows_files}
    return [unit.number for plan in plans for unit in plan.units if unit.file in texts]
