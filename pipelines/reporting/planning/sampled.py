"""A random sample of a corpus: lengths and problems of some documents, scaled to all of them.

At least 32 fragments are read where there are as many, and in each of them documents at random, so
that neither a sorted corpus nor one file decides. Intervals come from drawing the sample again and
again from itself (the bootstrap): fragments, or documents if all fragments were read. Ids are not
compared. Knows no OUTPUT.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipelines.corpus.fragments import Fragment
from pipelines.corpus.index import cut_spans
from pipelines.corpus.measurement import measure_texts
from pipelines.corpus.rows import Corpus, read_rows
from pipelines.corpus.texts import decode_text
from pipelines.documents import BROKEN, NOT_JSON, TEXT
from pipelines.models.cost import CostModel
from pipelines.reporting.planning.distribution import NO_LENGTHS, LengthCounts
from pipelines.reporting.planning.exact import (
    CutCounts,
    corrections_of,
    cut_counts,
    estimated_counts,
)
from pipelines.reporting.planning.exact import needs_cutting as needs_cut
from pipelines.reporting.planning.forecast import Interval, SampleNote
from pipelines.reporting.planning.indexed import Indexed, Unreadable
from pipelines.reporting.planning.workload import Corrections
from pipelines.run.indexing import map_spans
from pipelines.tasks.kinds import TaskSet

MIN_FRAGMENTS = 32
"""Fragments that are read if the corpus has as many, however small the sample is."""
_REDRAWN = 400
_LOW, _HIGH = 2.5, 97.5
_CUT_DOCUMENTS = 20
"""Documents of a fragment that are cut to correct estimates of chunks, at most."""
_VALUES = ("documents", "tokens", "prompt_tokens", "cost")


@dataclass(frozen=True)
class SampleConfig:
    """The settings of measuring a sample.

    Attributes:
        corpus: the corpus, without its fragments.
        tasks: the tasks, with the tokenizer and the reading plan.
        probability: the share of the documents of a fragment that are measured.
    """

    corpus: Corpus
    tasks: TaskSet
    probability: float


@dataclass(frozen=True)
class SampledFragment:
    """What is measured of one fragment.

    Attributes:
        size_bytes: the fragment's size.
        rows: its number of rows.
        measured: the number of them that were measured.
        lengths: the lengths in tokens of those that can be answered.
        problems: the numbers of the others by reason.
        cut: what cutting some of the documents gave.
        estimated: what the reading plan estimates for the same documents.
    """

    size_bytes: int
    rows: int
    measured: int
    lengths: npt.NDArray[np.int64]
    problems: Counter[str] = field(default_factory=Counter)
    cut: CutCounts = field(default_factory=CutCounts)
    estimated: CutCounts = field(default_factory=CutCounts)

    @property
    def factor(self) -> float:
        """The rows that a measured one stands for."""
        return self.rows / self.measured if self.measured else 0.0


@dataclass(frozen=True)
class Sample:
    """A sample, scaled to the corpus, with its intervals and the factors from cutting texts."""

    indexed: Indexed
    note: SampleNote
    corrections: Corrections


def sample_corpus(
    corpus: Corpus, tasks: TaskSet, cost: CostModel, fraction: float, cpus: int
) -> Sample:
    """Measure about `fraction` of a corpus's documents. Raises InputError, StorageError, RayError.

    `cost` estimates the time of a document, for the interval of the cost.
    """
    fragments = corpus.fragments
    wanted = min(len(fragments), max(MIN_FRAGMENTS, math.ceil(fraction * len(fragments))))
    # the choice is no secret
    chosen = sorted(random.Random(0).sample(range(len(fragments)), wanted))  # noqa: S311
    probability = min(1.0, fraction * len(fragments) / max(1, wanted))
    bare = Corpus(corpus.spec, (), (), corpus.layout)
    config = SampleConfig(bare, tasks, probability)
    spans = cut_spans([fragments[at] for at in chosen], cpus)
    measured = [each for span in map_spans(sample_span, spans, config) for each in span]
    whole_bytes = sum(fragment.size_bytes for fragment in fragments)
    return scaled(measured, whole_bytes, wanted == len(fragments), tasks, cost, fraction)


def sample_span(
    number: int, fragments: Sequence[Fragment], config: SampleConfig
) -> list[SampledFragment]:
    """Measure a share of the documents of each fragment; `number` seeds the choice."""
    chosen = np.random.default_rng(number)
    return [_sample_fragment(fragment, config, chosen) for fragment in fragments]


def _sample_fragment(
    fragment: Fragment, config: SampleConfig, chosen: np.random.Generator
) -> SampledFragment:
    rows = measured = 0
    lengths: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
    problems: Counter[str] = Counter()
    cut, estimated, left = CutCounts(), CutCounts(), _CUT_DOCUMENTS
    tasks = config.tasks
    for table in read_rows(config.corpus.spec, config.corpus.layout, fragment):
        rows += table.num_rows
        kept = table.take(np.flatnonzero(chosen.random(table.num_rows) < config.probability))
        measured += kept.num_rows
        tokens, reasons = measure_texts(kept.column(TEXT), tasks.tokenizer, tasks.reading)
        broken = kept.column(BROKEN).is_valid().to_pylist()
        reasons = [NOT_JSON if bad else why for bad, why in zip(broken, reasons, strict=True)]
        problems.update(reason for reason in reasons if reason)
        readable = np.array([reason is None for reason in reasons], dtype=bool)
        lengths.append(tokens[readable])
        for at in np.flatnonzero(readable).tolist():
            if left and needs_cut(int(tokens[at]), tasks):
                text = decode_text(kept.column(TEXT)[at].as_py())
                assert isinstance(text, str)
                left -= 1
                cut += cut_counts(text, tasks)
                estimated += estimated_counts(int(tokens[at]), tasks)
    return SampledFragment(
        fragment.size_bytes, rows, measured, np.concatenate(lengths), problems, cut, estimated
    )


def scaled(
    fragments: Sequence[SampledFragment],
    whole_bytes: int,
    all_fragments: bool,
    tasks: TaskSet,
    cost: CostModel,
    fraction: float,
) -> Sample:
    """Return the sample scaled to a corpus of `whole_bytes`, of whose fragments these are all, or
    only some."""
    read_bytes = sum(fragment.size_bytes for fragment in fragments)
    up = 1.0 if all_fragments or not read_bytes else whole_bytes / read_bytes
    counts, problems = NO_LENGTHS, defaultdict[str, float](float)
    cut, estimated = CutCounts(), CutCounts()
    for fragment in fragments:
        counts += LengthCounts.of(fragment.lengths).times(up * fragment.factor)
        for reason, number in fragment.problems.items():
            problems[reason] += number * up * fragment.factor
        cut += fragment.cut
        estimated += fragment.estimated
    unreadable = {reason: Unreadable(number) for reason, number in sorted(problems.items())}
    measured = sum(fragment.measured for fragment in fragments)
    intervals = _intervals(fragments, whole_bytes, all_fragments, tasks, cost)
    return Sample(
        Indexed(counts, unreadable),
        SampleNote(fraction, measured, intervals),
        corrections_of(cut, estimated),
    )


def _intervals(
    fragments: Sequence[SampledFragment],
    whole_bytes: int,
    all_fragments: bool,
    tasks: TaskSet,
    cost: CostModel,
) -> dict[str, Interval]:
    """Return the interval of each value; that of the cost relative to its estimate."""
    if all_fragments or len(fragments) < 2:
        values, sizes = _by_document(fragments, tasks, cost)
        whole = float(sum(fragment.rows for fragment in fragments))
    else:
        values, sizes = _by_fragment(fragments, tasks, cost)
        whole = float(whole_bytes)
    if not len(values) or not sizes.sum():
        return {}
    totals = whole * np.array(list(_redrawn(values, sizes)))
    low, high = np.percentile(totals, [_LOW, _HIGH], axis=0)
    estimate = whole * values.sum(axis=0) / sizes.sum()
    at = _VALUES.index("cost")
    found = {name: Interval(low[i], high[i]) for i, name in enumerate(_VALUES[:at])}
    if estimate[at]:
        found["cost"] = Interval(low[at] / estimate[at], high[at] / estimate[at])
    return found


def _redrawn(
    values: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64]
) -> Iterator[npt.NDArray[np.float64]]:
    """Yield values by size of samples that are drawn from this one, with replacement."""
    dice = np.random.default_rng(0)
    for _ in range(_REDRAWN):
        drawn = dice.integers(0, len(values), len(values))
        times = np.bincount(drawn, minlength=len(values))
        yield times @ values / (times @ sizes)


def _by_document(
    fragments: Sequence[SampledFragment], tasks: TaskSet, cost: CostModel
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return a row of values for each measured document, and its size: one row."""
    rows = [_values(fragment.lengths, tasks, cost) for fragment in fragments]
    missing = sum(fragment.measured - len(fragment.lengths) for fragment in fragments)
    unread = np.zeros((missing, len(_VALUES)))
    unread[:, 0] = 1.0
    values = np.concatenate([*rows, unread])
    return values, np.ones(len(values))


def _by_fragment(
    fragments: Sequence[SampledFragment], tasks: TaskSet, cost: CostModel
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return a row of values for each fragment, scaled to all of its rows, and its bytes."""
    rows = []
    for fragment in fragments:
        total = _values(fragment.lengths, tasks, cost).sum(axis=0) * fragment.factor
        total[0] = fragment.rows
        rows.append(total)
    sizes = np.array([fragment.size_bytes for fragment in fragments], dtype=np.float64)
    return np.array(rows).reshape(-1, len(_VALUES)), sizes


def _values(
    lengths: npt.NDArray[np.int64], tasks: TaskSet, cost: CostModel
) -> npt.NDArray[np.float64]:
    """Return the values of documents of these lengths, in the order of `_VALUES`."""
    prompts = tasks.reading.lengths(lengths).prompt_tokens
    return np.column_stack([np.ones(len(lengths)), lengths, prompts, cost.seconds(lengths)]).astype(
        np.float64
    )
