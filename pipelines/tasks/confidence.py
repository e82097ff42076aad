"""Confidence of a decoded choice, computed from the log-probabilities of its tokens.

Knows token ids, log-probabilities and choices; knows no engine and no tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

# What a tokenizer decodes an incomplete UTF-8 sequence to.
_REPLACEMENT = "\ufffd"


def choice_logprob(
    ids: Sequence[int],
    steps: Sequence[Mapping[int, float]],
    choices: Sequence[str],
    decode: Callable[[Sequence[int]], str],
) -> float:
    """Return the natural logarithm of the probability of the choice that an engine generated.

    The same choice can be tokenized in several ways, and the probabilities of all of them count:
    at each step, only the probability of tokens that lead to another choice is lost. Once a single
    choice is left, later steps cannot change the result.

    Args:
        ids: the generated token ids, which decode to the generated choice, one of `choices`.
        steps: for each generated token, the log-probabilities of the most likely allowed tokens
            at that position, by token id.
        choices: all texts that the engine was allowed to generate.
        decode: returns the text of token ids.

    The result is at most 0. A step in which no reported token leads to the generated choice counts
    as certain.
    """
    generated = decode(ids)
    total = 0.0
    for step, likeliest in enumerate(steps):
        prefix = list(ids[:step])
        prefix_text = decode(prefix)
        if sum(choice.startswith(_complete_characters(prefix_text)) for choice in choices) == 1:
            break
        texts = {token: decode([*prefix, token]) for token in likeliest}
        matching = [
            likeliest[token]
            for token, text in texts.items()
            # a token without text ends the answer
            if (
                generated == text
                if text == prefix_text
                else generated.startswith(_complete_characters(text))
            )
        ]
        # empty only if the generated token is not among those reported
        total += math.log(min(1.0, math.fsum(map(math.exp, matching)))) if matching else 0.0
    return total


def _complete_characters(text: str) -> str:
    """Return the text without a trailing character of which only some bytes are decoded."""
    return text.rstrip(_REPLACEMENT)
