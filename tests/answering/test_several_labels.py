"""Tests of `classify` with several labels, about whole documents and documents in chunks."""

from __future__ import annotations

import json
import re

import pytest
from fakes import FakeEngine, Rule, tasks_of

from pipelines.answering.answer import answer_document
from pipelines.answering.protocols import ChunkResult
from pipelines.documents import Answer, Document, Label, LabelSet
from pipelines.job.task_specs import ClassifyTask
from pipelines.models.resolve import Model
from pipelines.tasks.kinds import Sampling
from pipelines.text.tokens import ChatTokenizer

LABELS = ("risk", "earnings", "lawsuits")
SPEC = ClassifyTask(name="topics", labels=LABELS, multiple=True)
FILLER = "Nothing of note is said here. " * 40


def named(prompt: str, sampling: Sampling) -> tuple[str, float | None]:
    """Answer with the labels whose hashtags stand in the prompt."""
    assert sampling.labels == LABELS
    labels = [label for label in LABELS if f"#{label}" in prompt]
    return json.dumps(labels), None


async def read(
    text: str, model: Model, tokens: ChatTokenizer, rule: Rule = named, **long_documents: object
) -> tuple[Answer, list[ChunkResult], FakeEngine]:
    tasks = tasks_of((SPEC,), model, tokens, **long_documents)
    engine = FakeEngine(tokens, answers=rule)
    reports: list[ChunkResult | Answer] = []
    result = await answer_document(Document("d", text), tasks, engine, reports.append)
    return result.answers[0], [r for r in reports if isinstance(r, ChunkResult)], engine


@pytest.mark.parametrize("labels", [(), ("earnings",), ("risk", "lawsuits"), LABELS])
async def test_a_document_has_all_labels_that_fit_or_none(
    labels: tuple[str, ...], tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    text = "A report. " + " ".join(f"#{label}" for label in reversed(labels))
    answer, _, _ = await read(text, tiny_model, tiny_tokenizer)
    assert answer.value == LabelSet(tuple(map(Label, labels)))


async def test_a_document_in_chunks_has_the_labels_of_all_chunks_without_a_further_prompt(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    text = f"{FILLER}#lawsuits {FILLER}{FILLER}#risk {FILLER}"
    answer, parts, engine = await read(
        text, tiny_model, tiny_tokenizer, strategy="map_reduce", chunk_tokens=100, overlap_tokens=0
    )
    assert isinstance(answer.value, LabelSet)
    assert [label.label for label in answer.value.labels] == ["risk", "lawsuits"]
    assert len(engine.prompts) == answer.chunks == len(parts) > 3
    assert LabelSet(()) in [part.value for part in parts]
    assert answer.finish_reason == "stop"


async def test_a_document_in_chunks_without_any_label_has_none(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    answer, _, engine = await read(
        FILLER * 3,
        tiny_model,
        tiny_tokenizer,
        strategy="map_reduce",
        chunk_tokens=100,
        overlap_tokens=0,
    )
    assert answer.value == LabelSet(())
    assert len(engine.prompts) == answer.chunks


async def test_an_answer_that_is_no_label_is_invalid_and_says_so(
    tiny_model: Model, tiny_tokenizer: ChatTokenizer
) -> None:
    answer, _, _ = await read("A.", tiny_model, tiny_tokenizer, lambda *_: ('["risky"]', None))
    assert answer.status == "invalid_answer"
    assert answer.problem and re.search(
        r"'\[\"risky\"\]' is not a JSON list of the labels", answer.problem.message
    )
