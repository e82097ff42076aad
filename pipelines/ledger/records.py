"""The records of a run as values and as bytes: plans, commits, and whether they fit each other.

Knows units and the corpus's files; nothing of storage, or of where a record lies.
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
from pipelines.errors import OutputError

# A plan's metadata names every file of the corpus, twice: more than the 100 MB that Arrow takes to
# be sane.
_MOST_METADATA_BYTES = 2**31 - 1
_FILES_KEY = b"phifleet.files"
_ROWS_KEY = b"phifleet.rows_files"
_PROBLEMS_KEY = b"phifleet.problems"
_LAYOUT_KEY = b"phifleet.layout"


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A finished file in staging, and what it must still be when it is published."""

    staged: str
    rows: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Commit:
    """What became of one unit. `part` and `errors` are None where they would have no rows; `plan`
    is the digest of the plan that the unit is of, `ids` that of all documents of both files."""

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

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Commit:
        fields: dict[str, Any] = json.loads(data)
        for name in ("part", "errors"):
            if fields[name] is not None:
                fields[name] = StagedFile(**fields[name])
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class Plan:
    """What one look at the corpus gave: files, units, the files that list every row, problems by
    reason, and the layout of the rows where there are any. `digest` is that of its record."""

    files: tuple[SourceFile, ...]
    units: tuple[Unit, ...]
    rows_files: tuple[str, ...]
    problems: Mapping[str, int]
    layout: str | None = None
    digest: str = field(default="", compare=False)

    def to_bytes(self) -> bytes:
        metadata = {
            _FILES_KEY.decode(): json.dumps([asdict(file) for file in self.files]),
            _ROWS_KEY.decode(): json.dumps(self.rows_files),
            _PROBLEMS_KEY.decode(): json.dumps(dict(self.problems)),
            _LAYOUT_KEY.decode(): json.dumps(self.layout),
        }
        sink = io.BytesIO()
        pq.write_table(units_table(self.units, metadata), sink)
        return sink.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Plan:
        table = pq.read_table(io.BytesIO(data), thrift_string_size_limit=_MOST_METADATA_BYTES)
        metadata = table.schema.metadata
        return cls(
            files=tuple(SourceFile(**file) for file in json.loads(metadata[_FILES_KEY])),
            units=tuple(units_of(table)),
            rows_files=tuple(json.loads(metadata[_ROWS_KEY])),
            problems=json.loads(metadata[_PROBLEMS_KEY]),
            layout=json.loads(metadata[_LAYOUT_KEY]),
            digest=sha256(data),
        )


def sum_counts(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counts by reason of several plans or commits together, in the order of the reasons."""
    whole: Counter[str] = Counter()
    for each in counts:
        whole.update(each)
    return dict(sorted(whole.items()))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def readable(path: str) -> Iterator[None]:
    """Raises OutputError where the block cannot make sense of the record that lies at a path."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, pa.ArrowException) as error:
        raise OutputError(
            f"output.path: {path}: is damaged, or was written by another version of phifleet "
            f"({type(error).__name__}: {error}); choose another OUTPUT, or the version that wrote "
            "this one"
        ) from error


def plan_digests(plans: Sequence[Plan]) -> dict[int, str]:
    """Return the digest of each unit's plan, by the unit's number."""
    return {unit.number: plan.digest for plan in plans for unit in plan.units}


def differing_units(plans: Sequence[Plan], commits: Iterable[Commit]) -> list[str]:
    """Return the planned units whose commits are of another plan or account for other documents,
    each with what differs."""
    planned = {unit.number: (plan, unit) for plan in plans for unit in plan.units}
    return [
        f"unit {commit.unit}: {why}"
        for commit in commits
        if commit.unit in planned and (why := _difference(*planned[commit.unit], commit))
    ]


def _difference(plan: Plan, unit: Unit, commit: Commit) -> str | None:
    if commit.plan != plan.digest:
        return f"its commit, made on {commit.host}, is of a plan that is not here"
    if commit.ids != unit.ids:
        return f"its commit accounts for {commit.rows} documents, which are not its {unit.rows}"
    return None
