"""Learns from the answers to one question which tokens the next answer will have.

Notes for each context, the last tokens before a place, which token came next. It so learns within a
few answers what a schema forces and what the answers to a question have in common. Each rule of
guessing has a record of how often it was right, which is the probability of its next guess. Knows
token ids only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

NO_TOKEN = -1
"""Stands before an answer's first token, and in `symbols` for a run of tokens that answers do not
have in common."""
CONTEXT = 10
"""The number of tokens or symbols before a place on which a guess depends, at most."""
MAX_MATCHED = 8
"""The number of copied tokens above which more of them do not make the next one more likely."""
_TOKENS, _FEW_SYMBOLS = 3, 4
_MAX_HITS = 4
# The least probability of a token that counts as common, and of one of which a rule is sure.
_COMMON, _SURE = 0.5, 0.9
# Contexts of each kind that are kept, twice: those that occurred last, and those before them.
_HALF_CONTEXTS = 4096
# A new record weighs as much as this many guesses. At the second number its weight is halved.
_FIRST_GUESSES, _MAX_GUESSES = 4.0, 256.0
# Guesses for a question pay if they saved this share of steps, known after so many of them. At
# the last number their weight is halved.
_LEAST_SAVED, _TRIED_STEPS, _MAX_STEPS = 0.05, 512, 2048

Value = TypeVar("Value")
Context = int | tuple[int, ...]


class Record:
    """The share of a rule's guesses that were right, lately, as `probability`."""

    __slots__ = ("_guesses", "_right", "probability")

    def __init__(self, expected: float) -> None:
        self.probability = expected
        self._guesses = _FIRST_GUESSES
        self._right = _FIRST_GUESSES * expected

    def count(self, right: bool) -> None:
        """Add a guess."""
        self._guesses += 1
        self._right += right
        self.probability = self._right / self._guesses
        if self._guesses >= _MAX_GUESSES:
            self._guesses /= 2
            self._right /= 2


Guess = tuple[int, float, Record | None]
"""A token that may come next, the probability that it does, and the record of the rule that guessed
it, if this rule is so sure that it learns nothing when it is right."""
NOTHING: Guess = NO_TOKEN, 0.0, None
"""No guess."""


