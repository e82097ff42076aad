"""Guesses the next tokens of answers, for speculative decoding: the model then verifies the guess.

Works on rows of token ids only: a row is a prompt, and the tokens of its answer so far. Finds out
which rows go on, and to which question they answer; `drafted_answer` makes the guesses. Knows no
engine, no tokenizer and no schema. A wrong guess costs time and changes no answer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.engine.draft_memory import TaskMemory
from pipelines.engine.drafted_answer import Answer
from pipelines.engine.prompt_places import PromptPlaces, Tokens

# Questions whose answers are remembered. Of more, that with the oldest request is forgotten.
_MAX_QUESTIONS = 32
# The least probability at which all tokens of a guess are right, however cheap they are.
_LEAST_PROBABILITY = 0.1
# A question is looked for in so many last tokens of a prompt, and the begin of an answer first in
# so many last tokens of a row.
_NEAR_TOKENS = 1024
# Last tokens of a prompt that stand for its question if no question begins near its end.
_QUESTION_TOKENS = 24
# So many answers to a question may copy its words, such as a form's. Later ones know them.
_COPYING_QUESTIONS = 2
# Tokens at each of two places of a document, and of a question, by which a row is recognized.
_MARK_TOKENS, _MARK_QUESTION_TOKENS = 8, 64
# Of the answers to a question whose guesses save no steps, one in so many is still guessed.
_TRIED_EVERY = 8


@dataclass(frozen=True, slots=True)
class DraftSettings:
    """Sets how a Drafter finds answers in rows, and how many tokens it guesses.

    Attributes:
        max_tokens: the maximum number of tokens of a guess.
        free_tokens: how many verified tokens cost as much time as a step of the engine costs
            besides them. A token is guessed only if its probability outweighs its cost.
        answer_start: the token ids with which every prompt ends.
        question_start: the token ids with which the question in a prompt begins.
        never: the token ids that are not guessed. A token that ends an answer must be one of them:
            the engine generates it anyway in the step that verifies the guess before it.
    """

    max_tokens: int
    free_tokens: int
    answer_start: tuple[int, ...]
    question_start: tuple[int, ...]
    never: frozenset[int]

    def least_probability(self, rows: int) -> float:
        """Return the least probability of a token that is worth verifying, beside `rows` rows."""
        return max(_LEAST_PROBABILITY, 1 / (1 + self.free_tokens / rows))


@dataclass(slots=True)
class _Row:
    """A row at the last call: tokens of its prompt by which it is recognized, and its answer.

    An `idle` row is neither guessed nor learned from, because guesses did not pay lately.
    """

    marks: tuple[int, bytes]
    answer: Answer
    idle: bool


class Drafter:
    """Guesses the next tokens of all answers in progress, and learns from their tokens.

    Rows may move, be swapped, end, and be reused between calls. An answer that was away for some
    calls is read again from its row.
    """

    def __init__(self, settings: DraftSettings) -> None:
        self._settings = settings
        self._answer_start = np.array(settings.answer_start, dtype=np.int32)
        self._question_start = np.array(settings.question_start, dtype=np.int32)
        self._memories: OrderedDict[bytes, TaskMemory] = OrderedDict()
        self._rows: list[_Row | None] = []

    def propose(
        self, sampled: Sequence[Sequence[int]], lengths: NDArray[np.int32], rows: NDArray[np.int32]
    ) -> list[list[int]]:
        """Return a guess for each row: the tokens that may come next, or none.

        Args:
            sampled: the tokens that the last step generated for each row; a row without any is not
                guessed.
            lengths: the number of tokens of each row, `sampled` included.
            rows: the rows, an array of (rows, length) token ids.
        """
        known = self._known(sampled, lengths, rows)
        settings = self._settings
        least = settings.least_probability(max(1, len(known) - known.count(None)))
        drafts: list[list[int]] = []
        for row, tokens, length, line in zip(known, sampled, lengths, rows, strict=False):
            if row is None or row.idle:
                drafts.append([])
                continue
            answer = row.answer
            answer.memory.count_step(len(tokens))
            answer.extend(line[answer.length : length].tolist())
            drafts.append(answer.draft(settings.max_tokens, least, settings.never))
        self._rows = known
        return drafts

    def _known(
        self, sampled: Sequence[Sequence[int]], lengths: NDArray[np.int32], rows: NDArray[np.int32]
    ) -> list[_Row | None]:
        """Return the state of each row that has generated tokens."""
        moved: dict[tuple[int, bytes], _Row] | None = None
        known: list[_Row | None] = []
        for index, tokens in enumerate(sampled):
            if not len(tokens):
                known.append(None)
                continue
            line, before = rows[index], int(lengths[index]) - len(tokens)
            row = self._rows[index] if index < len(self._rows) else None
            if row is None or not _is_of(row, line, before):
                if moved is None:
                    moved = {row.marks: row for row in self._rows if row is not None}
                row = self._found(moved, line, before)
            known.append(row)
        return known

    def _found(self, moved: dict[tuple[int, bytes], _Row], line: Tokens, before: int) -> _Row:
        """Return the state of a row that had `before` tokens, from `moved` or a new one."""
        prompt_length = self._prompt_length(line[:before])
        marks = _marks(line, prompt_length)
        row = moved.pop(marks, None)
        if row is not None and row.answer.length <= before:
            return row
        prompt = line[:prompt_length].copy()
        answer = self._answer(prompt)
        tried = answer.memory.pays or answer.memory.answers % _TRIED_EVERY == 0
        return _Row(marks, answer, idle=not tried)

    def _prompt_length(self, line: Tokens) -> int:
        """Return the length of a row's prompt: it ends with `answer_start`, or else it is all."""
        for near in (line[-_NEAR_TOKENS:], line):
            found = _last_index(near, self._answer_start)
            if found is not None:
                return len(line) - len(near) + found + len(self._answer_start)
        return len(line)

    def _answer(self, prompt: Tokens) -> Answer:
        """Return a new answer to a prompt, with the memory of the answers to its question."""
        near = prompt[-_NEAR_TOKENS:]
        found = _last_index(near, self._question_start)
        question = near[-_QUESTION_TOKENS:] if found is None else near[found:]
        memory = self._memories.pop(question.tobytes(), None) or TaskMemory()
        self._memories[question.tobytes()] = memory
        if len(self._memories) > _MAX_QUESTIONS:
            self._memories.popitem(last=False)
        memory.answers += 1
        known = memory.answers > _COPYING_QUESTIONS
        return Answer(PromptPlaces(prompt, len(prompt) - len(question) * known), memory)


def _is_of(row: _Row, line: Tokens, length: int) -> bool:
    # shorter if the engine made steps without asking for guesses
    return row.answer.length <= length and row.marks == _marks(line, row.marks[0])


def _marks(line: Tokens, prompt_length: int) -> tuple[int, bytes]:
    """Return the length and some tokens of a prompt, by which it is recognized: those of its
    question, and a few of its document, which other questions share."""
    places = (prompt_length // 4, prompt_length // 2)
    document = [line[place : place + _MARK_TOKENS] for place in places]
    question = line[max(0, prompt_length - _MARK_QUESTION_TOKENS) : prompt_length]
    return prompt_length, b"".join(part.tobytes() for part in (*document, question))


def _last_index(tokens: Tokens, wanted: Tokens) -> int | None:
    """Return the index of the last occurrence of `wanted` in `tokens`, or None."""
    if not len(wanted):
        return None
    starts = np.flatnonzero(tokens[: len(tokens) - len(wanted) + 1] == wanted[0])
    for start in reversed(starts.tolist()):
        if np.array_equal(tokens[start : start + len(wanted)], wanted):
            return int(start)
    return None
