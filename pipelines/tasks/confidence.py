"""How sure an engine was of the choice it wrote, from the log-probabilities of its tokens.

Knows ids, log-probabilities and choices; nothing of engines or tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

_UNFINISHED = "\ufffd"


def choice_logprob(
    ids: Sequence[int],
    steps: Sequence[Mapping[int, float]],
    choices: Sequence[str],
    read: Callable[[Sequence[int]], str],
) -> float:
    """The natural logarithm of the probability of what was written, among all choices.

    `steps` has for each written token the log-probabilities of the likeliest tokens that were
    allowed there, `read` makes ids into text. A choice can be spelled in many tokens, and all ways
    to spell it count: at each step, only what leads to another choice is lost. Where all choices
    but one are out, nothing more can be.
    """
    written = read(ids)
    total = 0.0
    for step, likeliest in enumerate(steps):
        before = list(ids[:step])
        so_far = read(before)
        if sum(choice.startswith(_whole(so_far)) for choice in choices) == 1:
            break
        texts = {token: read([*before, token]) for token in likeliest}
        leading = [
            likeliest[token]
            for token, text in texts.items()
            # a token without a text ends the answer
            if (written == text if text == so_far else written.startswith(_whole(text)))
        ]
        # what was written has been read token by token, so there is at least that one
        total += math.log(min(1.0, math.fsum(map(math.exp, leading)))) if leading else 0.0
    return total


def _whole(text: str) -> str:
    """A text without a last character of which only some bytes are there."""
    return text.rstrip(_UNFINISHED)