class _Experience(Generic[Value]):
    """Remembers what came after each context lately, and its hits: how often in a row, at most 4.

    The size is bounded: contexts that have not occurred for a long time are forgotten.
    """

    __slots__ = ("_newer", "_older", "records")

    def __init__(self, *expected: float) -> None:
        """`expected` are the probabilities of a guess after 1 to 4 hits, for new records."""
        self.records = [Record(probability) for probability in (0.0, *expected)]
        self._newer: dict[Context, tuple[Value, int]] = {}
        self._older: dict[Context, tuple[Value, int]] = {}

    def get(self, context: Context) -> tuple[Value, int] | None:
        """Return the value expected after `context` and its hits; None if nothing is known."""
        return self._newer.get(context) or self._older.get(context)

    def learn(self, context: Context, value: Value) -> None:
        """Note that `value` came after `context`."""
        entry = self._newer.get(context)
        if entry is None:
            entry = self._older.get(context)
            if entry is None:
                self._put(context, (value, 1))
                return
            self._put(context, entry)
        known, hits = entry
        right = known == value
        self.records[hits].count(right)
        if not right:
            self._newer[context] = (known, hits // 2) if hits > 1 else (value, 1)
        elif hits < _MAX_HITS:
            self._newer[context] = (value, hits + 1)

    def _put(self, context: Context, entry: tuple[Value, int]) -> None:
        if len(self._newer) >= _HALF_CONTEXTS:
            self._older, self._newer = self._newer, {}
        self._newer[context] = entry


class TaskMemory:
    """Remembers the answers to one question: their tokens, and what they copied from the prompt.

    Attributes:
        answers: the number of answers, begun ones included.
        ends: the token with which an answer stopped copying where the prompt has the context.
        beginnings: two tokens of the prompt, after which an answer began to copy at the context:
            its own last three tokens.
        copies: records of copying one more token after so many.
    """

    def __init__(self) -> None:
        self._by_token = _Experience[int](0.3, 0.5, 0.6, 0.7)
        self._by_tokens = _Experience[int](0.6, 0.7, 0.8, 0.9)
        self.answers = 0
        self._by_few_symbols = _Experience[int](0.5, 0.6, 0.7, 0.8)
        self._by_symbols = _Experience[int](0.7, 0.8, 0.9, 0.95)
        self.ends = _Experience[int](0.3, 0.4, 0.5, 0.6)
        self.beginnings = _Experience[tuple[int, int]](0.3, 0.4, 0.5, 0.6)
        self.copies = [Record(0.3 + 0.08 * matched) for matched in range(MAX_MATCHED + 1)]
        self._steps = self._saved = 0

    @property
    def pays(self) -> bool:
        """True if guesses saved steps lately, or if there were too few steps to tell."""
        return self._steps < _TRIED_STEPS or self._saved >= _LEAST_SAVED * self._steps

    def count_step(self, tokens: int) -> None:
        """Add a step that generated `tokens` tokens of an answer: all but one were guessed."""
        self._steps += 1
        self._saved += tokens - 1
        if self._steps >= _MAX_STEPS:
            self._steps //= 2
            self._saved //= 2

    def sure(self, symbols: Sequence[int]) -> tuple[int, Record] | None:
        """Return the token after an answer that ends with `symbols`, and the record of the rule, if
        it was always the same lately and the rule is mostly right; else None."""
        entry = self._by_symbols.get(tuple(symbols[-CONTEXT:]))
        record = self._by_symbols.records[_MAX_HITS]
        if entry is None or entry[1] < _MAX_HITS or record.probability < _SURE:
            return None
        return entry[0], record

    def guess(self, tokens: Sequence[int], symbols: Sequence[int]) -> Guess:
        """Return the likeliest token after an answer that ends with `tokens` and `symbols`, both of
        at least CONTEXT entries; NOTHING if nothing is known of such a place."""
        sure = self.sure(symbols)
        if sure is not None:
            return sure[0], sure[1].probability, sure[1]
        best, highest = NO_TOKEN, 0.0
        for experience, context in (
            (self._by_symbols, tuple(symbols[-CONTEXT:])),
            (self._by_few_symbols, tuple(symbols[-_FEW_SYMBOLS:])),
            (self._by_tokens, tuple(tokens[-_TOKENS:])),
            (self._by_token, tokens[-1]),
        ):
            entry = experience.get(context)
            if entry is not None:
                probability = experience.records[entry[1]].probability
                if probability > highest:
                    best, highest = entry[0], probability
        return best, highest, None

    def learn(self, tokens: Sequence[int], symbols: Sequence[int], token: int) -> None:
        """Note that `token` came after an answer that ended with `tokens` and `symbols`."""
        self._by_symbols.learn(tuple(symbols[-CONTEXT:]), token)
        self._by_few_symbols.learn(tuple(symbols[-_FEW_SYMBOLS:]), token)
        self._by_tokens.learn(tuple(tokens[-_TOKENS:]), token)
        self._by_token.learn(tokens[-1], token)

    def is_common(self, tokens: Sequence[int], symbols: Sequence[int], token: int) -> bool:
        """Return whether `token` was to be expected here, as a part that answers have in common."""
        expected, probability, _ = self.guess(tokens, symbols)
        return expected == token and probability >= _COMMON

    def guess_end(self, context: tuple[int, int]) -> tuple[int, float]:
        """Return the token with which an answer stops copying at `context`: the token with which
        the prompt goes on, and the common one before the copied words. (NO_TOKEN, 0.0) if answers
        have not stopped there."""
        entry = self.ends.get(context)
        if entry is None:
            return NO_TOKEN, 0.0
        return entry[0], self.ends.records[entry[1]].probability

    def learn_copy(self, matched: int, context: tuple[int, int], token: int) -> None:
        """Note that `token` came after `matched` copied tokens, at `context` as in `guess_end`."""
        copied = token == context[0]
        self.copies[matched].count(copied)
        if not copied or self.ends.get(context) is not None:
            self.ends.learn(context, token)
