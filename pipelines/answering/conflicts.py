"""Resolve the conflicts of an extraction: the model chooses between the values that chunks state.

A conflict is a field for which chunks state different values. Knows no engine: the caller passes a
function that sends a question to one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.errors import InvalidAnswer
from pipelines.tasks.form import plain_json
from pipelines.tasks.kinds import Completion, Question, Task
from pipelines.tasks.merging import Candidate, Conflict, FieldPath
from pipelines.tasks.questions import conflict_question
from pipelines.text.prompts import Prompts

AskModel = Callable[[Sequence[int], Question], Coroutine[Any, Any, Completion]]
"""Sends a prompt to the engine: the token ids before the question, and the question.

Raises RequestRejected.
"""

Note = tuple[int, ...]
"""The token ids of one note: the answer about a chunk, as it is in a combining prompt."""
_CANDIDATE_TOKENS = 160


def free_tokens(prompts: Prompts, limit: int, question: Question) -> int:
    """Return how many tokens of notes fit a combining prompt with `question` and its answer.

    `limit` is the maximum length of a prompt together with its answer, in tokens. The result is
    negative if the question alone does not fit.
    """
    overhead = prompts.notes_overhead + len(question.token_ids)
    return limit - overhead - question.sampling.max_tokens


@dataclass(frozen=True)
class ConflictResolver:
    """Asks the model which of the different values that chunks state for one field is right.

    Attributes:
        task: the extraction.
        prompts: builds the prompts.
        limit: the maximum length of a prompt together with its answer, in tokens.
        ask: sends a question to the engine.
    """

    task: Task
    prompts: Prompts
    limit: int
    ask: AskModel

    async def resolve(self, conflicts: Sequence[Conflict]) -> dict[FieldPath, Any]:
        """Return the value that the model chooses for each conflict, by the path of its field.

        Sends one prompt for each conflict, all concurrently. Raises an ExceptionGroup with
        RequestRejected, or with InvalidAnswer if an answer is not the number of a value.
        """
        async with asyncio.TaskGroup() as group:
            choices = [group.create_task(self._resolve(conflict)) for conflict in conflicts]
        return dict(choice.result() for choice in choices)

    async def _resolve(self, conflict: Conflict) -> tuple[FieldPath, Any]:
        """Ask the model which candidate is right; return the conflict's path and that value."""
        candidates = self._fitting(conflict)
        notes = [
            self._candidate_note(number, candidate)
            for number, candidate in enumerate(candidates, 1)
        ]
        numbers = tuple(str(number) for number, _ in enumerate(candidates, 1))
        question = self._question(conflict, numbers)
        answer = (await self.ask(self.prompts.notes(notes), question)).text.strip()
        if answer not in numbers:
            raise InvalidAnswer(
                f"{'.'.join(conflict.path)}: the answer {answer[:80]!r} is not the number of one "
                f"of the {len(numbers)} values that the chunks state, although the engine may "
                "generate nothing else; use the version of vLLM that phifleet requires"
            )
        return conflict.path, candidates[int(answer) - 1].value

    def _question(self, conflict: Conflict, numbers: tuple[str, ...]) -> Question:
        return conflict_question(self.task, conflict.path, numbers, self.prompts.tokenizer)

    def _fitting(self, conflict: Conflict) -> list[Candidate]:
        """Return the candidates that fit one prompt, in document order.

        If not all fit, those that the most chunks state are kept.
        """
        question = self._question(conflict, ("1",))
        tokens_left = free_tokens(self.prompts, self.limit, question)
        count = len(conflict.candidates)
        kept = []
        for at in sorted(range(count), key=lambda index: -conflict.candidates[index].chunks):
            # the largest number takes the most tokens
            tokens_left -= len(self._candidate_note(count, conflict.candidates[at]))
            if tokens_left < 0:
                break
            kept.append(at)
        return [conflict.candidates[at] for at in sorted(kept)]

    def _candidate_note(self, number: int, candidate: Candidate) -> Note:
        words = candidate.words
        shown = f' - the document says: "{words}"' if words else ""
        text = f"{number}. {plain_json(candidate.value)}{shown}"
        return tuple(self.prompts.note(text, _CANDIDATE_TOKENS))
