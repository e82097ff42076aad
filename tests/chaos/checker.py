"""Checks the output of a run by reading its files. Shares no code with phifleet's ledger.

Every document must occur exactly once: in a part, or as a whole among the dead letters.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


@dataclass(frozen=True)
class CheckResult:
    """The result of checking one run.

    Attributes:
        documents: how many documents the corpus has.
        lost: documents of the corpus that do not occur in the output.
        doubled: occurrences beyond the first of any document.
        unexpected: documents in the output that the corpus does not have.
        dead_letters: how many dead letters there are, by reason.
        prompts: how many prompts the engines received.
        redone: prompts about a document whose unit had been committed before.
        stale: documents with answers about another edition than the corpus has.
        changed: documents of the corpus that are not of the first edition.
    """

    documents: int
    lost: int
    doubled: int
    unexpected: int
    dead_letters: dict[str, int]
    prompts: int
    redone: int
    stale: int
    changed: int

    @property
    def sound(self) -> bool:
        """True if every document occurs exactly once, as it is now, and no other document does."""
        return self.lost == self.doubled == self.unexpected == self.stale == 0


def check(
    filesystem: Any, output: str, editions: Mapping[str, int], request_log: Path
) -> CheckResult:
    """Compare the documents in OUTPUT with the corpus: the edition of each document by its id.

    Answers without a column `edition` are of the first. Each id ends with `-` and the number of its
    paper. `request_log` is the directory in which the engines log their prompts
    (`program.RequestLog`).
    """
    corpus = set(editions)
    occurrences: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    committed = _commit_times(filesystem, output)
    commit_time: dict[str, float] = {}
    failed: set[str] = set()
    stale = 0
    for path in filesystem.glob(f"{output}/answers/part-*.parquet"):
        unit = int(path.rsplit("-", 1)[1].removesuffix(".parquet"))
        for row in _rows(filesystem, path, ["doc", "edition"]):
            edition = row.get("edition", 1)
            occurrences[row["doc"]] += 1
            stale += edition != editions.get(row["doc"], edition)
            commit_time[row["doc"].rsplit("-", 1)[1]] = committed[unit]
    for path in filesystem.glob(f"{output}/dead_letters/part-*.parquet"):
        for letter in _rows(filesystem, path, ["doc_id", "task", "reason"]):
            reasons[letter["reason"]] += 1
            occurrences[letter["doc_id"]] += letter["task"] is None
            failed.add(letter["doc_id"])
    # a document all of whose tasks failed has only dead letters of its tasks
    occurrences.update(failed - set(+occurrences))
    prompts = [
        line.split() for file in request_log.iterdir() for line in file.read_text().splitlines()
    ]
    return CheckResult(
        documents=len(corpus),
        lost=len(corpus - set(occurrences)),
        doubled=sum(count - 1 for count in occurrences.values() if count > 1),
        unexpected=len(set(occurrences) - corpus),
        dead_letters=dict(reasons),
        prompts=len(prompts),
        redone=sum(float(time) > commit_time.get(number, float("inf")) for time, number in prompts),
        stale=stale,
        changed=sum(edition > 1 for edition in editions.values()),
    )


def _rows(filesystem: Any, path: str, columns: list[str]) -> list[dict[str, Any]]:
    with filesystem.open(path, "rb") as file:
        parquet = pq.ParquetFile(file)
        existing = [column for column in columns if column in parquet.schema_arrow.names]
        rows: list[dict[str, Any]] = parquet.read(existing).to_pylist()
    return rows


def _commit_times(filesystem: Any, output: str) -> dict[int, float]:
    """Return the time of each unit's commit, in seconds since 1970."""
    times = {}
    for path in filesystem.glob(f"{output}/_run/commits/*.json"):
        record = json.loads(filesystem.cat_file(path))
        times[record["unit"]] = datetime.fromisoformat(record["committed_at"]).timestamp()
    return times
