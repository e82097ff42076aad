from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import pytest
from fakes import FakeEngine, an_answer, tasks_of

from pipelines.answering.answer import answer_document
from pipelines.answering.passages import SplitText, split_into_passages
from pipelines.documents import Document, Problem, Summary
from pipelines.errors import EngineError
from pipelines.job.spec import AskTask, ClassifyTask, SummarizeTask, TaskSpec
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
    """The same tasks for a model that holds so many tokens, documents read in one pass."""
    return replace(tasks, reading=replace(tasks.reading, policy="single", limit=limit))


async def test_every_task_is_answered_in_the_jobs_order(tasks: TaskSet) -> None:
    outcome = await answer_document(DOCUMENT, tasks, FakeEngine(tasks.tokenizer))
    assert [answer.task for answer in outcome.answers] == ["summary", "topic", "who"]
    assert outcome.answers[0].value == Summary("an answer")
    assert all(answer.strategy == "single" and answer.chunks == 1 for answer in outcome.answers)


async def test_the_document_comes_before_the_question_and_is_the_same_for_all(
    tasks: TaskSet,
) -> None:
    engine = FakeEngine(tasks.tokenizer)
    await answer_document(DOCUMENT, tasks, engine)
    heads = {prompt[: prompt.index("End of the document.")] for prompt in engine.prompts}
    assert len(heads) == 1
    (head,) = heads
    assert 0 < head.index(INSTRUCTION) < head.index(str(DOCUMENT.text))


async def test_the_first_question_goes_alone_until_its_first_token(tasks: TaskSet) -> None:
    engine = FakeEngine(tasks.tokenizer)
    await answer_document(DOCUMENT, tasks, engine)
    assert engine.events[:2] == ["start 1", "first token 1"]
    assert engine.events.index("start 2") < engine.events.index("end 1")


async def test_a_document_of_one_step_is_asked_everything_at_once(tasks: TaskSet) -> None:
    engine = FakeEngine(tasks.tokenizer, max_batched_tokens=4096)
    await answer_document(DOCUMENT, tasks, engine)
    assert engine.events[:3] == ["start 1", "start 2", "start 3"]
    assert "first token 1" not in engine.events


async def test_a_single_task_is_not_streamed(tasks: TaskSet) -> None:
    engine = FakeEngine(tasks.tokenizer)
    await answer_document(DOCUMENT, replace(tasks, all=tasks.all[:1]), engine)
    assert engine.events == ["start 1", "end 1"]


async def test_a_rejected_question_leaves_the_others_standing(tasks: TaskSet) -> None:
    outcome = await answer_document(DOCUMENT, tasks, FakeEngine(tasks.tokenizer, rejects="Who?"))
    assert [answer.status for answer in outcome.answers] == ["answered", "answered", "rejected"]
    assert outcome.answered
    assert [letter.task for letter in outcome.dead_letters()] == ["who"]


async def test_a_rejected_first_question_does_not_hold_the_others_up(tasks: TaskSet) -> None:
    outcome = await answer_document(
        DOCUMENT, tasks, FakeEngine(tasks.tokenizer, rejects="at most 5 words")
    )
    assert [answer.status for answer in outcome.answers] == ["rejected", "answered", "answered"]


async def test_a_document_that_does_not_fit_is_too_long_and_never_sent(
    tasks: TaskSet,
) -> None:
    engine = FakeEngine(tasks.tokenizer)
    outcome = await answer_document(Document("d", "word " * 400), _narrow(tasks, 300), engine)
    assert outcome.problem is not None and outcome.problem.reason == "too_long"
    assert [letter.task for letter in outcome.dead_letters()] == [None]
    assert engine.prompts == []


async def test_a_document_that_just_fits_is_sent(tasks: TaskSet) -> None:
    own = len(tasks.tokenizer.encode(DOCUMENT.text or ""))
    exactly = own + tasks.reading.document_shape.around
    engine = FakeEngine(tasks.tokenizer, max_model_len=exactly)
    fits = await answer_document(DOCUMENT, _narrow(tasks, exactly), engine)
    misses = await answer_document(DOCUMENT, _narrow(tasks, exactly - 1), engine)
    assert fits.problem is None and engine.longest == exactly
    assert misses.problem is not None


async def test_an_unreadable_document_is_a_dead_letter_without_an_engine(
    tasks: TaskSet,
) -> None:
    engine = FakeEngine(tasks.tokenizer)
    problem = Problem("empty", "the text is null")
    outcome = await answer_document(Document("d", None, problem), tasks, engine)
    assert outcome.problem == problem and not outcome.answered and engine.prompts == []


async def test_a_dead_engine_raises_and_is_no_dead_letter(tasks: TaskSet) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await answer_document(DOCUMENT, tasks, FakeEngine(tasks.tokenizer, dies_of="A text"))
    assert caught.group_contains(EngineError)


async def test_an_answer_that_breaks_its_rule_is_invalid_and_says_so(tasks: TaskSet) -> None:
    engine = FakeEngine(tasks.tokenizer, answers=lambda prompt, sampling: ("neither", None))
    outcome = await answer_document(DOCUMENT, tasks, engine)
    assert [answer.status for answer in outcome.answers] == [
        "answered",
        "invalid_answer",
        "answered",
    ]
    assert outcome.answers[1].usage.output_tokens == 3


async def test_documents_together_never_exceed_the_kv_cache(tasks: TaskSet) -> None:
    engine = FakeEngine(tasks.tokenizer, kv_cache_tokens=600)
    documents = [Document(f"d{number}", f"text {number} " * 20) for number in range(20)]
    await asyncio.gather(*(answer_document(doc, tasks, engine) for doc in documents))
    assert len(engine.prompts) == 60
    assert 0 < engine.most_in_flight <= 600


async def test_a_document_is_asked_about_before_those_behind_it_are_tokenized(
    tasks: TaskSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine(tasks.tokenizer)
    asked = threading.Event()
    seen_in_time: list[bool] = []

    def opened(text: str, of: TaskSet) -> SplitText | None:
        if text == "second":
            seen_in_time.append(asked.wait(10))
        return split_into_passages(text, of)

    def answer(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
        asked.set()
        return an_answer(prompt, sampling)

    engine.answers = answer
    monkeypatch.setattr("pipelines.answering.answer.split_into_passages", opened)
    documents = [Document("1", "first"), Document("2", "second")]
    await asyncio.gather(*(answer_document(each, tasks, engine) for each in documents))
    assert seen_in_time == [True]
