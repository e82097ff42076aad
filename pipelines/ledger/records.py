"""The records of a run, as values and as bytes: plans and commits, and whether they agree.

A plan states which units there are, and a commit what became of one of them. Both state digests,
so that they can be compared: a commit names the plan that its unit belongs to (by the digest of the
plan's record), and the documents in its files (by the digest of their ids, `Unit.ids`).

Knows units and the corpus's files; knows nothing of storage, or of the names of records.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.corpus.files import SourceFile
from pipelines.corpus.units import Unit, units_of, units_table
from pipelines.documents import Usage
from pipelines.errors import OutputError
from pipelines.ledger.redo import Redo
from pipelines.ledger.used import Used, Work, subtract_usage

# The metadata of a plan names every file of the corpus and is stored twice, which can exceed
# Arrow's default limit of 100 MB.
_MAX_METADATA_BYTES = 2**31 - 1
_FILES_KEY = b"phifleet.files"
_ROWS_KEY = b"phifleet.rows_files"
_PROBLEMS_KEY = b"phifleet.problems"
_LAYOUT_KEY = b"phifleet.layout"
_WITHOUT_ROWS_KEY = b"phifleet.files_without_rows"
_INPUT_KEY = b"phifleet.input"
_REDO_KEY = b"phifleet.redo"
_INPUT_FIELDS = ("table", "version", "gone", "withdrawn", "changes")

# The keys that are read from the record of a job and from a manifest.
_JOB_TYPES = {"source": dict, "digests": dict, "fingerprint": str, "model": str, "revision": str}
_MANIFEST_TYPES = {"documents": int, "skipped_files": list}


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A finished file in staging.

    `staged` is its name below OUTPUT. `sha256` is the checksum of its bytes in hex, which the
    published copy must have too.
    """

    staged: str
    rows: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Commit:
    """The record that makes a unit done.

    `plan` is the digest of the unit's plan. `part` is the file of answers, and `errors` that of
    dead letters; each is None if it would have no rows. `ids` is the digest of the documents in
    both. `rows` is the number of documents, `answered` plus `dead_letters`. `reasons` counts dead
    letters by reason, those of single tasks included. The numbers of tokens are sums over all
    answers; `prompt_tokens` includes `cached_prompt_tokens`, which came from the prefix cache.
    `decoding` has for each task its output tokens, the steps of the engine that generated them, and
    the guessed tokens that were verified; it is empty in records of versions without it. `checks`
    counts the answers in which each check of the job found something, by its name. `seconds`
    is the time that answering took, `host` the worker's machine, and `committed_at` an ISO 8601
    time. `used` is what the worker has used since its commit before; it is empty in records of
    versions without it.

    In the revision of a unit (see `withdrawals.py` and `redo.py`) `revision` is the number of the
    plan that withdrew documents from it or answered some again, `planned_ids` the digest of all its
    documents as planned, and the numbers of documents are those that remain; in a commit they are 0
    and "". `answered_at` is the time of the last commit that brought answers, "" if it is
    this one. `earlier` is the work of the processes that had answered the unit before: `used` is
    that of the last one only, and the other numbers are sums over all.
    """

    unit: int
    plan: str
    ids: str
    rows: int
    answered: int
    dead_letters: int
    reasons: Mapping[str, int]
    part: StagedFile | None
    errors: StagedFile | None
    prompt_tokens: int
    cached_prompt_tokens: int
    output_tokens: int
    seconds: float
    host: str
    committed_at: str
    decoding: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    checks: Mapping[str, int] = field(default_factory=dict)
    revision: int = 0
    planned_ids: str = ""
    answered_at: str = ""
    used: Used = field(default_factory=Used)
    earlier: tuple[Work, ...] = ()

    @property
    def tokens(self) -> Usage:
        """The tokens of all answers: of their prompts, of which some came from the prefix cache,
        and generated ones, with the steps for them."""
        return Usage(
            self.prompt_tokens,
            self.cached_prompt_tokens,
            self.output_tokens,
            self.used.steps + sum(work.tokens.steps for work in self.earlier),
            self.used.draft_tokens + sum(work.tokens.draft_tokens for work in self.earlier),
        )

    @property
    def work(self) -> tuple[Work, ...]:
        """The work of each process that has answered documents of the unit, the last at the end."""
        tokens, seconds = self.tokens, self.seconds
        for work in self.earlier:
            tokens = subtract_usage(tokens, work.tokens)
            seconds -= work.seconds
        ended_at = self.answered_at or self.committed_at
        return (*self.earlier, Work(self.used, tokens, round(seconds, 3), ended_at))

    def to_json(self) -> bytes:
        """Return the record as JSON in UTF-8; `from_json` reads it."""
        earlier = [work.to_json() for work in self.earlier]
        values = asdict(self) | {"used": self.used.to_json(), "earlier": earlier}
        return json.dumps(values, sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Commit:
        """Return the commit that `to_json` wrote. Call it inside `readable`, which turns the
        various errors of data in another format into OutputError."""
        fields: dict[str, Any] = json.loads(data)
        for name in ("part", "errors"):
            if fields[name] is not None:
                fields[name] = StagedFile(**fields[name])
        decoding = fields.pop("decoding", {})
        fields["decoding"] = {task: tuple(counts) for task, counts in decoding.items()}
        fields["used"] = Used.from_json(fields.pop("used", {}))
        fields["earlier"] = tuple(Work.from_json(work) for work in fields.pop("earlier", ()))
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class Plan:
    """The result of indexing: the units of the corpus, or of files that were added to it later.

    `files` are the indexed input files. `rows_files` are the names of the index's files that list
    every row, below OUTPUT. `problems` has, by reason, the number of documents that cannot be
    answered. `layout` is `Layout.to_text` of the rows, None if there are none. `without_rows` are
    the paths of the files that have no rows. `digest` is the checksum of the plan's record, "" for
    a plan that was not read from one.

    `table` and `version` are the format and the version of the table that the files are data files
    of; None for plain files. A plan that follows the input to a new version has: `gone`, the files
    of earlier plans that the input does not have any more, each with the number of its plan;
    `withdrawn`, the name of the file that lists the documents that have changed or are gone (see
    `withdrawals.py`), None if there are none; and `changes`, the numbers of documents added,
    changed, removed and unchanged, and the time `at` which they were found.

    A plan with a `redo` has nothing else: it names units of earlier plans that are answered again.
    """

    files: tuple[SourceFile, ...]
    units: tuple[Unit, ...]
    rows_files: tuple[str, ...]
    problems: Mapping[str, int]
    layout: str | None = None
    without_rows: tuple[str, ...] = ()
    table: str | None = None
    version: int | None = None
    gone: tuple[tuple[int, str], ...] = ()
    withdrawn: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    redo: Redo | None = None
    digest: str = field(default="", compare=False)

    def to_bytes(self) -> bytes:
        """Return the record: a Parquet file with a row for each unit, or each unit of the redo, and
        the rest as metadata."""
        metadata = {
            _FILES_KEY.decode(): json.dumps([file.to_record() for file in self.files]),
            _ROWS_KEY.decode(): json.dumps(self.rows_files),
            _PROBLEMS_KEY.decode(): json.dumps(dict(self.problems)),
            _LAYOUT_KEY.decode(): json.dumps(self.layout),
            _INPUT_KEY.decode(): json.dumps({name: getattr(self, name) for name in _INPUT_FIELDS}),
            _WITHOUT_ROWS_KEY.decode(): json.dumps(self.without_rows),
        }
        units = self.units
        if self.redo is not None:
            metadata[_REDO_KEY.decode()] = json.dumps(self.redo.to_json())
            units = self.redo.units
        sink = io.BytesIO()
        pq.write_table(units_table(units, metadata), sink)
        return sink.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Plan:
        """Return the plan that `to_bytes` wrote, with its digest. Call it inside `readable`, which
        turns the various errors of data in another format into OutputError."""
        table = pq.read_table(io.BytesIO(data), thrift_string_size_limit=_MAX_METADATA_BYTES)
        metadata = table.schema.metadata
        of_input = json.loads(metadata.get(_INPUT_KEY, b"{}"))
        gone = tuple((int(plan), str(path)) for plan, path in of_input.pop("gone", ()))
        units, redo = tuple(units_of(table)), None
        if _REDO_KEY in metadata:
            redo, units = Redo.from_json(json.loads(metadata[_REDO_KEY]), units), ()
        return cls(
            files=tuple(SourceFile(**file) for file in json.loads(metadata[_FILES_KEY])),
            units=units,
            rows_files=tuple(json.loads(metadata[_ROWS_KEY])),
            problems=json.loads(metadata[_PROBLEMS_KEY]),
            layout=json.loads(metadata[_LAYOUT_KEY]),
            without_rows=tuple(json.loads(metadata.get(_WITHOUT_ROWS_KEY, b"[]"))),
            **of_input,
            gone=gone,
            redo=redo,
            digest=sha256(data),
        )


def check_job(record: Mapping[str, Any]) -> None:
    """Raise KeyError or TypeError if the record of a job has another format. Call it inside
    `readable`, which turns these into OutputError."""
    _check_types(record, _JOB_TYPES)


def check_manifest(record: Mapping[str, Any]) -> None:
    """Raise KeyError or TypeError if a manifest has another format. Call it inside `readable`,
    which turns these into OutputError."""
    _check_types({"skipped_files": [], **record}, _MANIFEST_TYPES)


def _check_types(record: Mapping[str, Any], types: Mapping[str, type]) -> None:
    for name, kind in types.items():
        if not isinstance(record[name], kind):
            raise TypeError(f"{name} is {record[name]!r}, expected {kind.__name__}")


def sum_decoding(
    parts: Iterable[Mapping[str, tuple[int, int, int]]],
) -> dict[str, tuple[int, int, int]]:
    """Return the sums of several `Commit.decoding` by task: output tokens, steps and guessed
    tokens. Tasks stay in the order in which they first occur."""
    total: dict[str, tuple[int, int, int]] = {}
    for by_task in parts:
        for task, (tokens, steps, drafted) in by_task.items():
            before = total.get(task, (0, 0, 0))
            total[task] = (before[0] + tokens, before[1] + steps, before[2] + drafted)
    return total


def sum_counts(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sums of several counts by reason, such as those of all commits, sorted by
    reason."""
    total: Counter[str] = Counter()
    for by_reason in counts:
        total.update(by_reason)
    return dict(sorted(total.items()))


def sha256(data: bytes) -> str:
    """Return the SHA-256 checksum of the data, in hex."""
    return hashlib.sha256(data).hexdigest()


@contextmanager
def readable(path: str) -> Iterator[None]:
    """Turn errors of parsing a record within the block into OutputError. `path` is the record's
    full path, for the message."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, pa.ArrowException) as error:
        raise OutputError(
            f"output.path: {path}: the record is damaged, or was written by another version of "
            f"phifleet ({type(error).__name__}: {error}); use the version that wrote it, or set "
            "output.path to a new directory"
        ) from error


def current_files(plans: Sequence[Plan]) -> dict[str, tuple[int, SourceFile]]:
    """Return the files that the input had when the last plan was made, by their paths, each with
    the number of the plan that indexed it."""
    current: dict[str, tuple[int, SourceFile]] = {}
    for number, plan in enumerate(plans):
        for _, path in plan.gone:
            current.pop(path, None)
        current |= {file.path: (number, file) for file in plan.files}
    return current


def current_rows(plans: Sequence[Plan]) -> list[tuple[str, frozenset[str]]]:
    """Return the index's files that list the rows of the current files, each with the paths of
    files in it that the input does not have any more."""
    current = current_files(plans)
    rows = []
    for number, plan in enumerate(plans):
        gone = frozenset(
            file.path for file in plan.files if current.get(file.path, (-1,))[0] != number
        )
        if len(gone) < len(plan.files):
            rows += [(name, gone) for name in plan.rows_files]
    return rows


def plan_digests(plans: Sequence[Plan]) -> dict[int, str]:
    """Return the digest of each unit's plan, by the unit's number."""
    return {unit.number: plan.digest for plan in plans for unit in plan.units}
