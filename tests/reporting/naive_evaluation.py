"""A second, plain implementation of the figures, which shares no code with the product.

It reads OUTPUT with pyarrow into memory, compares simple values by equality, tries every assignment
of short lists, and counts in dictionaries.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

Figures = dict[str, tuple[int, int, int, int, int, int, int]]
"""Matched, answered, expected, right documents, judged documents, rightly none, expected none."""


def figures(output: str, gold: str) -> Figures:
    """Return the figures of each field of an OUTPUT with the tasks topic, tags, who and facts."""
    answers = {row["doc"]: row for row in pq.read_table(f"{output}/answers").to_pylist()}
    dead = set()
    if Path(output, "dead_letters").exists():
        table = pq.read_table(f"{output}/dead_letters").to_pylist()
        dead = {row["doc_id"] for row in table} - set(answers)
    totals: defaultdict[str, list[int]] = defaultdict(lambda: [0] * 7)
    for line in Path(gold).read_text().splitlines():
        right = json.loads(line)
        if right["doc"] in answers or right["doc"] in dead:
            row = answers.get(right["doc"])
            for path, (matched, given, wanted, failed) in _document(right, row).items():
                total = totals[path]
                total[0] += matched
                total[1] += given
                total[2] += wanted
                total[3] += not failed and matched == given == wanted
                total[4] += 1
                total[5] += not failed and given == wanted == 0
                total[6] += wanted == 0
    return {path: (t[0], t[1], t[2], t[3], t[4], t[5], t[6]) for path, t in totals.items()}


def _document(right: Any, row: Any) -> dict[str, tuple[int, int, int, bool]]:
    found: dict[str, tuple[int, int, int, bool]] = {}
    for task, wanted in right.items():
        if task == "doc":
            continue
        cell = row[task] if row else None
        failed = cell is None or cell["_answer"]["status"] != "answered"
        given: Any = {} if failed else cell
        if task == "facts":
            for name, value in wanted.items():
                of_field = given.get(name)
                if name == "parties":
                    found |= {
                        path: (*counts, failed)
                        for path, counts in _objects(value or [], of_field or []).items()
                    }
                elif name == "risks":
                    found["facts.risks[]"] = (*_bags(value or [], of_field or []), failed)
                else:
                    found[f"facts.{name}"] = (*_one(value, of_field), failed)
        elif task == "tags":
            found[task] = (*_sets(wanted or [], given.get("labels") or []), failed)
        else:
            found[task] = (*_one(wanted, given.get("label" if task == "topic" else "text")), failed)
    return found


def _one(wanted: Any, given: Any) -> tuple[int, int, int]:
    given = None if given == "Not stated" else given
    same = wanted is not None and wanted == given
    return int(same), int(given is not None), int(wanted is not None)


def _sets(wanted: Sequence[str], given: Sequence[str]) -> tuple[int, int, int]:
    return len(set(wanted) & set(given)), len(set(given)), len(set(wanted))


def _bags(wanted: Sequence[str], given: Sequence[str]) -> tuple[int, int, int]:
    left, matched = list(given), 0
    for item in wanted:
        if item in left:
            left.remove(item)
            matched += 1
    return matched, len(given), len(wanted)


NAMES = ("name", "role")


def _objects(wanted: Sequence[Any], given: Sequence[Any]) -> dict[str, tuple[int, int, int]]:
    """Return the counts of the assignment that has the most equal values, summed over fields."""
    padded: list[Any] = [*given, *(None for _ in wanted)]
    best: tuple[Any, ...] = max(
        permutations(padded, len(wanted)), key=lambda chosen: _equal(wanted, chosen)
    )
    values = _equal(wanted, best)
    return {
        "facts.parties[].*": (
            values,
            sum(item[name] is not None for item in given for name in NAMES),
            sum(item[name] is not None for item in wanted for name in NAMES),
        )
    }


def _equal(wanted: Sequence[Any], chosen: Sequence[Any]) -> int:
    return sum(
        other is not None and item[name] is not None and item[name] == other[name]
        for item, other in zip(wanted, chosen, strict=True)
        for name in NAMES
    )
