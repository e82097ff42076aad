"""Preemptions that vLLM reports after a step reach the expected lengths of answers."""

from __future__ import annotations

import pytest

from pipelines.answering.answer_lengths import LEAST_FACTOR, AnswerLengths
from pipelines.engine.startup import step_listener
from pipelines.engine.watchdog import Pulse

pytestmark = pytest.mark.filterwarnings("ignore")  # torch and vLLM warn on import


def _record_step(lengths: AnswerLengths, event: str) -> None:
    """Record a step in which vLLM reported one event about a request."""
    from vllm.v1.engine import EngineCoreEvent, EngineCoreEventType
    from vllm.v1.metrics.stats import (
        IterationStats,
        LoRARequestStates,
        RequestStateStats,
        SchedulerStats,
    )

    step = IterationStats()
    events = [EngineCoreEvent.new_event(EngineCoreEventType[event])]
    step.update_from_events("0", events, False, RequestStateStats(), LoRARequestStates(), None)
    listener = step_listener(Pulse(), lengths.back_off)(None, 0)
    listener.record(scheduler_stats=SchedulerStats(), iteration_stats=step)


def test_a_preempted_request_raises_the_expected_lengths() -> None:
    lengths = AnswerLengths()
    _record_step(lengths, "PREEMPTED")
    assert lengths.factor > LEAST_FACTOR


def test_other_events_and_steps_without_outputs_change_nothing() -> None:
    lengths = AnswerLengths()
    for event in ("QUEUED", "SCHEDULED"):
        _record_step(lengths, event)
    step_listener(Pulse(), lengths.back_off)(None, 0).record(None, None)
    assert lengths.factor == LEAST_FACTOR
