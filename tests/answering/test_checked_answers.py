"""Checks of whole documents' answers, and of what a stream shows before they are checked."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from fakes import FakeEngine, tasks_of

from pipelines.answering.answer import answer_document
from pipelines.answering.protocols import ChunkResult
from pipelines.checks.preparing import mark_checked, prepare_checks, with_classifiers
from pipelines.documents import CHECK_FAILED, Answer, Document, Written
from pipelines.job.check_specs import ClassifierCheck, PiiCheck
from pipelines.job.task_specs import AskTask, WriteTask
from pipelines.models.resolve import Model
from pipelines.tasks.kinds import Sampling, TaskSet
from pipelines.text.tokens import ChatTokenizer

MAIL = "bob@example.com"
DOCUMENT = Document("d1", "Some text about harbours. " * 300)


@pytest.fixture
def tasks(tiny_model: Model, tiny_tokenizer: ChatTokenizer) -> TaskSet:
    specs = (
        WriteTask(name="letter", prompt="Write a letter."),
        AskTask(name="who", question="Who?", max_tokens=32),
    )
    return tasks_of(specs, tiny_model, tiny_tokenizer, strategy="map_reduce", chunk_tokens=512)


def mails(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
    return f"write to {MAIL}", None


class Suspicious:
    """A model that finds every text rude, and records the texts."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def scores(self, texts: Sequence[str]) -> list[dict[str, float]]:
        self.texts += texts
        return [{"rude": 0.9, "kind": 0.1} for _ in texts]


async def test_neither_answers_nor_progress_show_what_a_check_takes_out(tasks: TaskSet) -> None:
    checks = prepare_checks((PiiCheck(action="null", tasks=("letter",)),))
    seen: list[ChunkResult | Answer] = []
    result = await answer_document(
        DOCUMENT,
        mark_checked(tasks, checks),
        FakeEngine(tasks.tokenizer, answers=mails),
        seen.append,
        checks,
    )
    letter, who = result.answers
    assert (letter.value, letter.problem) == (None, None)
    assert letter.checks[0].rule == "email"
    assert MAIL in repr(who)
    of_letter = [item for item in seen if item.task == "letter"]
    chunks = [item for item in of_letter if isinstance(item, ChunkResult)]
    assert len(chunks) > 1
    assert MAIL not in repr(of_letter)
    assert of_letter[-1] == letter
    assert MAIL in repr([item for item in seen if item.task == "who"])


async def test_without_checks_chunks_have_their_values(tasks: TaskSet) -> None:
    seen: list[ChunkResult | Answer] = []
    engine = FakeEngine(tasks.tokenizer, answers=mails)
    result = await answer_document(DOCUMENT, tasks, engine, seen.append)
    assert result.answers[0].value == Written(f"write to {MAIL}")
    assert all(isinstance(item, Answer) or item.value is not None for item in seen)


async def test_a_classification_model_is_asked_about_every_text_once(tasks: TaskSet) -> None:
    spec = ClassifierCheck(
        action="dead_letter", model="m", revision="r", labels=("rude",), threshold=0.9
    )
    model = Suspicious()
    loaded = []

    def load(name: str, revision: str) -> Suspicious:
        loaded.append((name, revision))
        return model

    other = ClassifierCheck(
        name="kindness", action="flag", model="m", revision="r", labels=("kind",), threshold=0.5
    )
    checks = with_classifiers(prepare_checks((spec, other)), load)
    assert loaded == [("m", "r")]
    engine = FakeEngine(tasks.tokenizer)
    result = await answer_document(DOCUMENT, mark_checked(tasks, checks), engine, None, checks)
    assert [answer.status for answer in result.answers] == [CHECK_FAILED] * 2
    assert {answer.checks[0].rule for answer in result.answers} == {"rude"}
    assert "an answer" in model.texts
    assert len(result.dead_letters()) == 2
