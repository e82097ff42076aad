"""Tests of the KV cache that reading a passage reserves, with an engine whose answers end when the
test lets them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from fakes import FakeEngine, tasks_of
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.answering.answer import answer_document
from pipelines.documents import Document, DocumentResult
from pipelines.errors import EngineDied, flatten_errors
from pipelines.job.task_specs import AskTask, ClassifyTask, ExtractTask, TaskSpec
from pipelines.models.resolve import Model
from pipelines.tasks.kinds import Completion, Sampling, TaskSet
from pipelines.text.tokens import ChatTokenizer

ASK: tuple[TaskSpec, ...] = (
    AskTask(name="who", question="Who?", max_tokens=100),
    AskTask(name="what", question="What?", max_tokens=100),
)
FORM = ExtractTask(name="facts", fields={"year": "integer"})


@dataclass
class HeldEngine(FakeEngine):
    """Answers a prompt with a text of `held` only when that text's event is set. `received` are the
    prompts that it was sent, answered or not."""

    max_batched_tokens: int = 4096
    held: dict[str, asyncio.Event] = field(default_factory=dict)
    received: list[str] = field(default_factory=list)

    def hold(self, text: str) -> asyncio.Event:
        return self.held.setdefault(text, asyncio.Event())

    async def generate(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        on_first_token: Callable[[], None] | None = None,
    ) -> Completion:
        text = self.tokenizer.decode(prompt)
        self.received.append(text)
        for part, event in self.held.items():
            if part in text:
                await event.wait()
        return await super().generate(prompt, sampling, on_first_token)


@asynccontextmanager
async def _answering(
    text: str, tasks: TaskSet, engine: FakeEngine
) -> AsyncIterator[asyncio.Task[DocumentResult]]:
    """Answer a document during the block, which starts once its questions wait for the engine."""
    async with asyncio.TaskGroup() as group:
        answer = group.create_task(answer_document(Document("d", text), tasks, engine))
        await _until(lambda: engine.kv_tokens_in_flight > 0)
        yield answer


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


def _prefix_tokens(tasks: TaskSet, text: str) -> int:
    return len(tasks.prompts.document_prefix(tasks.tokenizer.encode(text)).token_ids)


@pytest.fixture
def asks(tiny_model: Model, tiny_tokenizer: ChatTokenizer) -> TaskSet:
    return tasks_of(ASK, tiny_model, tiny_tokenizer)


async def test_an_answered_question_gives_back_its_share_and_the_last_one_the_prefix(
    asks: TaskSet,
) -> None:
    engine = HeldEngine(asks.tokenizer)
    what = engine.hold("What?")
    async with _answering("A text.", asks, engine) as answer:
        reserved = engine.kv_tokens_in_flight
        await _until(lambda: engine.kv_tokens_in_flight < reserved)
        questions = [len(task.question.token_ids) + 100 for task in asks.all]
        given_back = reserved - engine.kv_tokens_in_flight
        # the end of the prompt is a part of each question's share
        assert questions[0] < given_back < questions[0] + 10
        assert engine.kv_tokens_in_flight > _prefix_tokens(asks, "A text.") + questions[1]
        what.set()
        await answer
    assert engine.kv_tokens_in_flight == 0


async def test_another_document_is_admitted_with_the_share_of_an_answered_question(
    asks: TaskSet,
) -> None:
    documents = [Document("1", "First."), Document("2", "Second.")]
    together = 0
    for document in documents:
        alone = FakeEngine(asks.tokenizer)
        await answer_document(document, asks, alone)
        together += alone.most_in_flight
    engine = HeldEngine(asks.tokenizer, kv_cache_tokens=together - 50)
    who, what = engine.hold("Who?"), engine.hold("What?")
    async with asyncio.TaskGroup() as group:
        for document in documents:
            group.create_task(answer_document(document, asks, engine))
        await _until(lambda: len(engine.received) == 2)
        await asyncio.sleep(0.05)
        assert not any("Second." in prompt for prompt in engine.received)
        what.set()
        await _until(lambda: any("Second." in prompt for prompt in engine.received))
        who.set()
    assert engine.most_in_flight <= engine.kv_cache_tokens


async def test_the_lengths_of_answers_are_learned_and_more_documents_are_admitted(
    asks: TaskSet,
) -> None:
    engine = FakeEngine(asks.tokenizer, max_batched_tokens=4096, block_tokens=1)
    await answer_document(Document("d", "A text."), asks, engine)
    at_first = engine.most_in_flight
    for number in range(8):
        await answer_document(Document("d", f"Text {number}."), asks, engine)
    engine.most_in_flight = 0
    await answer_document(Document("d", "A text."), asks, engine)
    # two answers of 3 tokens are expected to have 5 instead of 100
    assert at_first - engine.most_in_flight == 2 * 95


async def test_a_repaired_question_keeps_its_share_and_the_prefix(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    tasks = tasks_of((ASK[0], FORM), tiny_model, tiny_tokenizer)

    def answers(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
        return ("no JSON" if sampling.schema and "refused" not in prompt else "{}"), None

    engine = HeldEngine(tasks.tokenizer, answers=answers)
    repair = engine.hold("Your answer was refused")
    async with _answering("A text.", tasks, engine) as answer:
        await _until(lambda: len(engine.received) == 3)
        form = tasks.all[1].question
        prefix = _prefix_tokens(tasks, "A text.")
        assert engine.kv_tokens_in_flight > prefix + len(form.token_ids)
        repair.set()
        await answer
    assert engine.kv_tokens_in_flight == 0


async def test_a_cancelled_document_gives_everything_back(asks: TaskSet) -> None:
    engine = HeldEngine(asks.tokenizer)
    engine.hold("What?")
    answer = asyncio.create_task(answer_document(Document("d", "A text."), asks, engine))
    await _until(lambda: "end 1" in engine.events)
    answer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answer
    assert engine.kv_tokens_in_flight == 0


async def test_a_rejected_question_gives_back_its_share(asks: TaskSet) -> None:
    engine = HeldEngine(asks.tokenizer, rejects="Who?")
    what = engine.hold("What?")
    async with _answering("A text.", asks, engine):
        reserved = engine.kv_tokens_in_flight
        await _until(lambda: engine.kv_tokens_in_flight < reserved)
        what.set()
    assert engine.kv_tokens_in_flight == 0


@settings(max_examples=30, deadline=None)
@given(
    capacity=st.integers(1, 2000),
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=12),
    limits=st.lists(st.integers(1, 200), min_size=1, max_size=4),
    batched=st.sampled_from((10, 4096)),
    failing=st.sampled_from((None, "rejects", "dies_of")),
    strategy=st.sampled_from(("auto", "map_reduce")),
    chance=st.randoms(use_true_random=False),
)
def test_all_documents_are_answered_or_the_engine_died_and_all_tokens_return(
    tiny_model: Model,
    tiny_tokenizer: ChatTokenizer,
    capacity: int,
    lengths: list[int],
    limits: list[int],
    batched: int,
    failing: str | None,
    strategy: str,
    chance: random.Random,
) -> None:
    def answers(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
        if chance.random() < 0.1:
            engine.answer_lengths.back_off()
        if sampling.schema:
            return chance.choice(["{}", "no JSON", '{"year": 1999}']), None
        return (sampling.choices[0] if sampling.choices else "x" * chance.randint(1, 300)), None

    async def run() -> None:
        asks = [
            AskTask(name=f"a{n}", question=f"Q{n}?", max_tokens=m) for n, m in enumerate(limits)
        ]
        specs: tuple[TaskSpec, ...] = (*asks, FORM, ClassifyTask(name="kind", labels=("a", "b")))
        tasks = tasks_of(specs, tiny_model, tiny_tokenizer, strategy=strategy, chunk_tokens=200)
        reads = (
            answer_document(Document("d", f"Text {number} " + "word " * words), tasks, engine)
            for number, words in enumerate(lengths)
        )
        async with asyncio.timeout(20):
            results = await asyncio.gather(*reads, return_exceptions=True)
        assert engine.kv_tokens_in_flight == 0
        assert engine.most_in_flight <= capacity
        for result in results:
            if isinstance(result, BaseExceptionGroup):
                assert failing == "dies_of"
                assert all(isinstance(error, EngineDied) for error in flatten_errors(result))
            else:
                assert isinstance(result, DocumentResult)
                assert len(result.answers) == len(specs)

    engine = FakeEngine(
        tiny_tokenizer,
        kv_cache_tokens=capacity,
        max_batched_tokens=batched,
        answers=answers,
        cuts=True,
        rejects="Text 2 " if failing == "rejects" else None,
        dies_of="Text 3 " if failing == "dies_of" else None,
    )
    asyncio.run(run())
