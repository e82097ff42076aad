"""Tests of a job's work, by figures computed by hand, and of what follows from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from reporting_jobs import TASKS, prepared_over

from pipelines.corpus.units import SHORT
from pipelines.models.devices import CPU_ENGINE
from pipelines.models.prices import LIST_PRICES
from pipelines.reporting.planning.answer_use import AnswerUse, LengthCurve
from pipelines.reporting.planning.cautions import cautions
from pipelines.reporting.planning.distribution import LengthCounts
from pipelines.reporting.planning.forecast import Basis, Forecast, InputFacts, forecast, usual_uses
from pipelines.reporting.planning.indexed import Indexed, Unreadable
from pipelines.reporting.planning.savings import savings
from pipelines.reporting.planning.workload import Corrections, workload
from pipelines.run.prepared import PreparedJob

pytestmark = pytest.mark.usefixtures("tiny_model")
USES = {
    "topic": AnswerUse(LengthCurve.constant(2), 2, 1.0),
    "who": AnswerUse(LengthCurve.constant(40), 10, 0.5, repeats=0.5),
}


def job(directory: Path, *names: str, **sections: Any) -> PreparedJob:
    return prepared_over(directory, [task for task in TASKS if task["name"] in names], **sections)


def planned(prepared: PreparedJob, lengths: list[int], **unreadable: int) -> Forecast:
    basis = Basis(prepared, usual_uses(prepared), Corrections(), CPU_ENGINE, LIST_PRICES)
    broken = {reason: Unreadable(count) for reason, count in unreadable.items()}
    return forecast(Indexed(LengthCounts.of(lengths), broken), InputFacts(), basis)


def test_the_work_of_two_documents_and_two_tasks(tmp_path: Path) -> None:
    tasks = job(tmp_path, "topic", "who").tasks
    work = workload(LengthCounts.of([1000, 1000]), tasks, USES, Corrections(), 16)
    topic, who = (len(task.question.token_ids) for task in tasks.all)
    shared = 1000 + tasks.prompts.whole_overhead
    total = work.total
    assert work.documents == {("single", SHORT): 2}
    # one request of `who` in two is repeated
    assert total.requests == 2 * (1 + 1.5)
    assert total.prompt_tokens == pytest.approx(2 * (shared + topic + 1.5 * (shared + who)))
    same = len(tasks.tokenizer.prefix_ids) + tasks.prompts.document_prefix(()).passage_start
    # the passage once, without full blocks of what all documents begin with; half of a block again
    once = shared - same // 16 * 16
    computed = once + topic + 1.5 * (who + 8)
    assert total.computed_tokens == pytest.approx(2 * computed)
    assert total.output_tokens == 2 * (2 + 1.5 * 40)
    assert total.steps == 2 * (2 + 1.5 * 40 * 0.5)
    pairs = shared * once / 2 + (shared + topic) * topic + 1.5 * (shared + who) * (who + 8)
    assert total.pairs == pytest.approx(2 * pairs)
    context = 2 * (shared + topic + 1) + 30 * (shared + who + 20)
    assert total.step_context == pytest.approx(2 * context)


def test_documents_that_the_job_rejects_take_nothing(tmp_path: Path) -> None:
    tasks = job(
        tmp_path, "topic", long_documents={"strategy": "reject", "single_pass_tokens": 500}
    ).tasks
    work = workload(LengthCounts.of([100, 600]), tasks, USES, Corrections(), 16)
    assert work.total.requests == 1


def test_answers_are_counted_by_task(tmp_path: Path) -> None:
    tasks = job(tmp_path, "topic", "who").tasks
    work = workload(LengthCounts.of([100]), tasks, USES, Corrections(), 16)
    assert work.output_tokens == {"topic": 2, "who": 60}


def test_drafting_is_suggested_where_it_is_off(tmp_path: Path) -> None:
    model = {"name": "tiny-random", "drafting": "off"}
    found = savings(planned(job(tmp_path, "who", "facts", model=model), [200] * 5000))
    assert ("model.drafting=auto",) in [saving.settings for saving in found]
    assert [saving.share for saving in found] == sorted((s.share for s in found), reverse=True)
    on = savings(planned(job(tmp_path, "who", "facts"), [200] * 5000))
    assert not any("model.drafting=auto" in saving.settings for saving in on)


def test_other_lengths_of_chunks_are_forecasts_of_their_own(tmp_path: Path) -> None:
    prepared = job(
        tmp_path, "summary", "facts",
        long_documents={"chunk_tokens": 300, "single_pass_tokens": 600, "overlap_tokens": 100},
    )  # fmt: skip
    found = {saving.settings: saving for saving in savings(planned(prepared, [5000] * 2000))}
    longer = found[("long_documents.chunk_tokens=600",)]
    assert 0 < longer.share < 1 and longer.gpu_hours > 0
    assert ("long_documents.chunk_tokens=150",) not in found


@pytest.mark.parametrize(
    ("sections", "lengths", "part"),
    [
        ({"limits": {"max_gpu_hours": 0.0001}}, [500] * 1000, "limits.max_gpu_hours is 0.0001"),
        ({"limits": {"max_cost_usd": 0.0001}}, [500] * 1000, "limits.max_cost_usd is 0.0001"),
        (
            {"long_documents": {"strategy": "truncate", "single_pass_tokens": 600}},
            [500, 700, 800],
            "2 documents are longer than 600 tokens, and only their beginning is read",
        ),
        ({}, [500], "has random weights"),
        ({}, [500], "times are of a cost model that no run has confirmed"),
        ({}, [500], "the lengths of the answers to who are assumptions"),
    ],
)
def test_warnings_say_what_is_wrong(
    tmp_path: Path, sections: dict[str, Any], lengths: list[int], part: str
) -> None:
    warned = cautions(planned(job(tmp_path, "who", **sections), lengths))
    assert any(part in text for text in warned), warned


def test_too_many_dead_letters_are_announced(tmp_path: Path) -> None:
    prepared = job(tmp_path, "who")
    assert (
        "10.0% of the documents will be dead letters"
        in cautions(planned(prepared, [5] * 9, empty=1))[0]
    )
    assert "dead letters" not in cautions(planned(prepared, [5] * 99, empty=1))[0]
    assert "no document can be answered" in cautions(planned(prepared, [], empty=1))
