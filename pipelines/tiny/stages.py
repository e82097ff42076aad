"""The training schedule of `tiny`: what each stage teaches, for how many steps, at what rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

COPYING, BARE, QUOTING, ASKING = "copying", "bare", "quoting", "asking"
LABELLING, FILLING = "labelling", "filling"
WHOLE, PART, COMBINING = "whole", "part", "combining"
"""The kinds of lessons, each the name of the method of `Teacher` that makes it."""
BATCH_TOKENS = 6144
"""The default of `Stage.batch_tokens`."""
WARM_UP_STEPS = 150
"""Steps in which the learning rate rises, at the start and after every restart."""
_FINAL_RATE = 0.02


@dataclass(frozen=True, slots=True)
class Stage:
    """A number of training steps with lessons of the same kinds and lengths.

    `max_tokens` is the length of the longest texts, and `min_share` that of the shortest as a share
    of it. `mixture` maps kinds of lessons (names of methods of `Teacher`) to their weights.
    `difficulty` is that of `Author`. If `peak_rate` is set, the learning rate restarts at this
    stage: it rises to this share of the maximum and falls until the next restart. If `averaged` is
    set, the weights at the end of the stage are one of those whose mean becomes the model.
    `first_weight` is the weight of an answer's first token in the loss, relative to the others.
    `batch_tokens` is the maximum number of tokens of a batch, padding included; a longer lesson is
    a batch by itself.
    """

    steps: int
    max_tokens: int
    mixture: Mapping[str, float]
    min_share: float = 0.25
    difficulty: float = 0.0
    peak_rate: float | None = None
    averaged: bool = False
    first_weight: float = 1.0
    batch_tokens: int = BATCH_TOKENS


# The last stages have more keys that are stated repeatedly, and more lists of summaries. The mean
# of weights from several such stages answers far better than the last weights. The first token of
# an answer decides whether the text states anything, and is one of sixty in a form with quotes.
_LAST = Stage(
    800,
    1600,
    {LABELLING: 0.03, FILLING: 0.3, WHOLE: 0.27, PART: 0.23, COMBINING: 0.17},
    min_share=0.05,
    difficulty=0.22,
    peak_rate=0.5,
    averaged=True,
    first_weight=4.0,
)
# Each stage teaches what the next one builds on: without it the next one makes no progress for a
# long time.
STAGES = (
    Stage(300, 64, {COPYING: 1.0}),
    Stage(300, 96, {COPYING: 0.1, BARE: 0.9}),
    Stage(500, 96, {BARE: 0.08, QUOTING: 0.2, ASKING: 0.32, FILLING: 0.2, LABELLING: 0.2}),
    Stage(
        400,
        160,
        {ASKING: 0.13, FILLING: 0.2, LABELLING: 0.17, WHOLE: 0.2, PART: 0.15, COMBINING: 0.15},
    ),
    Stage(
        400,
        400,
        {ASKING: 0.05, FILLING: 0.15, LABELLING: 0.15, WHOLE: 0.3, PART: 0.2, COMBINING: 0.15},
    ),
    Stage(400, 800, {FILLING: 0.1, LABELLING: 0.1, WHOLE: 0.35, PART: 0.3, COMBINING: 0.15}),
    Stage(300, 1600, {FILLING: 0.1, LABELLING: 0.08, WHOLE: 0.35, PART: 0.35, COMBINING: 0.12}),
    # From here on all lengths are mixed, and texts are harder.
    Stage(
        1400,
        1600,
        {LABELLING: 0.06, WHOLE: 0.36, PART: 0.3, COMBINING: 0.28},
        min_share=0.05,
        difficulty=0.2,
        peak_rate=0.5,
    ),
    _LAST,
    replace(_LAST, peak_rate=0.45),
    replace(_LAST, peak_rate=0.4),
)
"""The stages of a training from random weights, in order."""


def learning_rate(stages: Sequence[Stage], step: int) -> float:
    """Return the learning rate of the step `step`, counted from 0, as a share of the maximum.

    The rate rises linearly for WARM_UP_STEPS steps at the start, and after every restart, and then
    falls along a cosine until the next restart or the end. `stages` are all stages of the training.
    """
    cycle_start, peak, end = 0, 1.0, 0
    for stage in stages:
        if stage.peak_rate is not None and end > 0:
            if step < end:
                break
            cycle_start, peak = end, stage.peak_rate
        end += stage.steps
    warm_up = min(1.0, (step - cycle_start + 1) / WARM_UP_STEPS)
    decay = 0.5 * (1 + math.cos(math.pi * (step - cycle_start) / (end - cycle_start)))
    return peak * warm_up * max(_FINAL_RATE, decay)
