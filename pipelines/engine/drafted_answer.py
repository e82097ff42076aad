"""One answer in progress: guesses its next tokens, and learns from those that were generated.

The guesses have three sources: what earlier answers to the same question had at this place, which
includes what a schema forces; the continuation in the prompt of the words just written; and the
place in the prompt from which earlier answers began to copy, found by the words before it. Knows
token ids only.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple

from pipelines.engine.draft_memory import (
    CONTEXT,
    MAX_MATCHED,
    NO_TOKEN,
    NOTHING,
    Record,
    TaskMemory,
)
from pipelines.engine.prompt_places import PromptPlaces

# The number of the prompt's tokens by which the place is found at which an answer begins to copy.
_FOUND_BY = 2
_NO_PAIR = (NO_TOKEN, NO_TOKEN)


class Source(Enum):
    """The source of a guessed token."""

    MEMORY = auto()
    COPY = auto()
    BEGINNING = auto()


class Step(NamedTuple):
    """A guessed token, and where the answer copied from the prompt before it.

    `sure` is the record of the rule that guessed it, if the rule has nothing to learn from it.
    """

    token: int
    source: Source
    place: int | None
    matched: int
    sure: Record | None = None


class Answer:
    """An answer in progress: what is guessed next, and what its tokens teach.

    `place` is the index in the prompt of the token that follows if the answer goes on copying, or
    None, and `matched` the number of tokens before it that it has copied.
    """

    def __init__(self, places: PromptPlaces, memory: TaskMemory) -> None:
        self.places = places
        self.memory = memory
        self.tokens = [NO_TOKEN] * CONTEXT
        self.symbols = [NO_TOKEN] * CONTEXT
        self.place: int | None = None
        self.matched = 0
        self._began: tuple[int, ...] | None = None
        self._plan: list[Step] = []

    @property
    def length(self) -> int:
        """The number of tokens of prompt and answer."""
        return self.places.prompt_length + len(self.tokens) - CONTEXT

    def extend(self, tokens: Sequence[int]) -> None:
        """Add the tokens that the model generated, and learn from them."""
        plan, self._plan = self._plan, []
        for index, token in enumerate(tokens):
            step = plan[index] if index < len(plan) else None
            if step is None:
                self._add(token, None)
                continue
            self.place, self.matched = step.place, step.matched
            if step.token != token:
                self._add(token, step)
                plan = []
            elif not self._confirm(step):
                self._add(token, step)

    def _confirm(self, step: Step) -> bool:
        """Add a token that was guessed rightly, if that takes no more than a note, and return
        whether it does. Most tokens do: those of long copied words and of a known structure."""
        if step.place is None and step.sure is not None:
            step.sure.count(True)
            self._append(step.token, is_common=True)
            return True
        if step.source is Source.COPY and self._copying and self._began is None:
            self.memory.learn_copy(step.matched, (step.token, self.symbols[-2]), step.token)
            self.tokens.append(step.token)
            return True
        return False

    def draft(self, max_tokens: int, least_probability: float, never: frozenset[int]) -> list[int]:
        """Guess the next tokens, at most `max_tokens`, while the probability that all of them are
        right is at least `least_probability`, and up to the first one in `never`."""
        length, symbols_length = len(self.tokens), len(self.symbols)
        place, matched, likely = self.place, self.matched, 1.0
        while len(self._plan) < max_tokens:
            if self._copying:
                likely = self._draft_copied(max_tokens, least_probability, likely, never)
            elif self.place is None:
                likely = self._draft_sure(max_tokens, least_probability, likely, never)
            if len(self._plan) == max_tokens:
                break
            step, probability = self._next()
            likely *= probability
            if likely < least_probability or step.token in never:
                break
            self._plan.append(step)
            self._append(step.token, is_common=step.source is Source.MEMORY)
            self.place, self.matched = self._after(step)
        # where the guess was cut off is where it goes on if all of it is right
        self._plan.append(Step(NO_TOKEN, Source.COPY, self.place, self.matched))
        self.place, self.matched = place, matched
        del self.tokens[length:]
        del self.symbols[symbols_length:]
        return [step.token for step in self._plan[:-1]]

    def _draft_copied(
        self, max_tokens: int, least_probability: float, likely: float, never: frozenset[int]
    ) -> float:
        """Guess copied tokens up to where copying is not the likeliest or not likely enough, as
        `_next` does for one token, but faster. Return the probability that all are right."""
        memory, place, matched = self.memory, self.place, self.matched
        assert place is not None
        before = self.symbols[-2]
        for token in self.places.run(place, max_tokens - len(self._plan)):
            probability = memory.copies[matched].probability
            if memory.guess_end((token, before))[1] > probability:
                break
            if likely * probability < least_probability or token in never:
                break
            likely *= probability
            self._plan.append(Step(token, Source.COPY, place, matched))
            self.tokens.append(token)
            place, matched = place + 1, min(matched + 1, MAX_MATCHED)
        self.place, self.matched = self.places.within(place), matched
        return likely

    def _draft_sure(
        self, max_tokens: int, least_probability: float, likely: float, never: frozenset[int]
    ) -> float:
        """Guess tokens of which the memory is sure, as `_next` does for one token, but faster.
        Return the probability that all are right."""
        tokens, symbols, plan = self.tokens, self.symbols, self._plan
        while len(plan) < max_tokens:
            sure = self.memory.sure(symbols)
            if sure is None:
                break
            token, record = sure
            probability = likely * record.probability
            if probability < least_probability or token in never:
                break
            likely = probability
            plan.append(Step(token, Source.MEMORY, None, 0, record))
            tokens.append(token)
            symbols.append(token)
            self.matched = 0
        return likely

    def _next(self) -> tuple[Step, float]:
        """Return the likeliest next token, and its probability."""
        memory = self.memory
        token, probability, sure = (
            NOTHING if self._copying else memory.guess(self.tokens, self.symbols)
        )
        source, place, matched = Source.MEMORY, self.place, self.matched
        if place is None:
            begin, begin_probability = (None, 0.0) if sure else self._beginning()
            if begin is not None and begin_probability > probability:
                token = int(self.places.tokens[begin])
                return Step(token, Source.BEGINNING, begin, _FOUND_BY), begin_probability
            return Step(token, source, None, matched, sure), probability
        following = int(self.places.tokens[place])
        end, end_probability = memory.guess_end(self._end_context(following))
        if end_probability > probability:
            token, probability = end, end_probability
        copy_probability = memory.copies[matched].probability
        if copy_probability >= probability:
            source, token, probability = Source.COPY, following, copy_probability
        return Step(token, source, place, matched), probability

    @property
    def _copying(self) -> bool:
        """True within words that are copied, of which answers have nothing in common."""
        return self.place is not None and self.matched >= _FOUND_BY and self.symbols[-1] == NO_TOKEN

    def _end_context(self, following: int) -> tuple[int, int]:
        return following, self.symbols[-2 if self.symbols[-1] == NO_TOKEN else -1]

    def _beginning(self) -> tuple[int | None, float]:
        """Return the place from which an answer begins to copy here, and the probability."""
        beginnings = self.memory.beginnings
        entry = beginnings.get(tuple(self.symbols[-CONTEXT:]))
        if entry is None:
            return None, 0.0
        return self.places.after(entry[0]), beginnings.records[entry[1]].probability

    def _after(self, step: Step) -> tuple[int | None, int]:
        """Return place and matched tokens after a guessed token."""
        if step.place is None or int(self.places.tokens[step.place]) != step.token:
            return None, 0
        return self.places.within(step.place + 1), min(step.matched + 1, MAX_MATCHED)

    def _append(self, token: int, *, is_common: bool) -> None:
        self.tokens.append(token)
        if is_common:
            self.symbols.append(token)
        elif self.symbols[-1] != NO_TOKEN:
            self.symbols.append(NO_TOKEN)

    def _add(self, token: int, step: Step | None) -> None:
        """Add one generated token, for which `step` was guessed."""
        memory = self.memory
        guessed = step is not None and step.token == token
        following = NO_TOKEN if self.place is None else int(self.places.tokens[self.place])
        copied = token == following
        context = () if copied and self._copying else tuple(self.symbols[-CONTEXT:])
        if step is not None and step.source is Source.BEGINNING:
            self._learn_beginning(context, guessed)
        elif following != NO_TOKEN:
            memory.learn_copy(self.matched, self._end_context(following), token)
        is_common = False
        if context:
            is_common = memory.is_common(self.tokens, self.symbols, token)
            memory.learn(self.tokens, self.symbols, token)
        self._append(token, is_common=is_common)
        self._move(context, copied=copied, search=not guessed and not is_common)

    def _move(self, context: tuple[int, ...], *, copied: bool, search: bool) -> None:
        """Set the place in the prompt after a token that was added after `context`."""
        if copied:
            assert self.place is not None
            if self._began is not None:
                self._note_beginning(self.place - 1)
            self.matched = min(self.matched + 1, MAX_MATCHED)
            self.place = self.places.within(self.place + 1)
            return
        self.place, self.matched, self._began = None, 0, None
        if search:
            self.place, self.matched = self.places.best(self.tokens)
            self._began = None if self.place is None else context

    def _note_beginning(self, first: int) -> None:
        """Note that the answer copies from place `first` of the prompt since the last token."""
        began, self._began = self._began, None
        if began is not None and first >= _FOUND_BY:
            before = self.places.tokens[first - _FOUND_BY : first]
            self.memory.beginnings.learn(began, (int(before[0]), int(before[1])))

    def _learn_beginning(self, context: tuple[int, ...], right: bool) -> None:
        beginnings = self.memory.beginnings
        entry = beginnings.get(context)
        if entry is not None:
            beginnings.learn(context, entry[0] if right else _NO_PAIR)
