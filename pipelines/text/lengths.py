"""Decides from a document's length how it is read: whole, in chunks, truncated or not; which pool.

Input and output are lengths in tokens, for one document or as arrays. This module does not know
texts, prompts or engines. `docs/long-documents.md` explains the limits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.errors import SpecError
from pipelines.job.spec import LongDocuments
from pipelines.text.chunking import MIN_CHUNK_TOKENS, ChunkSize

SINGLE, MAP_REDUCE, TRUNCATE = "single", "map_reduce", "truncate"
# A prompt that combines notes has space for at least this many, each as long as the longest answer
# plus some tokens, because a note has a list mark and is tokenized again.
_NOTES_TOGETHER, _NOTE_SLACK_TOKENS = 2, 16
# Maximum length of a prompt about a chunk for a model with one set of rope factors.
_ONE_POOL_TOKENS = 4096

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PromptShape:
    """Lengths of the parts of prompts of one kind, in tokens.

    `overhead` is the chat frame, the instruction and the carried context. `questions` are the
    lengths of the tasks' questions and `answers` the maximum lengths of their answers, in the
    tasks' order.
    """

    overhead: int
    questions: tuple[int, ...]
    answers: tuple[int, ...]

    @property
    def around(self) -> int:
        """Return the length of the longest prompt and answer, without the document's tokens."""
        return self.with_answers(1)

    def with_answers(self, count: int) -> int:
        """Return the length of the longest prompt: overhead, one question, and `count` answers.

        The answers are those of the question's own task; the document's tokens are not counted.
        """
        tails = zip(self.questions, self.answers, strict=True)
        longest = max((question + count * answer for question, answer in tails), default=0)
        return self.overhead + longest


@dataclass(frozen=True, slots=True)
class ModelLengths:
    """Limits of a model, in tokens.

    `max_model_len` is the maximum length of a prompt with its answer, and `short_rope_len` the
    length up to which the model uses its short rope factors, None if it has one set of factors. Up
    to `single_pass_tokens` of a document, `chunk_tokens` of a chunk and `notes_tokens` of notes,
    the model reads well.
    """

    max_model_len: int
    short_rope_len: int | None
    single_pass_tokens: int
    chunk_tokens: int
    notes_tokens: int


@dataclass(frozen=True, slots=True)
class PromptLengths:
    """Lengths of the prompts about documents: arrays of the same length, one entry per document.

    `passages` is the number of passages (chunks, or 1 for a whole document), `shared` the tokens of
    the prefix that all prompts about one passage share, `longest` the tokens of the longest prompt
    with its answer, and `prompt_tokens` the total of all prompts. All are 0 for a document that is
    too long to be read.
    """

    passages: IntArray
    shared: IntArray
    longest: IntArray
    prompt_tokens: IntArray


