"""Documents answered with an engine that dies, hangs or fails as the test says."""

from __future__ import annotations

import pytest
from fakes import FakeEngine, tasks_of

from pipelines.documents import ENGINE_CRASH, Document, Problem, Usage
from pipelines.engine.keeper import EngineSupervisor
from pipelines.errors import EngineDied, EngineHung
from pipelines.job.task_specs import AskTask, SummarizeTask
from pipelines.ledger.worker_records import UnitInHand
from pipelines.models.resolve import Model
from pipelines.run.answerer import DocumentAnswerer, EngineLost, UnitResults
from pipelines.run.worker_account import AttemptMeter, WorkerAccount
from pipelines.tasks.kinds import Sampling, TaskSet
from pipelines.text.tokens import ChatTokenizer


@pytest.fixture
def tasks(tiny_model: Model, tiny_tokenizer: ChatTokenizer) -> TaskSet:
    specs = (SummarizeTask(name="summary"), AskTask(name="who", question="Who?"))
    return tasks_of(specs, tiny_model, tiny_tokenizer)


def documents_with(*texts: str) -> list[Document]:
    return [Document(f"d{number}", text) for number, text in enumerate(texts)]


def a_meter(documents: int) -> AttemptMeter:
    account = WorkerAccount()
    account.begin(7)
    return account.attempt(7, documents, 3)


async def answers_of(
    tasks: TaskSet, engine: FakeEngine, *texts: str
) -> tuple[UnitResults | EngineLost, AttemptMeter]:
    answerer = DocumentAnswerer(tasks, EngineSupervisor(lambda: engine), None)
    meter = a_meter(len(texts))
    return await answerer.answer(documents_with(*texts), engine, meter), meter


async def test_results_come_in_the_order_of_the_documents_and_without_their_texts(
    tasks: TaskSet, tiny_tokenizer: ChatTokenizer
) -> None:
    answered, meter = await answers_of(tasks, FakeEngine(tiny_tokenizer), "one", "two", "three")
    assert isinstance(answered, UnitResults)
    assert [result.document.doc_id for result in answered.documents] == ["d0", "d1", "d2"]
    assert [result.document.text for result in answered.documents] == [None] * 3
    assert meter.unit.answered == 3 and meter.answering == {}
    usages = [answer.usage for result in answered.documents for answer in result.answers]
    assert meter.used == meter.account.tokens == sum(usages, Usage())


def test_the_document_that_is_answered_for_the_longest_time_is_known() -> None:
    now = [100.0]
    account = WorkerAccount(now=lambda: now[0])
    account.begin(7)
    meter = account.attempt(7, 2, 1)
    with meter.timed(Document("a", "one")):
        now[0] += 5
        with meter.timed(Document(2, "two")):
            now[0] += 1
            assert account.in_hand() == (UnitInHand(7, 2, 0, 6.0, 1, "a", 6.0),)
    assert account.in_hand() == (UnitInHand(7, 2, 0, 6.0),)


async def test_an_engine_that_dies_is_a_result_and_documents_answered_before_do_not_count(
    tasks: TaskSet, tiny_tokenizer: ChatTokenizer
) -> None:
    # one request at a time, so that the first document is finished before the second
    engine = FakeEngine(
        tiny_tokenizer, kv_cache_tokens=1000, min_request_tokens=1000, dies_of="killer"
    )
    answered, meter = await answers_of(tasks, engine, "one", "a killer")
    assert isinstance(answered, EngineLost)
    assert type(answered.error) is EngineDied
    assert sum("one" in prompt for prompt in engine.prompts) == len(tasks.all)
    assert "killer" in engine.prompts[-1]
    assert meter.unit.documents == 0 and not meter.unit.reasons
    # those of the first document, which must be answered again
    assert meter.used.prompt_tokens == sum(map(len, engine.asked[: len(tasks.all)]))


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
    meter = a_meter(1)
    result = answerer.record_dead_letter(Document("d", "text"), problem, meter)
    assert (result.problem, result.attempts, result.document.text) == (problem, 3, None)
    assert (meter.unit.dead_letters, meter.unit.reasons) == (1, {ENGINE_CRASH: 1})
    assert engine.prompts == []
