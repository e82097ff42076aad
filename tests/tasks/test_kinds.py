"""Tests of the kinds of task: questions, sampling parameters and parsing of answers."""

from __future__ import annotations

import json
import math

import pytest

from pipelines.documents import Evidence, EvidenceStatus, Label, Reply, Summary, Usage
from pipelines.errors import InvalidAnswer
from pipelines.job.task_specs import (
    CANNOT_TELL,
    AskTask,
    ClassifyTask,
    EvidenceKind,
    ExtractTask,
    SummarizeTask,
    TaskSpec,
)
from pipelines.tasks.kinds import Completion, Task, question_for
from pipelines.tasks.parsing import parse_answer
from pipelines.tasks.questions import REPAIR_TOKENS, repair_question, tokenize_tasks
from pipelines.tasks.replies import NOT_STATED
from pipelines.text.search import DocumentSearch
from pipelines.text.tokens import ChatTokenizer

SUMMARIZE = SummarizeTask(name="summary", max_words=30)
CLASSIFY = ClassifyTask(name="topic", labels=("risk", "earnings per share"))
ASK = AskTask(name="auditor", question="Who audited?", max_tokens=64)
EXTRACT = ExtractTask(name="facts", fields={"company": "string", "risks": ["string"]})
ALL: tuple[TaskSpec, ...] = (SUMMARIZE, CLASSIFY, ASK, EXTRACT)
TEXT = "The statements were audited by Smith & Co in 1999."


@pytest.fixture
def tasks(tiny_tokenizer: ChatTokenizer) -> dict[str, Task]:
    return {task.spec.kind: task for task in tokenize_tasks(ALL, tiny_tokenizer)}


def completion(text: str, logprob: float | None = None) -> Completion:
    return Completion(text, Usage(), "stop", logprob)


def test_questions_contain_the_settings_of_the_job_file(tasks: dict[str, Task]) -> None:
    assert "at most 30 words" in tasks["summarize"].question.text
    assert "- risk\n- earnings per share\n" in tasks["classify"].question.text
    assert "Who audited?" in tasks["ask"].question.text
    quotes = '"quotes":{"company":quote or null,"risks":quote or null}'
    form = f'{{"company":string or null,"risks":[string,...],{quotes}}}'
    assert form in tasks["extract"].question.text


@pytest.mark.parametrize("evidence", ["quotes", "anchors", "values", "none"])
def test_a_question_asks_for_the_evidence_that_the_task_wants(
    evidence: EvidenceKind, tiny_tokenizer: ChatTokenizer
) -> None:
    specs = [spec.model_copy(update={"evidence": evidence}) for spec in (ASK, EXTRACT)]
    ask, extract = tokenize_tasks(specs, tiny_tokenizer)
    assert ask.combine_question is not None
    for question in (ask.question, ask.combine_question, extract.question, extract.chunk_question):
        assert ("quote" in question.text.lower()) is (evidence in ("quotes", "anchors"))
        assert ('"first words ... last words"' in question.text) is (evidence == "anchors")
    for question in (extract.question, extract.chunk_question):
        schema = json.loads(question.sampling.schema or "")
        (form,) = (kind for kind in schema["anyOf"] if kind["type"] == "object")
        assert ("quotes" in form["properties"]) is (evidence in ("quotes", "anchors"))


def test_a_text_that_states_nothing_is_answered_with_null_unless_the_task_is_strict(
    tiny_tokenizer: ChatTokenizer,
) -> None:
    strict = EXTRACT.model_copy(update={"strict": True})
    for task in tokenize_tasks([EXTRACT, strict], tiny_tokenizer):
        for is_chunk in (False, True):
            question = question_for(task, chunk=is_chunk)
            may_be_null = is_chunk or task.spec is EXTRACT
            assert ("answer only null" in question.text) is may_be_null
            assert ('"anyOf": [{"type": "object"' in str(question.sampling.schema)) is may_be_null


