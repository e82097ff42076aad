"""Time and decoding from commits: tokens over time, seconds of units, steps by task.

Pure; knows commits as values.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from pipelines.ledger.records import Commit, sum_decoding
from pipelines.ledger.used import Work
from pipelines.reporting.page.facts import Bar, Distribution, TaskSteps, Timeline, WorkFacts

_BUCKETS, _BARS = 60, 24
_DIGITS = 3


def work_facts(commits: Sequence[Commit], total: int) -> WorkFacts:
    """Return what `commits` state; they are all or a sample of `total` commits."""
    scale = total / len(commits) if commits else 1.0
    works = [work for commit in commits for work in commit.work]
    return WorkFacts(
        commits=total,
        read=len(commits),
        timeline=timeline(works, scale),
        unit_seconds=distribution([commit.seconds for commit in commits]),
        tasks=_steps(commits),
    )


def timeline(works: Sequence[Work], scale: float = 1.0) -> Timeline | None:
    """Return tokens per second over time, None without work.

    The tokens of a work are spread evenly over the seconds that it took. `scale` is the number of
    all works by those that are given.
    """
    if not works:
        return None
    ends = np.array([datetime.fromisoformat(work.ended_at).timestamp() for work in works])
    starts = ends - np.array([max(work.seconds, 1e-3) for work in works])
    begin, end = float(starts.min()), float(ends.max())
    edges = np.linspace(begin, end, _BUCKETS + 1)
    width = float(edges[1] - edges[0])
    rates = [
        _rates(starts, ends, np.array(tokens, np.float64), edges) * scale / width
        for tokens in (
            [work.tokens.prompt_tokens for work in works],
            [work.tokens.output_tokens for work in works],
        )
    ]
    prompt, output = ([round(float(rate), 1) for rate in of] for of in rates)
    return Timeline(_iso(begin), _iso(end), round(width, _DIGITS), prompt, output)


def _rates(
    starts: npt.NDArray[np.float64],
    ends: npt.NDArray[np.float64],
    tokens: npt.NDArray[np.float64],
    edges: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Return the tokens in each bucket."""
    # the tokens that are done at an edge: of each work in proportion to its time
    done = [
        float((tokens * np.clip((edge - starts) / (ends - starts), 0.0, 1.0)).sum())
        for edge in edges
    ]
    return np.maximum(np.diff(done), 0.0)


def distribution(seconds: Sequence[float]) -> Distribution | None:
    """Return how these seconds are distributed; None if there are none."""
    if not seconds:
        return None
    values = np.array(seconds, np.float64)
    counts, edges = np.histogram(values, bins=_BARS, range=(0.0, float(values.max()) or 1.0))
    bars = [
        Bar(round(float(low), _DIGITS), round(float(high), _DIGITS), int(count))
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    median, p90 = (round(float(np.quantile(values, share)), _DIGITS) for share in (0.5, 0.9))
    return Distribution(len(values), median, p90, round(float(values.max()), _DIGITS), bars)


def _steps(commits: Sequence[Commit]) -> list[TaskSteps]:
    by_task = sum_decoding(commit.decoding for commit in commits)
    return [
        TaskSteps(task, tokens, steps, drafted, ratio(steps, tokens))
        for task, (tokens, steps, drafted) in by_task.items()
    ]


def ratio(part: float, whole: float) -> float | None:
    """Return `part` by `whole`, rounded; None if `whole` is 0."""
    return round(part / whole, 4) if whole else None


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
