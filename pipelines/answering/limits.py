"""The token limits of answers about one document: what each text needs, and what its prompt leaves.

Pure: no Ray, no vLLM, no files.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipelines.documents import Chunk
from pipelines.tasks.kinds import LENGTH, Completion, Question, Task, TaskSet
from pipelines.text.lengths import MAP_REDUCE, NOTE_SLACK_TOKENS

# The beginning of a document, by which the script of its summary is told.
_SAMPLED_CHARACTERS = 20_000


@dataclass(frozen=True)
class AnswerLimits:
    """Sets the limits of answers about the passages of one document.

    Attributes:
        text: the document.
        tasks: the tasks, whose reading plan bounds prompts about chunks.
        strategy: how the document is read: `single`, `map_reduce` or `truncate`.
        max_model_len: the maximum length of a prompt with its answer in the engine, in tokens.
    """

    text: str
    tasks: TaskSet
    strategy: str
    max_model_len: int

    def limited(self, question: Question, chunk: Chunk, prompt_tokens: int) -> Question:
        """Return a question with the limit of its answer about a chunk, or about a whole text.

        Its prompt has `prompt_tokens` tokens. A question without a budget is returned unchanged:
        the engine shortens its answer to what its context leaves.
        """
        if question.budget is None:
            return question
        free_tokens = self._free_tokens(prompt_tokens)
        text = self.text[chunk.start : chunk.end]
        return question.about(text, len(chunk.token_ids), free_tokens)

    def larger(
        self, question: Question, completion: Completion, chunk: Chunk, prompt_tokens: int
    ) -> Question | None:
        """Return the question with a larger limit if its answer was cut off and one fits."""
        if completion.finish_reason != LENGTH or question.budget is None:
            return None
        limit = question.sampling.max_tokens
        wanted = question.budget.after_a_cut(limit, len(chunk.token_ids))
        allowed = min(wanted, self._free_tokens(prompt_tokens))
        return question.limited(allowed) if allowed > limit else None

    def shortened(self, question: Question, prompt_tokens: int) -> Question:
        """Return a question that keeps its limit as far as a prompt of `prompt_tokens` allows."""
        if question.budget is None:
            return question
        limit = min(question.sampling.max_tokens, self._free_tokens(prompt_tokens))
        return question.limited(limit)

    def _free_tokens(self, prompt_tokens: int) -> int:
        limit = self.max_model_len
        if self.strategy == MAP_REDUCE:
            limit = min(limit, self.tasks.reading.chunk_prompt_limit)
        free_tokens = limit - prompt_tokens
        return min(free_tokens, self.tasks.max_answer_tokens or free_tokens)


def limited_combining(task: Task, text: str, tokens_per_character: float, tasks: TaskSet) -> Task:
    """Return the task with the limit of a combined answer about a text.

    A combining prompt has space for the answer and for two notes as long.
    """
    question = task.combine_question
    if question is None or question.budget is None:
        return task
    around = tasks.prompts.notes_overhead + len(question.token_ids) + 2 * NOTE_SLACK_TOKENS
    free_tokens = (tasks.reading.combine_prompt_limit - around) // 3
    free_tokens = min(free_tokens, tasks.max_answer_tokens or free_tokens)
    sample = text[:_SAMPLED_CHARACTERS]
    tokens = int(tokens_per_character * len(sample))
    return replace(task, combine_question=question.about(sample, tokens, free_tokens))
