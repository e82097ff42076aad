"""Checks of the places that a job reads and writes: OUTPUT and the input."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines.corpus.rows import open_corpus, read_rows
from pipelines.corpus.sources import list_input
from pipelines.doctor.checks import Check, guarded, ok
from pipelines.errors import InputError
from pipelines.job.spec import InputSpec
from pipelines.ledger.exclusive import check_exclusive_creation
from pipelines.ledger.ledger import Ledger
from pipelines.storage import Storage

_OUTPUT_REMEDY = (
    "correct output.path, its permissions or credentials; docs/guarantees.md lists the stores "
    "that work"
)
_INPUT_REMEDY = "correct the keys of input in the job file, or the permissions or credentials"


def check_output(url: str) -> Check:
    """Check that OUTPUT can be written, and that of several writers of a name exactly one succeeds.

    Directories that this creates are deleted again.
    """
    return guarded("output", lambda: _check_output(url), _OUTPUT_REMEDY)


def _check_output(url: str) -> Check:
    storage = Storage(url)
    storage.connect()
    ledger = Ledger(storage)
    ledger.check_output_is_ours()
    with _directories_removed(storage):
        check_exclusive_creation(storage)
    state = "contains a run" if ledger.job() else "is free for a new run"
    detail = f"{url}: writable, a name is created by one writer only; it {state}"
    return ok("output", detail)


@contextmanager
def _directories_removed(storage: Storage) -> Iterator[None]:
    """Delete the directories of OUTPUT that the block creates on a disk, if they are empty then."""
    if not storage.local:
        yield
        return
    lowest = Path(storage.path("_run"))
    missing = [path for path in (lowest, *lowest.parents) if not path.exists()]
    try:
        yield
    finally:
        with suppress(OSError):
            for path in missing:
                path.rmdir()


def check_input(spec: InputSpec, output: str) -> Check:
    """Check that the input exists, and that the first of its files has the job's columns and can be
    read. `output` is the URL of OUTPUT, which is not part of the input."""
    return guarded("input", lambda: _check_input(spec, output), _INPUT_REMEDY)


def _check_input(spec: InputSpec, output: str) -> Check:
    listed = list_input(spec, Storage(output).root)
    if not listed.files:
        raise InputError(f"input.path: the table {spec.path} has no rows")
    first = listed.files[0]
    corpus = open_corpus(spec, [first])
    for fragment in corpus.fragments[:1]:
        next(read_rows(spec, corpus.layout, fragment), None)
    size = sum(file.size_bytes for file in listed.files)
    kind = f"{listed.table} table at version {listed.version}, " if listed.table else ""
    unread = f"; {listed.not_read.describe()}" if listed.not_read.count else ""
    detail = f"{kind}{len(listed.files):,} files, {size / 1e9:,.2f} GB; {first.path} can be read"
    return ok("input", f"{spec.path}: {detail}{unread}")
