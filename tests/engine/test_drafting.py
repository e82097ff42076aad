"""Tests of guessed tokens, on rows of made-up token ids that a faked engine generates."""

from __future__ import annotations

import pickle
import random
from collections.abc import Sequence

import numpy as np
import pytest

from pipelines.engine.drafting import Drafter, DraftSettings

START, END, QUESTION = 1, 2, 3
SETTINGS = DraftSettings(
    max_tokens=8,
    free_tokens=1000,
    answer_start=(END, START),
    question_start=(QUESTION,),
    never=frozenset({START, END}),
)
WIDTH = 400


class Engine:
    """Generates given answers as an engine does that verifies drafts, and counts its steps.

    A step generates the tokens of the draft up to the first wrong one, and one more.
    """

    def __init__(self, drafter: Drafter, rows: int = 4) -> None:
        self.drafter = drafter
        self.tokens = np.zeros((rows, WIDTH), np.int32)
        self.lengths = np.zeros(rows, np.int32)
        self.answers: list[list[int]] = [[] for _ in range(rows)]
        self.drafts: list[list[int]] = [[] for _ in range(rows)]
        self.steps = 0

    def put(self, row: int, prompt: Sequence[int], answer: Sequence[int], done: int = 0) -> None:
        """Put a prompt into a row, with the first `done` tokens of its answer."""
        whole = [*prompt, *answer]
        self.tokens[row, : len(whole)] = whole
        self.lengths[row] = len(prompt) + done
        self.answers[row] = list(answer[done:])
        self.drafts[row] = []

    def swap(self, one: int, other: int) -> None:
        """Let two rows change places, as vLLM does between steps."""
        for array in (self.tokens, self.lengths):
            array[[one, other]] = array[[other, one]]
        for items in (self.answers, self.drafts):
            items[one], items[other] = items[other], items[one]

    def step(self) -> None:
        """Generate tokens of every unfinished answer, and have the next ones guessed."""
        sampled = []
        for row, (answer, draft) in enumerate(zip(self.answers, self.drafts, strict=True)):
            right = 0
            while right < min(len(draft), len(answer) - 1) and draft[right] == answer[right]:
                right += 1
            sampled.append(answer[: right + 1])
            self.steps += bool(answer)
            self.lengths[row] += len(sampled[-1])
            del answer[: right + 1]
        # what lies behind a row's length are drafts and remains of longer rows
        rows = self.tokens.copy()
        for row, length in enumerate(self.lengths):
            rows[row, length:] = 7
        self.drafts = self.drafter.propose(sampled, self.lengths, rows)

    def finish(self) -> int:
        """Generate all answers, and return the number of steps per token."""
        while any(self.answers):
            self.step()
        return self.steps


def document(seed: int, length: int = 60) -> list[int]:
    return random.Random(seed).choices(range(100, 5000), k=length)  # noqa: S311


def prompt(words: Sequence[int], question: int) -> list[int]:
    return [*words, QUESTION, 10, question, END, START]


def steps_of(drafter: Drafter, words: Sequence[int], question: int, answer: Sequence[int]) -> int:
    engine = Engine(drafter)
    engine.put(0, prompt(words, question), [*answer, END])
    return engine.finish()


def test_words_of_the_document_are_continued() -> None:
    words = document(1)
    assert steps_of(Drafter(SETTINGS), words, 11, words[20:50]) <= 12


def test_an_unknown_answer_takes_a_step_for_each_token() -> None:
    assert steps_of(Drafter(SETTINGS), document(1), 11, document(2, 30)) == 31


def form(value: Sequence[int], other: Sequence[int]) -> list[int]:
    """Return an answer with the structure of a form and two values."""
    return [20, 21, 22, 23, *value, 24, 25, 26, 27, 28, *other, 24, 29, 30]


def test_the_structure_of_a_form_is_learned_from_earlier_answers() -> None:
    drafter = Drafter(SETTINGS)
    values = random.Random(0)  # noqa: S311
    steps = [
        steps_of(
            drafter,
            document(number),
            11,
            form(values.choices(range(6000, 9000), k=2), values.choices(range(6000, 9000), k=3)),
        )
        for number in range(8)
    ]
    assert steps[0] >= 18
    assert max(steps[-3:]) <= 11


def test_the_place_where_answers_begin_to_copy_is_learned() -> None:
    # each document states a value of its own after the words 51, 52; then a word 53
    drafter, steps = Drafter(SETTINGS), []
    for number in range(10):
        words, value = document(number), document(100 + number, 4)
        words[30:30] = [51, 52, *value, 53]
        steps.append(steps_of(drafter, words, 11, form(value, value)))
    assert max(steps[-3:]) <= 7


def test_answers_to_another_question_have_a_memory_of_their_own() -> None:
    drafter = Drafter(SETTINGS)
    for number in range(6):
        steps_of(drafter, document(number), 11, form([40], [41]))
    assert steps_of(drafter, document(7), 11, form([40], [41])) <= 4
    assert steps_of(drafter, document(8), 12, form([42], [43])) >= 12


