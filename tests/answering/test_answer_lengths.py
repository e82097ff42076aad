from __future__ import annotations

from pipelines.answering.answer_lengths import (
    KNOWN_AFTER,
    LEAST_FACTOR,
    MOST_FACTOR,
    AnswerLengths,
)

QUESTION = "Who is the owner?"


def _known(tokens: int, answers: int = KNOWN_AFTER) -> AnswerLengths:
    lengths = AnswerLengths()
    for _ in range(answers):
        lengths.record(QUESTION, tokens)
    return lengths


def test_the_limit_is_expected_until_enough_answers_are_known() -> None:
    assert AnswerLengths().expected(QUESTION, 128) == 128
    assert _known(10, KNOWN_AFTER - 1).expected(QUESTION, 128) == 128
    assert _known(10).expected(QUESTION, 128) == 15


def test_the_answers_to_other_questions_do_not_count() -> None:
    assert _known(10).expected("What is it?", 128) == 128


def test_no_more_than_the_limit_is_expected() -> None:
    assert _known(100).expected(QUESTION, 128) == 128


def test_the_expected_length_follows_the_latest_answers() -> None:
    lengths = _known(10, 1000)
    for _ in range(200):
        lengths.record(QUESTION, 60)
    assert 80 <= lengths.expected(QUESTION, 128) <= 90


def test_a_preemption_doubles_the_expected_length() -> None:
    lengths = _known(10)
    lengths.back_off()
    assert lengths.expected(QUESTION, 128) == 30


def test_the_preemptions_of_requests_that_were_admitted_before_count_once() -> None:
    lengths = _known(10)
    for _ in range(5):
        lengths.back_off()
        lengths.record(QUESTION, 10)
    assert lengths.factor == 2 * LEAST_FACTOR


def test_preemptions_that_go_on_end_in_reservations_of_the_whole_limit() -> None:
    lengths = _known(10)
    for _ in range(200):
        lengths.record(QUESTION, 10)
        lengths.back_off()
    assert lengths.factor == MOST_FACTOR
    assert lengths.expected(QUESTION, 500) == 500


def test_the_factor_declines_to_its_least_value_while_nothing_is_preempted() -> None:
    lengths = _known(10)
    lengths.back_off()
    raised = lengths.factor
    for _ in range(100):
        lengths.record(QUESTION, 10)
    assert lengths.factor == raised
    for _ in range(1000):
        lengths.record(QUESTION, 10)
    assert lengths.factor == LEAST_FACTOR


def test_the_questions_that_were_not_asked_for_long_are_forgotten() -> None:
    lengths = _known(10)
    for number in range(5000):
        lengths.record(f"question {number}", 10)
        lengths.record("asked again and again", 10)
    assert lengths.expected(QUESTION, 128) == 128
    assert lengths.expected("asked again and again", 128) == 15
