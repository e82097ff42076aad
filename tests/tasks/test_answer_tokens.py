"""Tests of the tokens that perfect answers have with Phi-3's tokenizer, by kind of evidence."""

from __future__ import annotations

import json

import pytest
from answer_tokens import (
    FIELDS,
    KINDS,
    SENTENCES,
    VALUES,
    count,
    filled_form,
    reply,
    spaced_empty_form,
    spaced_form,
)
from needs import PHI3, needs_phi3

from pipelines.documents import EvidenceStatus, Fields, Reply, Usage
from pipelines.job.task_specs import AskTask, EvidenceKind, ExtractTask, TaskSpec
from pipelines.tasks.kinds import Completion
from pipelines.tasks.parsing import parse_answer
from pipelines.tasks.questions import tokenize_tasks
from pipelines.text.search import DocumentSearch
from pipelines.text.tokens import ChatTokenizer, load_tokenizer

TEXT = "\n\n".join(SENTENCES.values())


@pytest.fixture(scope="module", params=["july-2024", "april-2024"])
def tokenizer(request: pytest.FixtureRequest) -> ChatTokenizer:
    return load_tokenizer(PHI3 / "tokenizer" / request.param)


@needs_phi3
def test_an_empty_form_has_at_most_three_tokens(tokenizer: ChatTokenizer) -> None:
    assert [count(tokenizer, kind).empty for kind in KINDS] == [2] * len(KINDS)
    assert len(tokenizer.encode(spaced_empty_form())) > 50


@needs_phi3
def test_anchors_take_less_than_half_of_the_tokens_of_whole_quotes(
    tokenizer: ChatTokenizer,
) -> None:
    quotes, anchors, values, none = (count(tokenizer, kind) for kind in KINDS)
    spaced = len(tokenizer.encode(spaced_form()))
    assert quotes.form <= 0.96 * spaced
    assert anchors.form <= 0.5 * spaced
    assert anchors.reply <= 0.5 * quotes.reply
    assert values.form == none.form <= 0.25 * spaced


@pytest.mark.parametrize("kind", KINDS)
def test_the_counted_answers_are_correct_and_shown(
    kind: EvidenceKind, tiny_tokenizer: ChatTokenizer
) -> None:
    specs: list[TaskSpec] = [
        ExtractTask(name="lease", fields=FIELDS, evidence=kind),
        AskTask(name="rent", question="What is the rent?", evidence=kind),
    ]
    form, question = tokenize_tasks(specs, tiny_tokenizer)
    search, span = DocumentSearch(TEXT), (0, len(TEXT))
    fields = parse_answer(form, Completion(filled_form(kind), Usage(), "stop"), search, span)
    assert isinstance(fields, Fields) and fields.values == VALUES
    answer = parse_answer(question, Completion(reply(kind), Usage(), "stop"), search, span)
    assert isinstance(answer, Reply)
    shown = {(row.path, row.text) for row in fields.evidence if row.status is EvidenceStatus.SHOWN}
    if kind in ("quotes", "anchors"):
        paths = {"guarantors[0]": "guarantors", "guarantors[1]": "guarantors"}
        names = [*dict.fromkeys(["tenant", "begins", "rent"]), *paths]
        assert shown == {(path, SENTENCES[paths.get(path, path)]) for path in names}
        assert [row.text for row in answer.evidence] == [SENTENCES["rent"]]
    else:
        expected = {"values": {EvidenceStatus.FOUND}, "none": set()}[kind]
        assert {row.status for row in (*fields.evidence, *answer.evidence)} == expected


def test_the_compact_form_states_the_same_as_the_spaced_one() -> None:
    assert json.loads(filled_form("quotes")) == json.loads(spaced_form())
