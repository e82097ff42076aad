"""The KV cache tokens to reserve for the questions about one passage.

All prompts about a passage begin with the same tokens, which are cached once. Each question adds
its share: the rest of its prompt, and its answer. Pure: no Ray, no vLLM, no files.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.answering.protocols import Engine
from pipelines.tasks.kinds import Question


class Shares:
    """Counts the KV cache tokens of the questions about one passage that are still open."""

    def __init__(
        self, engine: Engine, shared_tokens: int, questions: Sequence[tuple[Question, int]]
    ) -> None:
        """Create the shares of `questions`, each given with the tokens of its whole prompt. The
        first `shared_tokens` tokens of all these prompts are the same."""
        self._engine = engine
        self._shared_tokens = shared_tokens
        self._questions = questions
        self._open: dict[int, int] = {}

    def count(self) -> int:
        """Return the tokens to reserve for all questions, with answers of the lengths that the
        engine's answers so far let expect. Call it before any question is closed."""
        self._open = {number: self._share(*item) for number, item in enumerate(self._questions)}
        return self._total()

    def close(self, number: int) -> int:
        """Return the tokens to keep reserved once the question `number` is answered: those of the
        other open questions and the shared tokens, or 0 if all are closed."""
        self._open.pop(number, None)
        return self._total()

    def _total(self) -> int:
        if not self._open:
            return 0
        least = len(self._open) * self._engine.min_request_tokens
        return max(self._shared_tokens + sum(self._open.values()), least)

    def _share(self, question: Question, prompt_tokens: int) -> int:
        """Return the tokens that a question adds to the shared ones.

        vLLM allocates blocks of tokens and shares only full ones, so an answer of the expected
        length takes whole blocks. The share is never more than the question can use up.
        """
        max_tokens = question.sampling.max_tokens
        expected = self._engine.answer_lengths.expected(question.text, max_tokens)
        block = self._engine.block_tokens
        in_blocks = -(-(prompt_tokens + expected) // block) * block
        shared_in_blocks = self._shared_tokens // block * block
        longest = prompt_tokens + max_tokens - self._shared_tokens
        return min(longest, in_blocks - shared_in_blocks)
