"""Parts of a text: pieces that follow one another without overlap, each rewritten on its own.

A translation, for example, is made part by part. Each character is in exactly one part, so that no
sentence is written twice or left out. A part is shown to the model without the words around it,
which the model would rewrite too. Knows no tasks and no engine; lengths are in tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.documents import Chunk
from pipelines.errors import SpecError
from pipelines.text.chunking import MIN_CHUNK_TOKENS, ChunkSize, cut
from pipelines.text.prompts import PromptPrefix, Prompts
from pipelines.text.tokens import ChatTokenizer

FIRST_GROWTH, MOST_GROWTH = 2, 3
"""Tokens of an answer, for each token of its part: at first, and after an answer was cut off."""
SLACK_TOKENS = 32
"""Tokens that an answer may have besides, which matter for a short part."""


@dataclass(frozen=True, slots=True)
class PartQuestion:
    """The lengths of one task's question about a part, and of its answer.

    `max_tokens` is the maximum length of an answer; None if it follows the part's length. `path` is
    the key path of the task in the job file.
    """

    path: str
    tokens: int
    max_tokens: int | None

    def answer_tokens(self, part_tokens: int) -> int:
        """Return the limit of the first answer about a part of `part_tokens` tokens."""
        return self.max_tokens or FIRST_GROWTH * part_tokens + SLACK_TOKENS

    def part_tokens(self, room: int) -> int:
        """Return the longest part for which a prompt with `room` for part and answer is enough."""
        if self.max_tokens is not None:
            return room - self.max_tokens
        return (room - SLACK_TOKENS) // (1 + MOST_GROWTH)


@dataclass(frozen=True, slots=True)
class PartsPlan:
    """The plan by which texts are read in parts; all lengths in tokens.

    Attributes:
        part_tokens: the maximum length of a part.
        prompt_limit: the maximum length of a prompt about a part with its answer.
        longest: the maximum length of any prompt of these tasks with its answer: of one about a
            part, or of one that combines what was written about parts.
        overhead: the length of a prompt without part, question and answer.
        questions: the questions of the tasks that read parts.
    """

    part_tokens: int
    prompt_limit: int
    longest: int
    overhead: int
    questions: tuple[PartQuestion, ...]

    def count(self, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the estimated number of parts of texts of `tokens` tokens each."""
        return -(-tokens // self.part_tokens)

    def prompt_tokens(self, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the estimated length of all prompts about texts of `tokens` tokens each."""
        around = sum(self.overhead + question.tokens for question in self.questions)
        return len(self.questions) * tokens + self.count(tokens) * around

    @property
    def usual_answer_tokens(self) -> int:
        """Return the usual length of all answers about one part, for estimates of time."""
        return sum(question.max_tokens or self.part_tokens for question in self.questions)

    def max_answer_tokens(self, tokens: int) -> int:
        """Return the most tokens that all first answers about a text of `tokens` have together."""
        count = int(self.count(np.array([tokens], dtype=np.int64))[0])
        following = sum(question.max_tokens is None for question in self.questions)
        fixed = sum(question.max_tokens or SLACK_TOKENS for question in self.questions)
        return following * FIRST_GROWTH * tokens + count * fixed


def plan_parts(
    overhead: int,
    questions: Sequence[PartQuestion],
    *,
    longest_part: int,
    short_len: int,
    max_model_len: int,
    combining: int = 0,
    max_answer_tokens: int | None = None,
) -> PartsPlan:
    """Return the plan for tasks that read parts.

    Prompts fit `short_len`, the length of short prompts, unless answers of a fixed length leave
    less than a quarter of `longest_part` there; then they are as long as needed.

    Args:
        overhead: the length of a prompt without part, question and answer.
        questions: the tasks' questions, at least one.
        longest_part: the maximum length of a part, up to which the model reads well.
        short_len: the maximum length of a short prompt with its answer.
        max_model_len: the maximum length of any prompt with its answer.
        combining: the maximum length of a prompt, with its answer, that combines what was written
            about parts; 0 if the parts of all tasks are joined.
        max_answer_tokens: the maximum length of an answer; None if only prompts limit it.

    Raises SpecError if a question leaves no space for a part.
    """

    def fitting(limit: int) -> int:
        room = limit - overhead
        parts = [question.part_tokens(room - question.tokens) for question in questions]
        return min(longest_part, *parts)

    limit, part_tokens = short_len, fitting(short_len)
    if part_tokens < longest_part // 4 and any(question.max_tokens for question in questions):
        longest_tail = max(question.tokens + (question.max_tokens or 0) for question in questions)
        limit = min(max_model_len, overhead + longest_tail + longest_part)
        part_tokens = fitting(limit)
    if max_answer_tokens is not None and any(q.max_tokens is None for q in questions):
        part_tokens = min(part_tokens, (max_answer_tokens - SLACK_TOKENS) // FIRST_GROWTH)
    if part_tokens < MIN_CHUNK_TOKENS:
        worst = min(questions, key=lambda question: question.part_tokens(limit - question.tokens))
        raise SpecError(
            f"{worst.path}: the prompt of {worst.tokens} tokens, its answer and the instructions "
            f"leave less than {MIN_CHUNK_TOKENS} of {limit} tokens for a part of a document; "
            "shorten the prompt, or lower max_tokens"
        )
    return PartsPlan(part_tokens, limit, max(limit, combining), overhead, tuple(questions))


def cut_parts(text: str, plan: PartsPlan, tokenizer: ChatTokenizer) -> Iterator[Chunk]:
    """Yield the parts of a text in order: each begins where the one before ends.

    A part of only white space is left out, unless the text has no other.
    """
    blank: Chunk | None = None
    shown = False
    for part in cut(text, ChunkSize(plan.part_tokens), tokenizer):
        if text[part.start : part.end].isspace():
            blank = part
            continue
        shown = True
        yield part
    if blank is not None and not shown:
        yield blank


def part_prefix(prompts: Prompts, text: str, part: Chunk) -> PromptPrefix:
    """Return the part of a prompt before the question about a part, text[start:end].

    It has no context: neither the words around the part nor headings.
    """
    alone = Chunk(0, part.end - part.start, part.token_ids)
    return prompts.chunk_prefix(text[part.start : part.end], alone, "")


def part_overhead(prompts: Prompts) -> int:
    """Return the length of a prompt about a part, without part, question and answer, in tokens."""
    empty = part_prefix(prompts, "", Chunk(0, 0, ()))
    return prompts.tokenizer.frame_tokens + len(empty.token_ids)
