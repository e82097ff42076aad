"""Confidence of a decoded choice, computed from the log-probabilities of its tokens.

Knows token ids, log-probabilities and choices; knows no engine and no tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass

# What a tokenizer decodes an incomplete UTF-8 sequence to.
_REPLACEMENT = "\ufffd"


def choice_logprob(
    ids: Sequence[int],
    steps: Sequence[Mapping[int, float]],
    choices: Sequence[str],
    decode: Callable[[Sequence[int]], str],
    ends: Container[int],
) -> float:
    """Return the natural logarithm of the probability of the choice that an engine generated.

    A choice may be generated with or without a blank before it, and can be tokenized in several
    ways; the probabilities of all of them count. A token that leads to the generated choice only
    counts fully, and one that leads to another choice only is lost. A token that may lead to both,
    such as a blank, counts by the probability of the choice after it: after the generated token it
    is computed from the later steps, and after another one it is taken to be that among the tokens
    that decide. Once a single choice is left, later steps cannot change the result.

    Args:
        ids: the generated token ids, which decode to the generated choice, one of `choices`.
        steps: for each generated token, the log-probabilities of the most likely allowed tokens
            at that position, by token id.
        choices: all texts that the engine was allowed to generate.
        decode: returns the text of token ids, without those in `ends`.
        ends: the ids of tokens that end an answer.

    The result is at most 0. A step that does not report the generated token counts as certain, and
    so does an answer that is not one of `choices`, because it reached its limit of tokens.
    """
    tree = _Choices(choices, decode, ends, _text(decode, ids))
    if tree.generated not in choices:
        return 0.0
    probability = 1.0
    for step in reversed(range(tree.undecided_steps(ids))):
        likeliest = steps[step]
        if ids[step] in likeliest:
            probability = tree.probability(ids[:step], ids[step], likeliest, probability)
    return math.log(probability)


@dataclass(frozen=True, slots=True)
class _Choices:
    """The texts that an answer may be, and the one that was generated.

    `decode` and `ends` are those of `choice_logprob`.
    """

    choices: Sequence[str]
    decode: Callable[[Sequence[int]], str]
    ends: Container[int]
    generated: str

    def undecided_steps(self, ids: Sequence[int]) -> int:
        """Return how many of the generated tokens `ids` were generated while several choices were
        possible."""
        for step in range(len(ids)):
            if len(self._possible(_text(self.decode, ids[:step]))) == 1:
                return step
        return len(ids)

    def probability(
        self, prefix: Sequence[int], token: int, likeliest: Mapping[int, float], later: float
    ) -> float:
        """Return the probability of the generated choice after the ids `prefix`.

        `likeliest` are the log-probabilities of the next tokens, of which `token` was generated;
        `later` is the probability of the generated choice after it.
        """
        decided = others = undecided = 0.0
        for other, logprob in likeliest.items():
            leads_to = self._led_to([*prefix, other])
            if other == token and len(leads_to) > 1:
                decided += math.exp(logprob) * later
                others += math.exp(logprob) * (1 - later)
            elif self.generated not in leads_to:
                others += math.exp(logprob)
            elif len(leads_to) > 1:
                undecided += math.exp(logprob)
            else:
                decided += math.exp(logprob)
        # the generated token leads to the generated choice, so one of both is above 0
        return min(1.0, decided + undecided * decided / (decided + others))

    def _led_to(self, ids: Sequence[int]) -> list[str]:
        """Return the choices that an answer that begins with `ids` can be."""
        text = _text(self.decode, ids)
        if ids[-1] in self.ends:
            return [choice for choice in self.choices if choice == text]
        return self._possible(text)

    def _possible(self, text: str) -> list[str]:
        return [choice for choice in self.choices if choice.startswith(text)]


def _text(decode: Callable[[Sequence[int]], str], ids: Sequence[int]) -> str:
    """Return the text of an answer's ids, without a blank before it and without a character of
    which only some bytes are decoded."""
    return decode(ids).removeprefix(" ").rstrip(_REPLACEMENT)
