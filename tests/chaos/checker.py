"""What a run left, checked by reading its files: shares no code with phifleet's ledger.

A document must stand once, in a part or whole among the dead letters; nothing else may stand there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


@dataclass(frozen=True)
class Found:
    """`redone` are prompts about a document whose unit was committed before they were asked,
    `asked` all prompts."""

    documents: int
    lost: int
    doubled: int
    strange: int
    dead_letters: dict[str, int]
    asked: int
    redone: int

    @property
    def sound(self) -> bool:
        return self.lost == self.doubled == self.strange == 0


def check(filesystem: Any, output: str, ids: Iterable[str], diary: Path) -> Found:
    """Compare OUTPUT with the ids of its corpus. `ids` end with the papers' numbers."""
    wanted = set(ids)
    seen: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    committed = _commit_times(filesystem, output)
    done: dict[str, float] = {}
    failed: set[str] = set()
    for path in filesystem.glob(f"{output}/part-*.parquet"):
        unit = int(path.rsplit("-", 1)[1].removesuffix(".parquet"))
        for doc in _rows(filesystem, path, ["doc"]):
            seen[doc["doc"]] += 1
            done[doc["doc"].rsplit("-", 1)[1]] = committed[unit]
    for path in filesystem.glob(f"{output}/_errors/part-*.parquet"):
        for letter in _rows(filesystem, path, ["doc_id", "task", "reason"]):
            reasons[letter["reason"]] += 1
            seen[letter["doc_id"]] += letter["task"] is None
            failed.add(letter["doc_id"])
    # of one that stands nowhere else every task failed
    seen.update(failed - set(+seen))
    asked = [line.split() for file in diary.iterdir() for line in file.read_text().splitlines()]
    return Found(
        documents=len(wanted),
        lost=len(wanted - set(seen)),
        doubled=sum(count - 1 for count in seen.values() if count > 1),
        strange=len(set(seen) - wanted),
        dead_letters=dict(reasons),
        asked=len(asked),
        redone=sum(float(when) > done.get(number, float("inf")) for when, number in asked),
    )


def _rows(filesystem: Any, path: str, columns: list[str]) -> list[dict[str, Any]]:
    with filesystem.open(path, "rb") as file:
        rows: list[dict[str, Any]] = pq.read_table(file, columns=columns).to_pylist()
    return rows


def _commit_times(filesystem: Any, output: str) -> dict[int, float]:
    times = {}
    for path in filesystem.glob(f"{output}/_run/commits/*.json"):
        record = json.loads(filesystem.cat_file(path))
        times[record["unit"]] = datetime.fromisoformat(record["committed_at"]).timestamp()
    return times
