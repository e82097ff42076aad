from __future__ import annotations

from pipelines.engine.draft_memory import CONTEXT, NO_TOKEN, NOTHING, TaskMemory

EMPTY = [NO_TOKEN] * CONTEXT


def learn(memory: TaskMemory, answer: list[int]) -> None:
    tokens = list(EMPTY)
    for token in answer:
        memory.learn(tokens, tokens, token)
        tokens.append(token)


def test_what_came_next_is_guessed_with_growing_probability() -> None:
    memory, probabilities = TaskMemory(), []
    assert memory.guess(EMPTY, EMPTY) == NOTHING
    for _ in range(8):
        learn(memory, [4, 5, 6])
        token, probability, _ = memory.guess([*EMPTY, 4], [*EMPTY, 4])
        assert token == 5
        probabilities.append(probability)
    assert probabilities == sorted(probabilities) and probabilities[-1] > probabilities[0]


def test_guesses_of_a_question_whose_answers_differ_become_improbable() -> None:
    memory = TaskMemory()
    for number in range(100):
        learn(memory, [4, 100 + number, 200 + number])
    token, probability, _ = memory.guess([*EMPTY, 4], [*EMPTY, 4])
    assert token == 199 and probability < 0.2


def test_the_symbols_tell_places_apart_that_have_the_same_last_tokens() -> None:
    memory, tokens = TaskMemory(), [*EMPTY, 7, 8, 9]
    for _ in range(4):
        memory.learn(tokens, [*EMPTY, 1, NO_TOKEN, 9], 50)
        memory.learn(tokens, [*EMPTY, 2, NO_TOKEN, 9], 60)
    assert memory.guess(tokens, [*EMPTY, 1, NO_TOKEN, 9])[0] == 50
    assert memory.guess(tokens, [*EMPTY, 2, NO_TOKEN, 9])[0] == 60


def test_the_token_after_copied_words_is_learned_by_how_the_prompt_goes_on() -> None:
    memory, line_break, quote = TaskMemory(), 13, 34
    assert memory.guess_end((line_break, 5)) == (NO_TOKEN, 0.0)
    for _ in range(3):
        memory.learn_copy(4, (line_break, 5), quote)
    assert memory.guess_end((line_break, 5))[0] == quote
    assert memory.guess_end((line_break, 6)) == (NO_TOKEN, 0.0)


def test_copying_becomes_as_probable_as_it_was_right() -> None:
    memory = TaskMemory()
    for number in range(200):
        memory.learn_copy(3, (100 + number, 5), 100 + number if number % 4 else 7)
    assert 0.7 < memory.copies[3].probability < 0.8
