from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from fakes import FakeEngine

from pipelines.answer import answer_document
from pipelines.documents import Document, Outcome, Problem, Summary, Usage
from pipelines.errors import EngineError
from pipelines.spec import AskTask, ClassifyTask, SummarizeTask, TaskSpec
from pipelines.tasks import INSTRUCTION, Sampling, prepare
from pipelines.tokens import Tokens

SPECS: tuple[TaskSpec, ...] = (
    SummarizeTask(name="summary", max_words=5),
    ClassifyTask(name="topic", labels=("a", "b")),
    AskTask(name="who", question="Who?", max_tokens=8),
)
DOCUMENT = Document("d1", "A text about <|end|> tokens.")


async def _answer(engine: FakeEngine, document: Document = DOCUMENT) -> Outcome:
    return await answer_document(document, prepare(SPECS, engine.tokens), engine)


async def test_every_task_is_answered_in_the_jobs_order(tiny_tokens: Tokens) -> None:
    outcome = await _answer(FakeEngine(tiny_tokens))
    assert [answer.task for answer in outcome.answers] == ["summary", "topic", "who"]
    assert outcome.answers[0].value == Summary("an answer")
    assert all(answer.strategy == "single" and answer.chunks == 1 for answer in outcome.answers)


async def test_the_document_comes_before_the_question_and_is_the_same_for_all(
    tiny_tokens: Tokens,
) -> None:
    engine = FakeEngine(tiny_tokens)
    await _answer(engine)
    heads = {prompt[: prompt.index("End of the document.")] for prompt in engine.prompts}
    assert len(heads) == 1
    (head,) = heads
    assert 0 < head.index(INSTRUCTION) < head.index(str(DOCUMENT.text))


async def test_the_first_question_goes_alone_until_its_first_token(tiny_tokens: Tokens) -> None:
    engine = FakeEngine(tiny_tokens)
    await _answer(engine)
    assert engine.events[:2] == ["start 1", "first token 1"]
    assert engine.events.index("start 2") < engine.events.index("end 1")


async def test_a_document_of_one_step_is_asked_everything_at_once(tiny_tokens: Tokens) -> None:
    engine = FakeEngine(tiny_tokens, step_tokens=4096)
    await _answer(engine)
    assert engine.events[:3] == ["start 1", "start 2", "start 3"]
    assert "first token 1" not in engine.events


async def test_a_single_task_is_not_streamed(tiny_tokens: Tokens) -> None:
    engine = FakeEngine(tiny_tokens)
    await answer_document(DOCUMENT, prepare(SPECS[:1], tiny_tokens), engine)
    assert engine.events == ["start 1", "end 1"]


async def test_a_rejected_question_leaves_the_others_standing(tiny_tokens: Tokens) -> None:
    outcome = await _answer(FakeEngine(tiny_tokens, rejects="Who?"))
    assert [answer.status for answer in outcome.answers] == ["answered", "answered", "rejected"]
    assert outcome.answered
    assert [letter.task for letter in outcome.dead_letters()] == ["who"]


async def test_a_rejected_first_question_does_not_hold_the_others_up(tiny_tokens: Tokens) -> None:
    outcome = await _answer(FakeEngine(tiny_tokens, rejects="at most 5 words"))
    assert [answer.status for answer in outcome.answers] == ["rejected", "answered", "answered"]


async def test_a_document_that_does_not_fit_is_too_long_and_never_sent(
    tiny_tokens: Tokens,
) -> None:
    engine = FakeEngine(tiny_tokens, max_model_len=100)
    outcome = await _answer(engine, Document("d", "word " * 200))
    assert outcome.problem is not None and outcome.problem.reason == "too_long"
    assert [letter.task for letter in outcome.dead_letters()] == [None]
    assert engine.prompts == []


async def test_a_document_that_just_fits_is_sent(tiny_tokens: Tokens) -> None:
    tasks = prepare(SPECS, tiny_tokens)
    probe = FakeEngine(tiny_tokens)
    await answer_document(DOCUMENT, tasks, probe)
    shared = len(tiny_tokens.encode(INSTRUCTION)) + len(tiny_tokens.encode(DOCUMENT.text or ""))
    exactly = (
        shared
        + tiny_tokens.frame_tokens
        + max(len(task.question_ids) + task.sampling.max_tokens for task in tasks)
    )
    fits = await answer_document(DOCUMENT, tasks, FakeEngine(tiny_tokens, max_model_len=exactly))
    misses = await answer_document(
        DOCUMENT, tasks, FakeEngine(tiny_tokens, max_model_len=exactly - 1)
    )
    assert fits.problem is None
    assert misses.problem is not None


async def test_an_unreadable_document_is_a_dead_letter_without_an_engine(
    tiny_tokens: Tokens,
) -> None:
    engine = FakeEngine(tiny_tokens)
    problem = Problem("empty", "the text is null")
    outcome = await _answer(engine, Document("d", None, problem))
    assert outcome.problem == problem and not outcome.answered and engine.prompts == []


async def test_a_dead_engine_raises_and_is_no_dead_letter(tiny_tokens: Tokens) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await _answer(FakeEngine(tiny_tokens, dies_of="A text"))
    assert caught.group_contains(EngineError)


async def test_an_answer_that_breaks_its_rule_is_invalid_and_says_so(tiny_tokens: Tokens) -> None:
    engine = FakeEngine(tiny_tokens)
    tasks = prepare((ClassifyTask(name="topic", labels=("a", "b")),), tiny_tokens)
    broken = [replace(task, sampling=Sampling(max_tokens=8)) for task in tasks]
    outcome = await answer_document(DOCUMENT, broken, engine)
    assert outcome.answers[0].status == "invalid_answer"
    assert outcome.answers[0].usage == Usage(outcome.answers[0].usage.prompt_tokens, 0, 3)


async def test_documents_together_never_exceed_the_kv_cache(tiny_tokens: Tokens) -> None:
    engine = FakeEngine(tiny_tokens, kv_tokens=600)
    documents = [Document(f"d{number}", f"text {number} " * 20) for number in range(20)]
    tasks = prepare(SPECS, tiny_tokens)
    await asyncio.gather(*(answer_document(doc, tasks, engine) for doc in documents))
    assert len(engine.prompts) == 60
    assert 0 < engine.most_in_flight <= 600
