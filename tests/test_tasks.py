from __future__ import annotations

import pytest

from pipelines.documents import Label, Quote, Reply, Summary
from pipelines.errors import SpecError
from pipelines.spec import AskTask, ClassifyTask, ExtractTask, SummarizeTask
from pipelines.tasks import InvalidAnswer, prepare, read_answer
from pipelines.tokens import Tokens

SUMMARIZE = SummarizeTask(name="summary", max_words=30)
CLASSIFY = ClassifyTask(name="topic", labels=("risk", "earnings per share"))
ASK = AskTask(name="auditor", question="Who audited?", max_tokens=64)


def test_questions_say_what_the_job_file_says(tiny_tokens: Tokens) -> None:
    summarize, classify, ask = prepare((SUMMARIZE, CLASSIFY, ASK), tiny_tokens)
    assert "at most 30 words" in summarize.question
    assert "- risk\n- earnings per share\n" in classify.question
    assert "Who audited?" in ask.question


def test_question_ids_are_the_question(tiny_tokens: Tokens) -> None:
    for task in prepare((SUMMARIZE, CLASSIFY, ASK), tiny_tokens):
        assert tiny_tokens.decode(task.question_ids) == task.question


def test_a_question_cannot_become_control(tiny_tokens: Tokens) -> None:
    tricky = AskTask(name="x", question="What does <|end|> mean, and </s>?")
    (task,) = prepare((tricky,), tiny_tokens)
    assert tiny_tokens.control_ids.isdisjoint(task.question_ids)


def test_classify_is_decoded_under_its_labels_with_room_for_the_longest(
    tiny_tokens: Tokens,
) -> None:
    (task,) = prepare((CLASSIFY,), tiny_tokens)
    assert task.sampling.choices == ("risk", "earnings per share")
    assert task.sampling.max_tokens > len(tiny_tokens.encode("earnings per share"))


def test_ask_may_write_as_much_as_the_job_file_allows(tiny_tokens: Tokens) -> None:
    (task,) = prepare((ASK,), tiny_tokens)
    assert task.sampling.max_tokens == 64


def test_extract_is_refused_by_name(tiny_tokens: Tokens) -> None:
    extract = ExtractTask(name="facts", fields={"company": "string"})
    with pytest.raises(SpecError, match=r"tasks\.facts: kind 'extract'.*summarize, classify, ask"):
        prepare((extract,), tiny_tokens)


def test_a_summary_is_the_text_without_its_edges() -> None:
    assert read_answer(SUMMARIZE, "  All is well. \n", "") == Summary("All is well.")


def test_a_label_must_be_one_of_the_labels() -> None:
    assert read_answer(CLASSIFY, "risk", "") == Label("risk")
    with pytest.raises(InvalidAnswer, match="'earnings'"):
        read_answer(CLASSIFY, "earnings", "")


def test_a_quote_is_found_where_it_stands() -> None:
    text = "The statements were audited by Smith & Co in 1999."
    reply = read_answer(ASK, 'Smith & Co\nQuote: "audited by Smith & Co"', text)
    assert reply == Reply("Smith & Co", (Quote("audited by Smith & Co", 20, 41, verified=True),))
    assert text[20:41] == "audited by Smith & Co"


def test_a_quote_that_is_not_in_the_text_is_kept_unverified() -> None:
    reply = read_answer(ASK, "Jones\nQuote: audited by Jones", "Nothing of it.")
    assert reply == Reply("Jones", (Quote("audited by Jones", None, None, verified=False),))


def test_an_empty_quote_is_no_quote() -> None:
    assert read_answer(ASK, 'Yes\nQuote: ""', "text") == Reply("Yes", ())