def test_rows_that_move_keep_their_answers() -> None:
    drafter = Drafter(SETTINGS)
    engine, still = Engine(drafter), Engine(Drafter(SETTINGS))
    for row in range(3):
        for one in (engine, still):
            one.put(row, prompt(document(row), 11 + row), [*document(row)[10:40], END])
    while any(engine.answers):
        engine.step()
        engine.swap(0, 2)
        engine.swap(1, 3)
    assert engine.steps == still.finish()


def test_an_answer_that_was_away_is_taken_up_where_it_was() -> None:
    drafter, words = Drafter(SETTINGS), document(1)
    engine = Engine(drafter)
    answer = [*words[10:50], END]
    engine.put(0, prompt(words, 11), answer)
    for _ in range(5):
        engine.step()
    done = len(answer) - len(engine.answers[0])
    # preempted: another prompt takes the row
    engine.put(0, prompt(document(2), 12), [*document(2)[5:20], END])
    engine.finish()
    engine.put(1, prompt(words, 11), answer, done)
    engine.steps = 0
    assert engine.finish() <= 6


def test_tokens_generated_without_a_call_are_read_later() -> None:
    drafter, words = Drafter(SETTINGS), document(1)
    engine = Engine(drafter)
    engine.put(0, prompt(words, 11), [*words[10:50], END])
    for _ in range(4):
        engine.step()
    known = drafter._rows[0]
    engine.lengths[0] += 3
    del engine.answers[0][:3]
    engine.drafts[0] = []
    assert engine.finish() <= 9
    assert drafter._rows[0] is known


def test_a_reused_row_with_a_prompt_of_the_same_length_is_a_new_answer() -> None:
    drafter = Drafter(SETTINGS)
    engine = Engine(drafter, rows=1)
    for number in range(3):
        words = document(number)
        engine.put(0, prompt(words, 11), [*words[10:40], END])
        engine.step()
    assert all(token in document(2) for token in engine.drafts[0])


def test_a_longer_question_about_the_same_document_is_a_new_answer() -> None:
    drafter, words = Drafter(SETTINGS), document(1)
    engine = Engine(drafter, rows=1)
    engine.put(0, prompt(words, 11), [*words[10:14], END])
    engine.finish()
    engine.put(0, [*words, QUESTION, *range(4000, 4040), END, START], [*words[30:50], END])
    engine.step()
    assert len(drafter._memories) == 2


def test_a_prompt_in_the_middle_of_its_computation_gets_no_draft() -> None:
    drafter = Drafter(SETTINGS)
    rows = np.array([prompt(document(1), 11)], np.int32)
    assert drafter.propose([[]], np.array([rows.shape[1]], np.int32), rows) == [[]]


def test_tokens_that_end_an_answer_are_not_guessed() -> None:
    drafter, drafted = Drafter(SETTINGS), []
    for number in range(6):
        engine = Engine(drafter)
        engine.put(0, prompt(document(number), 11), [20, 21, 22, END])
        while any(engine.answers):
            engine.step()
            drafted += engine.drafts[0]
    assert drafted and END not in drafted


def test_drafts_have_at_most_the_set_number_of_tokens() -> None:
    drafter, words = Drafter(SETTINGS), document(1)
    engine = Engine(drafter)
    engine.put(0, prompt(words, 11), [*words[5:55], END])
    longest = 0
    while any(engine.answers):
        engine.step()
        longest = max(longest, len(engine.drafts[0]))
    assert longest == SETTINGS.max_tokens


def test_a_prompt_without_the_known_beginnings_is_drafted_too() -> None:
    drafter, words = Drafter(SETTINGS), document(1)
    engine = Engine(drafter)
    engine.put(0, words, words[20:50])
    assert engine.finish() <= 12


def test_a_question_whose_guesses_save_no_steps_is_guessed_rarely_until_they_do() -> None:
    drafter = Drafter(SETTINGS)
    for number in range(60):
        unknown = range(10_000 + 10 * number, 10_010 + 10 * number)
        assert steps_of(drafter, document(number), 5, unknown) == 11  # one ends it
    steps = []
    for number in range(60, 100):
        words = document(number)
        steps.append(steps_of(drafter, words, 5, words[10:40]))
    assert [taken < 30 for taken in steps[:8]].count(True) == 1
    assert max(steps[-20:]) < 15


def test_memory_is_bounded() -> None:
    drafter = Drafter(SETTINGS)
    sizes = []
    for number in range(120):
        steps_of(drafter, document(number), number + 100, document(number + 1000, 100))
        sizes.append(len(pickle.dumps(drafter._memories)))
    assert len(drafter._memories) <= 32
    assert max(sizes[60:]) < 1.2 * max(sizes[:60])


@pytest.mark.parametrize("rows", [1, 16, 64])
def test_a_guess_beside_many_rows_must_be_more_probable(rows: int) -> None:
    settings = DraftSettings(8, 64, (START,), (), frozenset())
    more = settings.least_probability(2 * rows)
    assert 0.1 <= settings.least_probability(rows) <= more < 1
