"""The maximum lengths of answers about one document, in tokens.

A limit here is the maximum number of tokens of one answer (`sampling.max_tokens` of a question). It
depends on the text that the answer is about, by the question's budget, and on the tokens that the
prompt leaves free in the engine's context.

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
    """Sets the maximum numbers of tokens of answers about the passages of one document.

    Attributes:
        text: the document.
        tasks: the tasks, whose reading plan bounds prompts about chunks.
        strategy: how the document is read: `single`, `map_reduce`, `truncate` or `parts`.
        max_model_len: the maximum length of a prompt with its answer, in tokens: that of the
            engine, or of a prompt about a part.
    """

    text: str
    tasks: TaskSet
    strategy: str
    max_model_len: int

    def limited(self, question: Question, chunk: Chunk, prompt_tokens: int) -> Question:
        """Return `question` with the limit of its answer about `chunk`, for the first request.

        `chunk` is the passage: a chunk, or the whole text that is read. The limit is what the
        question's budget gives for that text, but at most what a prompt of `prompt_tokens` tokens
        leaves free. A question without a budget is returned unchanged: the engine shortens its
        answer to what its context leaves.
        """
        if question.budget is None:
            return question
        free_tokens = self._free_tokens(prompt_tokens)
        text = self.text[chunk.start : chunk.end]
        return question.about(text, len(chunk.token_ids), free_tokens)

    def larger(
        self, question: Question, completion: Completion, chunk: Chunk, prompt_tokens: int
    ) -> Question | None:
        """Return `question` with a larger limit, to ask it again about `chunk`; None if not needed.

        `completion` is its first answer, to a prompt of `prompt_tokens` tokens. Returns None if
        that answer was not cut off at its limit, if the question has no budget, or if the prompt
        leaves no space for a larger limit.
        """
        if completion.finish_reason != LENGTH or question.budget is None:
            return None
        limit = question.sampling.max_tokens
        wanted = question.budget.after_a_cut(limit, len(chunk.token_ids))
        allowed = min(wanted, self._free_tokens(prompt_tokens))
        return question.limited(allowed) if allowed > limit else None

    def shortened(self, question: Question, prompt_tokens: int) -> Question:
        """Return `question` with its limit lowered to what a prompt of `prompt_tokens` leaves free.

        For a repair prompt, which is longer than the first one. The limit is unchanged if it fits,
        or if the question has no budget.
        """
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
    """Return `task` with the maximum number of tokens of its combined answer about `text`.

    `text` is the whole document, and `tokens_per_character` that of its passages. The limit is at
    most a third of a combining prompt's free tokens, so that two notes of this length fit too. A
    task without a combining question, or whose combining question has no budget, is returned
    unchanged.
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