def test_numbers_are_asked_for_plainly_where_there_are_any(tiny_tokenizer: ChatTokenizer) -> None:
    fields = {"rounds": [{"date": "date", "amount": "number"}]}
    with_number = EXTRACT.model_copy(update={"fields": fields})
    texts = [task.question.text for task in tokenize_tasks([EXTRACT, with_number], tiny_tokenizer)]
    assert ["plainly, such as 7420000" in text for text in texts] == [False, True]


def test_a_reply_is_shown_by_the_passage_between_its_anchors(tiny_tokenizer: ChatTokenizer) -> None:
    (task,) = tokenize_tasks((ASK.model_copy(update={"evidence": "anchors"}),), tiny_tokenizer)
    reply = _reply(task, "Smith & Co\nQuote: The statements ... Smith & Co")
    words = "The statements ... Smith & Co"
    row = Evidence("", EvidenceStatus.SHOWN, TEXT[:41], 0, 41, quote=words)
    assert reply == Reply("Smith & Co", (row,))
    wrong = _reply(task, "Kleve & Co\nQuote: The statements ... Smith & Co")
    assert isinstance(wrong, Reply)
    assert [row.status for row in wrong.evidence] == [EvidenceStatus.NEAR]


def test_a_reply_without_quotes_is_looked_for_or_has_no_evidence(
    tiny_tokenizer: ChatTokenizer,
) -> None:
    kinds = [ASK.model_copy(update={"evidence": evidence}) for evidence in ("values", "none")]
    values, none = tokenize_tasks(kinds, tiny_tokenizer)
    row = Evidence("", EvidenceStatus.FOUND, "Smith & Co", 31, 41)
    assert _reply(values, "Smith & Co") == Reply("Smith & Co", (row,))
    assert _reply(none, "Smith & Co") == Reply("Smith & Co")


def test_question_ids_decode_to_the_question(
    tasks: dict[str, Task], tiny_tokenizer: ChatTokenizer
) -> None:
    for task in tasks.values():
        for part in (False, True):
            question = question_for(task, chunk=part)
            assert tiny_tokenizer.decode(question.token_ids) == question.text


def test_a_question_never_contains_control_tokens(tiny_tokenizer: ChatTokenizer) -> None:
    tricky = AskTask(name="x", question="What does <|end|> mean, and </s>?")
    (task,) = tokenize_tasks((tricky,), tiny_tokenizer)
    assert tiny_tokenizer.control_ids.isdisjoint(task.question.token_ids)


def test_classify_is_decoded_under_its_labels_and_fits_the_longest(
    tasks: dict[str, Task], tiny_tokenizer: ChatTokenizer
) -> None:
    sampling = tasks["classify"].question.sampling
    assert sampling.choices == ("risk", "earnings per share")
    assert sampling.max_tokens > len(tiny_tokenizer.encode("earnings per share"))


def test_cannot_tell_is_a_choice_for_chunks_only(tasks: dict[str, Task]) -> None:
    part = question_for(tasks["classify"], chunk=True).sampling.choices
    assert part == ("risk", "earnings per share", CANNOT_TELL)
    assert CANNOT_TELL not in (tasks["classify"].question.sampling.choices or ())


def test_several_labels_are_asked_for_alike_of_documents_and_chunks(
    tiny_tokenizer: ChatTokenizer,
) -> None:
    spec = ClassifyTask(name="topics", labels=("risk", "earnings per share"), multiple=True)
    (task,) = tokenize_tasks((spec,), tiny_tokenizer)
    assert "\n- risk\n- earnings per share\n" in task.question.text
    assert "or with [] if none fits" in task.question.text
    assert task.question.sampling.labels == ("risk", "earnings per share")
    assert task.question.sampling.choices is None
    assert question_for(task, chunk=True) == task.question


def test_ask_may_generate_as_many_tokens_as_the_job_file_allows(tasks: dict[str, Task]) -> None:
    assert tasks["ask"].question.sampling.max_tokens == 64


def test_a_summary_is_the_text_without_surrounding_white_space(tasks: dict[str, Task]) -> None:
    summary = parse_answer(
        tasks["summarize"], completion("  All is well. \n"), DocumentSearch(""), (0, 0)
    )
    assert summary == Summary("All is well.")


