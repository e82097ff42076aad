"""Documents answered with an engine that dies, hangs or fails as the test says."""

from __future__ import annotations

import pytest
from fakes import FakeEngine, tasks_of

from pipelines.documents import ENGINE_CRASH, Document, Problem
from pipelines.engine.keeper import EngineSupervisor
from pipelines.errors import EngineDied, EngineHung
from pipelines.job.task_specs import AskTask, SummarizeTask
from pipelines.models.resolve import Model
from pipelines.run.answerer import DocumentAnswerer, EngineLost, UnitResults
from pipelines.run.progress import Progress
from pipelines.tasks.kinds import Sampling, TaskSet
from pipelines.text.tokens import ChatTokenizer


@pytest.fixture
def tasks(tiny_model: Model, tiny_tokenizer: ChatTokenizer) -> TaskSet:
    specs = (SummarizeTask(name="summary"), AskTask(name="who", question="Who?"))
    return tasks_of(specs, tiny_model, tiny_tokenizer)


def documents_with(*texts: str) -> list[Document]:
    return [Document(f"d{number}", text) for number, text in enumerate(texts)]


async def answers_of(
    tasks: TaskSet, engine: FakeEngine, *texts: str
) -> tuple[UnitResults | EngineLost, Progress]:
    answerer = DocumentAnswerer(tasks, EngineSupervisor(lambda: engine), None)
    return await answerer.answer(documents_with(*texts), engine), answerer.progress


async def test_results_come_in_the_order_of_the_documents_and_without_their_texts(
    tasks: TaskSet, tiny_tokenizer: ChatTokenizer
) -> None:
    answered, progress = await answers_of(tasks, FakeEngine(tiny_tokenizer), "one", "two", "three")
    assert isinstance(answered, UnitResults)
    assert [result.document.doc_id for result in answered.documents] == ["d0", "d1", "d2"]
    assert [result.document.text for result in answered.documents] == [None] * 3
    assert progress.answered == 3


async def test_an_engine_that_dies_is_a_result_and_documents_answered_before_do_not_count(
    tasks: TaskSet, tiny_tokenizer: ChatTokenizer
) -> None:
    # one request at a time, so that the first document is finished before the second
    engine = FakeEngine(
        tiny_tokenizer, kv_cache_tokens=1000, min_request_tokens=1000, dies_of="killer"
    )
    answered, progress = await answers_of(tasks, engine, "one", "a killer")
    assert isinstance(answered, EngineLost)
    assert type(answered.error) is EngineDied
    assert sum("one" in prompt for prompt in engine.prompts) == len(tasks.all)
    assert "killer" in engine.prompts[-1]
    assert progress == Progress(workers=1)


async def test_an_engine_that_hangs_is_lost_with_that_error(
    tasks: TaskSet, tiny_tokenizer: ChatTokenizer
) -> None:
    answered, _ = await answers_of(tasks, FakeEngine(tiny_tokenizer, hangs_at="two"), "one", "two")
    assert isinstance(answered, EngineLost)
    assert isinstance(answered.error, EngineHung)


async def test_other_errors_are_raised(tasks: TaskSet, tiny_tokenizer: ChatTokenizer) -> None:
    def fail(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        await answers_of(tasks, FakeEngine(tiny_tokenizer, answers=fail), "one")


async def test_a_recorded_dead_letter_counts_with_its_reason(
    tasks: TaskSet, tiny_tokenizer: ChatTokenizer
) -> None:
    engine = FakeEngine(tiny_tokenizer)
    answerer = DocumentAnswerer(tasks, EngineSupervisor(lambda: engine), None)
    problem = Problem(ENGINE_CRASH, "it crashed")
    result = answerer.record_dead_letter(Document("d", "text"), problem, 3)
    assert (result.problem, result.attempts, result.document.text) == (problem, 3, None)
    assert (answerer.progress.dead_letters, answerer.progress.reasons) == (1, {ENGINE_CRASH: 1})
    assert engine.prompts == []
