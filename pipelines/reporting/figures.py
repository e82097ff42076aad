"""Computes the figures of fields from the counts of documents, block by block.

Knows numbers; knows no answers, no gold and no files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipelines.reporting.fields import Field, FieldKind
from pipelines.reporting.results import FieldDifference, FieldResult, Tally
from pipelines.reporting.score_matrix import Numbers, ScoreMatrix, Scores
from pipelines.reporting.significance import PairedSums, RatioSums

Blocks = Iterable[Sequence[Scores]]
"""The scores of some fields in the same documents, block by block."""
Ratio = tuple[Numbers, Numbers]
"""The parts and the wholes of a ratio, one for each document."""


@dataclass
class FieldSums:
    """The sums of a field, or of several fields together, over documents."""

    documents: int = 0
    unanswered: int = 0
    precision: RatioSums = field(default_factory=RatioSums)
    recall: RatioSums = field(default_factory=RatioSums)
    f1: RatioSums = field(default_factory=RatioSums)
    right: RatioSums = field(default_factory=RatioSums)
    none_precision: RatioSums = field(default_factory=RatioSums)
    none_recall: RatioSums = field(default_factory=RatioSums)
    similarity: RatioSums = field(default_factory=RatioSums)

    def add(self, block: Sequence[Scores]) -> None:
        """Add the scores of some fields in the same documents."""
        judged = np.any([each.judged for each in block], axis=0)
        scores = [each.where(judged) for each in block]
        self.documents += int(judged.sum())
        failed = [each.judged & ~each.compared for each in scores]
        self.unanswered += int(np.any(failed, axis=0).sum())
        matched = _sum(each.matched for each in scores)
        answered = _sum(each.answered for each in scores)
        expected = _sum(each.expected for each in scores)
        self.precision.add(matched, answered)
        self.recall.add(matched, expected)
        self.f1.add(2 * matched, answered + expected)
        self.right.add(_sum(each.right for each in scores), _sum(each.judged for each in scores))
        self._add_none(scores)
        self.similarity.add(*similarity_of(scores))

    def _add_none(self, scores: Sequence[Scores]) -> None:
        """Add the documents without a right value, and those without an answer's value."""
        expected = [each.judged & (each.expected == 0) for each in scores]
        answered = [each.compared & (each.answered == 0) for each in scores]
        both = _sum(one & other for one, other in zip(expected, answered, strict=True))
        self.none_precision.add(both, _sum(answered))
        self.none_recall.add(both, _sum(expected))

    def result(self, path: str | None, kind: FieldKind | None) -> FieldResult:
        """Return the figures of the field with a path and kind; None for several together."""
        return FieldResult(
            path,
            kind,
            self.documents,
            self.unanswered,
            tally(self.precision),
            tally(self.recall),
            self.f1.figure,
            tally(self.right),
            tally(self.none_precision),
            tally(self.none_recall),
            self.similarity.figure,
        )


def tally(sums: RatioSums) -> Tally:
    """Return a ratio of counts as a Tally."""
    return Tally(round(sums.part), round(sums.whole), sums.figure)


def _sum(arrays: Iterable[Numbers]) -> Numbers:
    return np.asarray(np.sum([array.astype(np.float64) for array in arrays], axis=0))


def similarity_of(scores: Sequence[Scores]) -> Ratio:
    """Return the sums of similarities of each document, and the numbers of texts compared."""
    known = [~np.isnan(each.similarity) & each.judged for each in scores]
    values = [np.where(one, each.similarity, 0.0) for one, each in zip(known, scores, strict=True)]
    return _sum(values), _sum(known)


def f1_of(scores: Sequence[Scores]) -> Ratio:
    """Return twice the right values of each document, and the answered and expected ones."""
    values = _sum([*(each.answered for each in scores), *(each.expected for each in scores)])
    return 2 * _sum(each.matched for each in scores), values


def right_of(scores: Sequence[Scores]) -> Ratio:
    """Return in how many fields each document is right, and in how many it is judged."""
    return _sum(each.right for each in scores), _sum(each.judged for each in scores)


MEASURES: dict[str, Callable[[Sequence[Scores]], Ratio]] = {
    "right": right_of,
    "f1": f1_of,
    "similarity": similarity_of,
}
"""The measures by which two OUTPUTs are compared."""


def measure_of(kind: FieldKind | None) -> str:
    """Return the measure by which a field is compared; None stands for all fields together."""
    if kind is FieldKind.TEXT:
        return "similarity"
    return "right" if kind is not None and kind.is_single else "f1"


def blocks_of(matrix: ScoreMatrix, fields: Sequence[Field]) -> Iterator[list[Scores]]:
    """Yield the scores of some fields in the same documents, block by block."""
    for block in zip(*(matrix.blocks(each.path) for each in fields), strict=True):
        yield list(block)


def figures_of(
    matrix: ScoreMatrix,
    fields: Sequence[Field],
    path: str | None,
    kind: FieldKind | None,
    strategy: int | None = None,
) -> FieldResult | None:
    """Return the figures of fields together, under a path and kind; None if they are not judged.

    With the number of a `strategy`, only documents that were read by it count.
    """
    sums = FieldSums()
    for block in blocks_of(matrix, fields):
        if strategy is not None:
            chosen = np.any([each.strategy == strategy for each in block], axis=0)
            block = [each.where(chosen) for each in block]
        sums.add(block)
    return sums.result(path, kind) if sums.documents else None


def difference_of(
    ours: ScoreMatrix,
    other: ScoreMatrix,
    fields: Sequence[Field],
    path: str | None,
    kind: FieldKind | None,
) -> FieldDifference | None:
    """Return the difference of fields together between two OUTPUTs, in the documents and fields in
    which both are judged; None if there are none."""
    measure = measure_of(kind)
    paired = PairedSums(single=measure == "right")
    one, two = RatioSums(), RatioSums()
    documents = 0
    for block, other_block in zip(blocks_of(ours, fields), blocks_of(other, fields), strict=True):
        both = [a.judged & b.judged for a, b in zip(block, other_block, strict=True)]
        documents += int(np.any(both, axis=0).sum())
        first = MEASURES[measure](_masked(block, both))
        second = MEASURES[measure](_masked(other_block, both))
        one.add(*first)
        two.add(*second)
        paired.add(*first, *second)
    difference = paired.difference
    if difference is None or one.figure is None or two.figure is None:
        return None
    return FieldDifference(path, measure, documents, one.figure, two.figure, difference)


def _masked(block: Sequence[Scores], masks: Sequence[Numbers]) -> list[Scores]:
    """Return scores in which documents without a mask are not judged."""
    return [each.masked(mask) for each, mask in zip(block, masks, strict=True)]
