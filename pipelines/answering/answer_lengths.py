"""Expected lengths of answers, from the answers that one engine has given so far.

Answers are mostly much shorter than their limits. KV cache is therefore reserved for the expected
length, a multiple of the running mean for the same question. If the engine then runs out of KV
cache, the multiple is raised, so that long answers cost no more than reservations of whole limits.

Pure: no Ray, no vLLM, no files.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

LEAST_FACTOR, MOST_FACTOR = 1.5, 64.0
"""The multiple of the mean length that is expected, at least and at most."""
KNOWN_AFTER = 8
"""The number of answers to a question from which on its mean length is used."""
# The mean is that of about so many of the latest answers, so that it follows the corpus.
_RECENT_ANSWERS = 64
# Requests in flight when the factor is raised were admitted by the smaller one, and may cause more
# preemptions: for so many answers the factor is not raised again.
_ANSWERS_PER_RAISE = 16
_RAISE = 2.0
# After so many answers without a preemption the factor is lowered.
_ANSWERS_PER_DECLINE = 128
_DECLINE = 0.8
# Clients of an endpoint may ask any number of different questions.
_MOST_QUESTIONS = 4096


@dataclass(slots=True)
class _Mean:
    """The running mean of the answers to one question, in tokens, and their number."""

    answers: int = 0
    tokens: float = 0.0

    def add(self, tokens: int) -> None:
        self.answers += 1
        self.tokens += (tokens - self.tokens) / min(self.answers, _RECENT_ANSWERS)


class AnswerLengths:
    """Learns the lengths of the answers to each question, and returns the length to expect.

    Attributes:
        factor: the multiple of the mean length that is expected.
    """

    def __init__(self) -> None:
        self.factor = LEAST_FACTOR
        self._means: OrderedDict[int, _Mean] = OrderedDict()
        self._calm_answers = _ANSWERS_PER_RAISE

    def expected(self, question: str, max_tokens: int) -> int:
        """Return for how many tokens of an answer to `question` to reserve KV cache.

        The result is at most `max_tokens`, the limit of the answer, and equal to it as long as too
        few answers to this question are known.
        """
        mean = self._means.get(hash(question))
        if mean is None or mean.answers < KNOWN_AFTER:
            return max_tokens
        return min(max_tokens, math.ceil(self.factor * mean.tokens))

    def record(self, question: str, tokens: int) -> None:
        """Record that an answer to `question` had `tokens` tokens."""
        self._calm_answers += 1
        if self._calm_answers % _ANSWERS_PER_DECLINE == 0:
            self.factor = max(LEAST_FACTOR, self.factor * _DECLINE)
        key = hash(question)
        mean = self._means.setdefault(key, _Mean())
        self._means.move_to_end(key)
        if len(self._means) > _MOST_QUESTIONS:
            self._means.popitem(last=False)
        mean.add(tokens)

    def back_off(self) -> None:
        """Expect longer answers from now on, because the engine ran out of KV cache.

        Requests that were admitted before have no effect on the factor a second time: until some
        answers were recorded, further calls change nothing.
        """
        if self._calm_answers >= _ANSWERS_PER_RAISE:
            self.factor = min(MOST_FACTOR, self.factor * _RAISE)
            self._calm_answers = 0
