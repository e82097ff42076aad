"""Tests that answers and speed are measured from what a run left behind, by planted figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phi3_mini import PHI3
from reporting_jobs import TASKS, prepared_over

from pipelines.errors import OutputError
from pipelines.ledger.records import Commit
from pipelines.ledger.used import Used
from pipelines.models.devices import CPU, gpu
from pipelines.reporting.planning.answer_use import AnswerUse, LengthCurve
from pipelines.reporting.planning.calibration import calibrate, measured_work, task_use
from pipelines.reporting.planning.concluding_work import concluding
from pipelines.reporting.planning.forecast import engine_kind, usual_uses
from pipelines.reporting.planning.measured import (
    TaskAnswers,
    engine_time,
    steps_by_task,
)
from pipelines.reporting.planning.work import EngineKind, engine_times
from pipelines.run.manifest import covered_seconds
from pipelines.run.prepared import PreparedJob
from pipelines.tasks.kinds import Task
from pipelines.text.lengths import MAP_REDUCE, SINGLE

pytestmark = pytest.mark.usefixtures("tiny_model")


def commit(**values: Any) -> Commit:
    plain = Commit(
        unit=0, plan="", ids="", rows=1, answered=1, dead_letters=0, reasons={}, part=None,
        errors=None, prompt_tokens=0, cached_prompt_tokens=0, output_tokens=0, seconds=1.0,
        host="one", committed_at="2030-01-01T00:00:10+00:00",
    )  # fmt: skip
    return replace(plain, **values)


def answers(
    tokens: Sequence[int],
    prompts: Sequence[int],
    outputs: Sequence[int],
    chunks: Sequence[int] | None = None,
) -> TaskAnswers:
    how = SINGLE if chunks is None else MAP_REDUCE
    return TaskAnswers(
        np.array(tokens),
        np.array(chunks if chunks is not None else [1] * len(tokens)),
        np.array(prompts),
        np.array(outputs),
        np.array([how] * len(tokens), dtype=object),
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedJob:
    return prepared_over(tmp_path_factory.mktemp("job"))


def task_of(prepared: PreparedJob, name: str) -> Task:
    return next(task for task in prepared.tasks.all if task.spec.name == name)


def use_of(prepared: PreparedJob, name: str, read: dict[str, TaskAnswers]) -> AnswerUse:
    assumed = usual_uses(prepared)[name]
    return task_use(task_of(prepared, name), read, assumed, {name: 0.25}, prepared.tasks)


def test_answers_are_taken_by_the_length_of_what_was_read(prepared: PreparedJob) -> None:
    around = prepared.tasks.prompts.whole_overhead + len(
        task_of(prepared, "who").question.token_ids
    )
    lengths = [100, 110, 1000, 1010]
    own = answers(lengths, [n + around for n in lengths], [10, 20, 50, 50])
    use = use_of(prepared, "who", {"who": own})
    assert use.whole == LengthCurve((6, 9), (15.0, 50.0))
    assert (use.repeats, use.steps_per_token) == (0.0, 0.25)
    # beyond what was read the nearest range counts, and between ranges it is interpolated
    between = use.whole.at(np.array([4, 2**8 * 2**0.5, 2**20]))
    assert between.tolist() == pytest.approx([15.0, 15 + 35 * 2 / 3, 50.0])


def test_prompts_that_were_sent_twice_count_as_repeats(prepared: PreparedJob) -> None:
    around = prepared.tasks.prompts.whole_overhead + len(
        task_of(prepared, "facts").question.token_ids
    )
    once = 100 + around
    use = use_of(
        prepared,
        "facts",
        {"facts": answers([100] * 4, [once, once, once, 2 * once], [10, 10, 10, 20])},
    )
    assert use.repeats == pytest.approx(0.25)
    assert use.whole.tokens == pytest.approx((10.0,))


def test_prompts_beyond_those_about_chunks_were_spent_on_combining(prepared: PreparedJob) -> None:
    summary, topic = task_of(prepared, "summary"), task_of(prepared, "topic")
    chunks, shared, written = 6, 1000, 20.0
    plain = usual_uses(prepared)["summary"].but(chunk=written, concluded=1.0)
    combined = concluding(summary, chunks, plain, prepared.tasks)
    asked = [chunks * (shared + len(task.chunk_question.token_ids)) for task in (summary, topic)]
    read = {
        "summary": answers(
            [5000],
            [asked[0] + round(combined.prompt_tokens)],
            [round(chunks * written + combined.output_tokens)],
            [chunks],
        ),
        "topic": answers([5000], [asked[1]], [2 * chunks], [chunks]),
    }
    use = use_of(prepared, "summary", read)
    assert use.chunk == pytest.approx(written, rel=0.02)
    assert use.concluded == pytest.approx(1.0, rel=0.05)
    assert use_of(prepared, "topic", read).concluded == 0.0


def test_the_time_in_which_a_host_answers_counts_once() -> None:
    assert covered_seconds([(0, 4), (2, 6), (9, 10)]) == 7
    ten, eleven = "2030-01-01T00:00:10+00:00", "2030-01-01T00:00:11+00:00"
    commits = [
        commit(seconds=4.0, committed_at=ten),
        commit(seconds=3.0, committed_at=eleven),
        commit(seconds=2.0, committed_at=ten, host="two"),
    ]
    timed = engine_time(commits)
    assert timed.seconds == pytest.approx(5 + 2) and timed.device is None


def test_the_time_that_commits_state_is_preferred() -> None:
    used = [
        Used(device="H100", engine_seconds=9.0, start_seconds=9.0 - seconds)
        for seconds in (5.0, 2.0)
    ]
    timed = engine_time([commit(used=each) for each in used])
    assert (timed.seconds, timed.device) == (7.0, "H100")


def test_steps_are_those_of_all_commits() -> None:
    commits = [
        commit(decoding={"a": (10, 4, 0), "b": (5, 0, 0)}),
        commit(decoding={"a": (10, 6, 3)}),
    ]
    assert steps_by_task(commits) == {"a": 0.5}


def test_the_work_of_a_run_has_its_commits_tokens_and_the_lengths_of_its_prompts() -> None:
    commits = [
        commit(
            prompt_tokens=4 * 1100, cached_prompt_tokens=2 * 1000, output_tokens=40,
            decoding={"a": (20, 10, 0), "b": (20, 10, 0)},
        )
    ]  # fmt: skip
    read = {name: answers([1000, 1000], [1100, 1100], [10, 10]) for name in ("a", "b")}
    work = measured_work(commits, read)
    assert (work.requests, work.prompt_tokens, work.computed_tokens) == (4, 4400, 2400)
    assert (work.output_tokens, work.steps, work.step_context) == (40, 20, 20 * 1100)
    assert work.pairs == pytest.approx(2 * 1100**2 / 2 + 200 * 1100)
    h100 = engine_times(work, EngineKind(PHI3), gpu("H100"))
    assert h100.total > 0


def test_an_output_without_a_run_is_refused(prepared: PreparedJob, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="contains no phifleet run"):
        calibrate(str(tmp_path), prepared, usual_uses(prepared), engine_kind(prepared), CPU)


def test_all_kinds_of_tasks_have_assumed_answers() -> None:
    assert {task["kind"] for task in TASKS} | {"write"} == {
        "summarize", "classify", "ask", "extract", "write",
    }  # fmt: skip
