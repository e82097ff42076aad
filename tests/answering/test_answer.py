"""Tests of answering one document: order of prompts, failures, admission."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest
from fakes import FakeEngine, an_answer, tasks_of

from pipelines.answering.answer import answer_document
from pipelines.answering.passages import SplitText, split_into_passages
from pipelines.documents import INVALID_ANSWER, Document, Problem, Summary
from pipelines.errors import EngineError
from pipelines.job.task_specs import AskTask, ClassifyTask, SummarizeTask, TaskSpec
from pipelines.models.resolve import Model
from pipelines.tasks.kinds import Sampling, TaskSet
from pipelines.text.prompts import INSTRUCTION
from pipelines.text.tokens import ChatTokenizer

SPECS: tuple[TaskSpec, ...] = (
    SummarizeTask(name="summary", max_words=5),
    ClassifyTask(name="topic", labels=("a", "b")),
    AskTask(name="who", question="Who?", max_tokens=8),
)
DOCUMENT = Document("d1", "A text about <|end|> tokens.")


@pytest.fixture
def tasks(tiny_model: Model, tiny_tokenizer: ChatTokenizer) -> TaskSet:
    return tasks_of(SPECS, tiny_model, tiny_tokenizer)


def _narrow(tasks: TaskSet, limit: int) -> TaskSet:
    """Return the tasks for a context of `limit` tokens, with documents read in one pass."""
    return replace(tasks, reading=replace(tasks.reading, policy="single", limit=limit))


async def test_every_task_is_answered_in_the_jobs_order(tasks: TaskSet) -> None:
    result = await answer_document(DOCUMENT, tasks, FakeEngine(tasks.tokenizer))
    assert [answer.task for answer in result.answers] == ["summary", "topic", "who"]
    assert result.answers[0].value == Summary("an answer")
    assert all(answer.strategy == "single" and answer.chunks == 1 for answer in result.answers)


async def test_the_document_comes_before_the_question_and_is_the_same_for_all(
    tasks: TaskSet,
) -> None:
    engine = FakeEngine(tasks.tokenizer)
    await answer_document(DOCUMENT, tasks, engine)
    heads = {prompt[: prompt.index("End of the document.")] for prompt in engine.prompts}
    assert len(heads) == 1
    (head,) = heads
    assert 0 < head.index(INSTRUCTION) < head.index(str(DOCUMENT.text))


async def test_the_first_question_is_sent_alone_until_its_first_token(tasks: TaskSet) -> None:
    engine = FakeEngine(tasks.tokenizer)
    await answer_document(DOCUMENT, tasks, engine)
    assert engine.events[:2] == ["start 1", "first token 1"]
    assert engine.events.index("start 2") < engine.events.index("end 1")


async def test_all_questions_about_a_document_prefilled_in_one_step_are_sent_together(
    tasks: TaskSet,
) -> None:
    engine = FakeEngine(tasks.tokenizer, max_batched_tokens=4096)
    await answer_document(DOCUMENT, tasks, engine)
    assert engine.events[:3] == ["start 1", "start 2", "start 3"]
    assert "first token 1" not in engine.events


async def test_a_single_task_is_not_streamed(tasks: TaskSet) -> None:
    engine = FakeEngine(tasks.tokenizer)
    await answer_document(DOCUMENT, replace(tasks, all=tasks.all[:1]), engine)
    assert engine.events == ["start 1", "end 1"]


async def test_a_rejected_question_does_not_affect_the_others(tasks: TaskSet) -> None:
    result = await answer_document(DOCUMENT, tasks, FakeEngine(tasks.tokenizer, rejects="Who?"))
    assert [answer.status for answer in result.answers] == ["answered", "answered", "rejected"]
    assert result.answered
    assert [letter.task for letter in result.dead_letters()] == ["who"]


async def test_a_rejected_first_question_does_not_delay_the_others(tasks: TaskSet) -> None:
    result = await answer_document(
        DOCUMENT, tasks, FakeEngine(tasks.tokenizer, rejects="at most 5 words")
    )
    assert [answer.status for answer in result.answers] == ["rejected", "answered", "answered"]


async def test_a_document_that_does_not_fit_is_too_long_and_never_sent(
    tasks: TaskSet,
) -> None:
    engine = FakeEngine(tasks.tokenizer)
    result = await answer_document(Document("d", "word " * 400), _narrow(tasks, 300), engine)
    assert result.problem is not None and result.problem.reason == "too_long"
    assert [letter.task for letter in result.dead_letters()] == [None]
    assert engine.prompts == []


async def test_a_document_that_just_fits_is_sent(tasks: TaskSet) -> None:
    document_tokens = len(tasks.tokenizer.encode(DOCUMENT.text or ""))
    exactly = document_tokens + tasks.reading.document_shape.around
    engine = FakeEngine(tasks.tokenizer, max_model_len=exactly)
    fits = await answer_document(DOCUMENT, _narrow(tasks, exactly), engine)
    misses = await answer_document(DOCUMENT, _narrow(tasks, exactly - 1), engine)
    assert fits.problem is None and engine.longest == exactly
    assert misses.problem is not None


async def test_an_unreadable_document_is_a_dead_letter_without_any_prompt(
    tasks: TaskSet,
) -> None:
    engine = FakeEngine(tasks.tokenizer)
    problem = Problem("empty", "the text is null")
    result = await answer_document(Document("d", None, problem), tasks, engine)
    assert result.problem == problem and not result.answered and engine.prompts == []


async def test_a_dead_engine_raises_instead_of_making_a_dead_letter(tasks: TaskSet) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await answer_document(DOCUMENT, tasks, FakeEngine(tasks.tokenizer, dies_of="A text"))
    assert caught.group_contains(EngineError)


async def test_an_answer_that_is_not_a_label_is_invalid(tasks: TaskSet) -> None:
    engine = FakeEngine(tasks.tokenizer, answers=lambda prompt, sampling: ("neither", None))
    result = await answer_document(DOCUMENT, tasks, engine)
    assert [answer.status for answer in result.answers] == [
        "answered",
        "invalid_answer",
        "answered",
    ]
    assert result.answers[1].usage.output_tokens == 3


async def test_concurrent_documents_never_exceed_the_kv_cache(tasks: TaskSet) -> None:
    engine = FakeEngine(tasks.tokenizer, kv_cache_tokens=600)
    documents = [Document(f"d{number}", f"text {number} " * 20) for number in range(20)]
    await asyncio.gather(*(answer_document(doc, tasks, engine) for doc in documents))
    assert len(engine.prompts) == 60
    assert 0 < engine.most_in_flight <= 600


async def test_a_document_is_sent_before_later_ones_are_tokenized(
    tasks: TaskSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine(tasks.tokenizer)
    first_sent = threading.Event()
    sent_in_time: list[bool] = []

    def split(text: str, tasks: TaskSet) -> SplitText | None:
        if text == "second":
            sent_in_time.append(first_sent.wait(10))
        return split_into_passages(text, tasks)

    def answer(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
        first_sent.set()
        return an_answer(prompt, sampling)

    engine.answers = answer
    monkeypatch.setattr("pipelines.answering.opening.split_into_passages", split)
    documents = [Document("1", "first"), Document("2", "second")]
    await asyncio.gather(*(answer_document(document, tasks, engine) for document in documents))
    assert sent_in_time == [True]


async def test_an_error_in_the_search_for_evidence_concerns_one_task(
    tasks: TaskSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr("pipelines.tasks.parsing.evidence_of_reply", fail)
    result = await answer_document(DOCUMENT, tasks, FakeEngine(tasks.tokenizer))
    assert [answer.status for answer in result.answers] == ["answered", "answered", INVALID_ANSWER]
    problem = result.answers[2].problem
    assert problem is not None and "ZeroDivisionError: unforeseen" in problem.message
