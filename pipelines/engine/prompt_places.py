"""Finds places of a prompt at which an answer may go on copying it.

Works on token ids only; knows nothing of answers to other prompts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.engine.draft_memory import MAX_MATCHED, NO_TOKEN

Tokens = NDArray[np.int32]
# A single token says where the answer copies from only if the prompt has it this often at most.
_MAX_SINGLE_PLACES = 4


class PromptPlaces:
    """The places of one prompt by the tokens before them. A place is the index of the next token.

    `tokens` are the first ones of the prompt, from which an answer may copy. They are searched
    without an index, which takes some microseconds where an answer begins to copy.
    """

    __slots__ = ("_after", "prompt_length", "tokens")

    def __init__(self, prompt: Tokens, length: int) -> None:
        """`length` is the number of the first tokens of `prompt` that may be copied."""
        self.prompt_length = len(prompt)
        self.tokens = prompt[:length]
        self._after: dict[tuple[int, int], int | None] = {}

    def after(self, pair: tuple[int, int]) -> int | None:
        """Return the first place after the two tokens `pair`, or None."""
        if pair not in self._after:
            found = self._all_after(pair[1])
            found = found[self.tokens[found - 2] == pair[0]]
            self._after[pair] = int(found[0]) if len(found) else None
        return self._after[pair]

    def within(self, place: int) -> int | None:
        """Return `place`, or None behind the last token."""
        return place if place < len(self.tokens) else None

    def run(self, place: int, count: int) -> list[int]:
        """Return the tokens from `place` on, at most `count`."""
        run: list[int] = self.tokens[place : place + count].tolist()
        return run

    def best(self, answer: Sequence[int]) -> tuple[int | None, int]:
        """Return the place after the longest end of `answer` that the prompt has, and the length of
        that end, at most MAX_MATCHED. Of several such places it is the first.

        None and 0 if the prompt does not have the last token, or has it so often that the place
        cannot be told.
        """
        places = self._all_after(answer[-1])
        single = len(places) <= _MAX_SINGLE_PLACES
        matched = 1
        while len(places) and matched < MAX_MATCHED and answer[-matched - 1] != NO_TOKEN:
            longer = places[self.tokens[places - matched - 1] == answer[-matched - 1]]
            if not len(longer):
                break
            places, matched = longer, matched + 1
            if len(places) == 1:
                return int(places[0]), self._extended(int(places[0]), matched, answer)
        if not len(places) or (matched == 1 and not single):
            return None, 0
        return int(places[0]), matched

    def _extended(self, place: int, matched: int, answer: Sequence[int]) -> int:
        while (
            matched < min(MAX_MATCHED, place, len(answer))
            and self.tokens[place - matched - 1] == answer[-matched - 1]
        ):
            matched += 1
        return matched

    def _all_after(self, token: int) -> NDArray[np.int64]:
        # a place has two tokens before it, and one at it
        return np.flatnonzero(self.tokens[1:-1] == token) + 2
