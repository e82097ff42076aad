"""Cutting some documents as a run does, to correct the reading plan's estimates.

The plan estimates from a document's length how many chunks it has and what context they carry. A
few hundred documents tell how far that is from what cutting gives. Pure: texts in, factors out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipelines.answering.parts import split_into_parts
from pipelines.answering.passages import split_into_passages
from pipelines.reporting.planning.workload import Corrections
from pipelines.tasks.kinds import TaskSet
from pipelines.text.lengths import SINGLE


@dataclass(frozen=True, slots=True)
class CutCounts:
    """Numbers of passages and of tokens that the prompts about each of them share, added up over
    passages; likewise for parts. A document that is read whole counts as no passage."""

    passages: float = 0.0
    shared: float = 0.0
    parts: float = 0.0
    part_shared: float = 0.0

    def __add__(self, other: CutCounts) -> CutCounts:
        return CutCounts(
            self.passages + other.passages,
            self.shared + other.shared,
            self.parts + other.parts,
            self.part_shared + other.part_shared,
        )


def needs_cutting(tokens: int, tasks: TaskSet) -> bool:
    """Return whether the prompts about a document of this length depend on how its text is cut."""
    in_parts = any(task.in_parts for task in tasks.all)
    return in_parts or tokens > tasks.reading.max_single_pass_tokens


def corrections(documents: Iterable[tuple[str, int]], tasks: TaskSet) -> Corrections:
    """Return the factors that these documents give; 1.0 where none of them is read in that way.

    Each document is a text and its number of tokens; one that `needs_cutting` denies is left out.
    """
    cut, estimated = CutCounts(), CutCounts()
    for text, tokens in documents:
        if needs_cutting(tokens, tasks):
            cut += cut_counts(text, tasks)
            estimated += estimated_counts(tokens, tasks)
    return corrections_of(cut, estimated)


def corrections_of(cut: CutCounts, estimated: CutCounts) -> Corrections:
    """Return the factors from what the reading plan estimates for some documents to what cutting
    them gave; 1.0 where none of them is read in that way."""
    return Corrections(
        passages=_ratio(cut.passages, estimated.passages),
        shared=_mean_ratio(cut.shared, cut.passages, estimated.shared, estimated.passages),
        parts=_ratio(cut.parts, estimated.parts),
        part_shared=_mean_ratio(cut.part_shared, cut.parts, estimated.part_shared, estimated.parts),
    )


def cut_counts(text: str, tasks: TaskSet) -> CutCounts:
    """Return what cutting a text gives."""
    split = split_into_passages(text, tasks)
    if split is None:
        return CutCounts()
    frame = tasks.tokenizer.frame_tokens
    shared: list[int] = []
    if split.strategy != SINGLE and any(not task.in_parts for task in tasks.all):
        shared = [len(passage.prefix.token_ids) + frame for passage in split.passages]
    in_parts: list[int] = []
    if any(task.in_parts for task in tasks.all):
        parts = split_into_parts(text, tasks, split.strategy).passages
        in_parts = [len(part.prefix.token_ids) + frame for part in parts]
    return CutCounts(len(shared), sum(shared), len(in_parts), sum(in_parts))


def estimated_counts(tokens: int, tasks: TaskSet) -> CutCounts:
    """Return what the reading plan estimates for a document of this length."""
    reading, length = tasks.reading, np.array([tokens], dtype=np.int64)
    if bool(reading.too_long(length)[0]):
        return CutCounts()
    passages = parts = part_shared = shared = 0.0
    if tokens > reading.max_single_pass_tokens and any(not t.in_parts for t in tasks.all):
        lengths = reading.lengths(length)
        passages = float(lengths.passages[0])
        shared = passages * float(lengths.shared[0])
    if reading.parts is not None:
        read = reading.tokens_in_parts(length)
        parts = max(1.0, float(reading.parts.count(read)[0]))
        part_shared = float(read[0]) + parts * reading.parts.overhead
    return CutCounts(passages, shared, parts, part_shared)


def _ratio(cut: float, estimated: float) -> float:
    return cut / estimated if cut and estimated else 1.0


def _mean_ratio(cut: float, cut_count: float, estimated: float, estimated_count: float) -> float:
    """Return the ratio of two means."""
    if not cut_count or not estimated_count:
        return 1.0
    return _ratio(cut / cut_count, estimated / estimated_count)