@dataclass(frozen=True, slots=True)
class ReadingPlan:
    """How a job reads documents of any length with its model; all lengths in tokens.

    `policy` is the job's `long_documents.strategy`. `document_shape` describes prompts about a
    whole document, `chunk_shape` prompts about a chunk. The limits are the maximum length of a
    prompt with its answer: `limit` about a whole document, `chunk_prompt_limit` about a chunk,
    `combine_prompt_limit` for combining chunks' answers, and `short_limit` in the short pool, None
    if the model needs only one pool. Combining prompts fit the pool of the chunks' prompts, and
    hold no more notes than the model reads well.
    """

    policy: str
    single_pass_tokens: int
    chunk_size: ChunkSize
    document_shape: PromptShape
    chunk_shape: PromptShape
    limit: int
    chunk_prompt_limit: int
    combine_prompt_limit: int
    short_limit: int | None

    @property
    def max_single_pass_tokens(self) -> int:
        """Return the length of the longest document that is read whole."""
        fitting = max(0, self.limit - self.document_shape.around)
        match self.policy:
            case "single":
                return fitting
            case "map_reduce":
                return min(fitting, self.chunk_size.chunk_tokens)
        return min(fitting, self.single_pass_tokens)

    def strategy(self, tokens: int) -> str | None:
        """Return how a document of `tokens` tokens is read, or None if it is too long to be read.

        One of SINGLE, MAP_REDUCE and TRUNCATE.
        """
        if tokens <= self.max_single_pass_tokens:
            return SINGLE
        return {"auto": MAP_REDUCE, "map_reduce": MAP_REDUCE, "truncate": TRUNCATE}.get(self.policy)

    def too_long(self, tokens: IntArray) -> BoolArray:
        """Return a mask of the documents that are too long to be read under the policy.

        `tokens` are the documents' lengths.
        """
        if self.policy in ("single", "reject"):
            return tokens > self.max_single_pass_tokens
        return np.zeros(len(tokens), dtype=bool)

    def lengths(self, tokens: IntArray) -> PromptLengths:
        """Return the prompts' lengths for documents of `tokens` tokens each.

        For documents read in chunks they are estimates, except `longest`, which is the maximum.
        """
        if self.policy in ("auto", "map_reduce"):
            in_chunks = self._in_chunks(tokens)
        else:
            in_chunks = self._whole(np.minimum(tokens, self.max_single_pass_tokens))
        whole = self._whole(tokens)
        fits = tokens <= self.max_single_pass_tokens
        read = ~self.too_long(tokens)
        pairs = (
            (getattr(whole, name), getattr(in_chunks, name))
            for name in ("passages", "shared", "longest", "prompt_tokens")
        )
        return PromptLengths(
            *(np.where(read, np.where(fits, one, other), 0) for one, other in pairs)
        )

    def long_pool(self, longest: IntArray) -> BoolArray:
        """Return a mask of the documents that belong to the long pool.

        `longest` are the lengths of their longest prompts with answers.
        """
        if self.short_limit is None:
            return np.zeros(len(longest), dtype=bool)
        return longest > self.short_limit

    def _whole(self, tokens: IntArray) -> PromptLengths:
        shape = self.document_shape
        shared = tokens + shape.overhead
        total = shared * len(shape.questions) + sum(shape.questions)
        return PromptLengths(np.ones_like(tokens), shared, tokens + shape.around, total)

    def _in_chunks(self, tokens: IntArray) -> PromptLengths:
        shape, size = self.chunk_shape, self.chunk_size
        step = size.chunk_tokens - size.overlap_tokens
        passages = np.maximum(1, -(-(tokens - size.overlap_tokens) // step))
        chunk = (tokens - size.overlap_tokens) // passages + size.overlap_tokens
        shared = chunk + shape.overhead
        total = passages * (shared * len(shape.questions) + sum(shape.questions))
        return PromptLengths(passages, shared, np.full_like(tokens, self.chunk_prompt_limit), total)


def plan_reading(
    spec: LongDocuments,
    model: ModelLengths,
    whole: PromptShape,
    part: PromptShape,
    notes: PromptShape,
) -> ReadingPlan:
    """Return the reading plan for the job's `long_documents` section and the model's limits.

    A length that the job does not set is the one that the model reads well. `whole`, `part` and
    `notes` are the shapes of prompts about a document, about a chunk, and of those that combine
    notes.

    Prompts about chunks fit the short pool if that has space for half of the requested chunk with
    the questions, and for combining two notes. Otherwise chunks keep the requested length, and the
    limits are as long as needed. Raises SpecError if the questions leave no space for a document.
    """
    around = max(part.around, notes.around)
    chunk_tokens = spec.chunk_tokens or model.chunk_tokens
    combining = notes.with_answers(1 + _NOTES_TOGETHER) + _NOTES_TOGETHER * _NOTE_SLACK_TOKENS
    chunk_prompt_limit = min(model.max_model_len, model.short_rope_len or _ONE_POOL_TOKENS)
    if chunk_prompt_limit < max(around + chunk_tokens // 2, combining):
        chunk_prompt_limit = min(model.max_model_len, max(around + chunk_tokens, combining))
    chunk_tokens = min(chunk_tokens, chunk_prompt_limit - around)
    if chunk_tokens < MIN_CHUNK_TOKENS:
        raise SpecError(
            f"tasks: the longest question and its answer need {around} tokens of the model's "
            f"{model.max_model_len}, which leaves no space for a document; shorten the question, "
            "lower its max_tokens or max_words, or split the task"
        )
    return ReadingPlan(
        policy=spec.strategy,
        single_pass_tokens=spec.single_pass_tokens or model.single_pass_tokens,
        chunk_size=ChunkSize(chunk_tokens, min(spec.overlap_tokens, chunk_tokens // 2)),
        document_shape=whole,
        chunk_shape=part,
        limit=model.max_model_len,
        chunk_prompt_limit=chunk_prompt_limit,
        combine_prompt_limit=min(
            chunk_prompt_limit, max(combining, notes.around + model.notes_tokens)
        ),
        short_limit=model.short_rope_len,
    )