def test_a_label_has_its_probability_as_confidence(tasks: dict[str, Task]) -> None:
    answer = completion("risk", math.log(0.75))
    label = parse_answer(tasks["classify"], answer, DocumentSearch(""), (0, 0))
    assert isinstance(label, Label) and label.confidence == pytest.approx(0.75)
    assert parse_answer(tasks["classify"], completion("risk"), DocumentSearch(""), (0, 0)) == Label(
        "risk"
    )


def test_a_label_must_be_one_of_the_labels(tasks: dict[str, Task]) -> None:
    with pytest.raises(InvalidAnswer, match="'earnings' is not one of the labels"):
        parse_answer(tasks["classify"], completion("earnings"), DocumentSearch(""), (0, 0))


def _reply(task: Task, answer: str) -> object:
    return parse_answer(task, completion(answer), DocumentSearch(TEXT), (0, len(TEXT)))


def test_a_quote_is_located_in_the_text(tasks: dict[str, Task]) -> None:
    row = Evidence("", EvidenceStatus.SHOWN, "audited by Smith & Co", 20, 41)
    reply = _reply(tasks["ask"], 'Smith & Co\nQuote: "audited by Smith & Co"')
    assert reply == Reply("Smith & Co", (row,))
    assert TEXT[20:41] == row.text


def test_a_quote_that_is_not_in_the_text_is_kept_unverified(tasks: dict[str, Task]) -> None:
    reply = _reply(tasks["ask"], "Jones\nQuote: audited by Jones")
    assert reply == Reply("Jones", (Evidence("", EvidenceStatus.ABSENT, quote="audited by Jones"),))


def test_a_quote_is_looked_for_only_in_what_the_model_was_shown(tasks: dict[str, Task]) -> None:
    answer = completion("1999\nQuote: in 1999")
    reply = parse_answer(tasks["ask"], answer, DocumentSearch(TEXT), (0, 20))
    assert isinstance(reply, Reply) and reply.evidence[0].status is not EvidenceStatus.SHOWN


@pytest.mark.parametrize("answer", ["not stated", "'Not stated.'", "Not  stated\nQuote: in 1999"])
def test_all_spellings_of_not_stated_become_one(tasks: dict[str, Task], answer: str) -> None:
    assert _reply(tasks["ask"], answer) == Reply(NOT_STATED, ())


def test_an_empty_quote_is_ignored(tasks: dict[str, Task]) -> None:
    assert _reply(tasks["ask"], 'Yes\nQuote: ""') == Reply(
        "Yes", (Evidence("", EvidenceStatus.ABSENT),)
    )


def test_with_only_verified_an_unverified_reply_is_none(
    tiny_tokenizer: ChatTokenizer,
) -> None:
    (task,) = tokenize_tasks((ASK.model_copy(update={"only_verified": True}),), tiny_tokenizer)
    bad = Evidence("", EvidenceStatus.ABSENT, quote="audited by Jones")
    assert _reply(task, "Jones\nQuote: audited by Jones") == Reply(None, (bad,))
    near = Evidence("", EvidenceStatus.NEAR, "Smith", 31, 36)
    assert _reply(task, "Smith") == Reply(None, (near,))
    good = _reply(task, "Smith\nQuote: audited by Smith")
    assert isinstance(good, Reply) and good.text == "Smith"


def test_a_repair_question_contains_the_error_within_its_limit(
    tasks: dict[str, Task], tiny_tokenizer: ChatTokenizer
) -> None:
    first = tasks["extract"].question
    again = repair_question(first, "company: 3 is not of type 'string'", tiny_tokenizer)
    assert "company: 3 is not of type 'string'" in again.text
    assert again.token_ids[: len(first.token_ids)] == first.token_ids
    long = repair_question(first, "no " * 1000, tiny_tokenizer)
    assert len(long.token_ids) == len(first.token_ids) + REPAIR_TOKENS
