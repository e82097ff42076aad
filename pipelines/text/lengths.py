"""How a document is read, by its length: whole, in chunks, cut off, or not at all; in which pool.

Lengths in, decisions and lengths out, for one document or for arrays of them. Knows no texts, no
prompts' words and no engine; `docs/long-documents.md` says why the limits are what they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.errors import SpecError
from pipelines.job.spec import LongDocuments
from pipelines.text.chunking import MIN_CHUNK_TOKENS, ChunkSize

SINGLE, MAP_REDUCE, TRUNCATE = "single", "map_reduce", "truncate"
# So many notes fit every prompt that combines them, each as long as its answer may be and a little
# longer, for its mark and for being tokenized anew.
_NOTES_TOGETHER, _NOTE_SLACK_TOKENS = 2, 16
# What chunks' prompts may take in a model that has no short rope factors to stay below.
_ONE_POOL_TOKENS = 4096

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PromptShape:
    """Lengths that prompts of one form share, in tokens.

    `overhead` is the chat frame, the instruction and what is carried along; `questions` and
    `answers` have one entry a task.
    """

    overhead: int
    questions: tuple[int, ...]
    answers: tuple[int, ...]

    @property
    def around(self) -> int:
        """What the longest prompt takes beside the document's own tokens, its answer included."""
        return self.with_answers(1)

    def with_answers(self, count: int) -> int:
        """What the longest prompt takes that has room for so many answers of its own task."""
        tails = zip(self.questions, self.answers, strict=True)
        longest = max((question + count * answer for question, answer in tails), default=0)
        return self.overhead + longest


@dataclass(frozen=True, slots=True)
class ModelLengths:
    """What a model can hold and reads well, in tokens.

    `single_pass_tokens` and `chunk_tokens` are documents' and chunks' own, `notes_tokens` those of
    answers that it combines; `short` is the length up to which the model's short rope factors hold,
    None where it has one set.
    """

    most: int
    short: int | None
    single_pass_tokens: int
    chunk_tokens: int
    notes_tokens: int


@dataclass(frozen=True, slots=True)
class PromptLengths:
    """What documents take of an engine, as arrays with an entry for each.

    `passages` are the stretches that are asked about, `shared` the tokens that all prompts of one
    passage begin with, `longest` the longest prompt with its answer, `prompt_tokens` all prompts
    together. Zero where the document is too long to be read.
    """

    passages: IntArray
    shared: IntArray
    longest: IntArray
    prompt_tokens: IntArray


@dataclass(frozen=True, slots=True)
class ReadingPlan:
    """The way a job reads its documents with its model.

    `policy` is the job's `long_documents.strategy`. `whole` is the shape of prompts that show a
    whole document, `part` of those that show a chunk of it. `limit` is the most tokens that a
    prompt about a whole document may have with its answer, `chunk_prompt_limit` the most of one
    about a chunk, `combine_prompt_limit` the most of one that combines answers: it lies in the same
    pool, and holds no more notes than the model reads well. `short_limit` is what the short pool
    holds, None where
    the model needs only one pool.
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
        """The longest document that is read whole, as far as the policy lets length decide."""
        fitting = max(0, self.limit - self.document_shape.around)
        match self.policy:
            case "single":
                return fitting
            case "map_reduce":
                return min(fitting, self.chunk_size.chunk_tokens)
        return min(fitting, self.single_pass_tokens)

    def strategy(self, tokens: int) -> str | None:
        """How a document of so many tokens is read; None where it is too long for the policy."""
        if tokens <= self.max_single_pass_tokens:
            return SINGLE
        return {"auto": MAP_REDUCE, "map_reduce": MAP_REDUCE, "truncate": TRUNCATE}.get(self.policy)

    def too_long(self, tokens: IntArray) -> BoolArray:
        """Which documents the policy does not read."""
        if self.policy in ("single", "reject"):
            return tokens > self.max_single_pass_tokens
        return np.zeros(len(tokens), dtype=bool)

    def lengths(self, tokens: IntArray) -> PromptLengths:
        """What documents of these lengths take; of those read in chunks an estimate, but for
        `longest`, which is the most that there can be."""
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
        """Which documents belong to the long pool, by their longest prompt."""
        if self.short_limit is None:
            return np.zeros(len(longest), dtype=bool)
        return longest > self.short_limit

    def _whole(self, tokens: IntArray) -> PromptLengths:
        shape = self.document_shape
        shared = tokens + shape.overhead
        together = shared * len(shape.questions) + sum(shape.questions)
        return PromptLengths(np.ones_like(tokens), shared, tokens + shape.around, together)

    def _in_chunks(self, tokens: IntArray) -> PromptLengths:
        shape, size = self.chunk_shape, self.chunk_size
        step = size.chunk_tokens - size.overlap_tokens
        passages = np.maximum(1, -(-(tokens - size.overlap_tokens) // step))
        each = (tokens - size.overlap_tokens) // passages + size.overlap_tokens
        shared = each + shape.overhead
        together = passages * (shared * len(shape.questions) + sum(shape.questions))
        return PromptLengths(
            passages, shared, np.full_like(tokens, self.chunk_prompt_limit), together
        )


def plan_reading(
    wanted: LongDocuments,
    model: ModelLengths,
    whole: PromptShape,
    part: PromptShape,
    notes: PromptShape,
) -> ReadingPlan:
    """How documents are read: what the job wants, where it says nothing what the model reads well.

    A chunk's prompt fits the short pool where half of the wanted chunk has room there beside the
    questions, and two answers of others beside the question that combines them; else chunks are
    read, and answers combined, at the length that this needs. Raises SpecError where the questions
    leave no room in the model.
    """
    around = max(part.around, notes.around)
    chunk_tokens = wanted.chunk_tokens or model.chunk_tokens
    combining = notes.with_answers(1 + _NOTES_TOGETHER) + _NOTES_TOGETHER * _NOTE_SLACK_TOKENS
    chunk_prompt_limit = min(model.most, model.short or _ONE_POOL_TOKENS)
    if chunk_prompt_limit < max(around + chunk_tokens // 2, combining):
        chunk_prompt_limit = min(model.most, max(around + chunk_tokens, combining))
    room = min(chunk_tokens, chunk_prompt_limit - around)
    if room < MIN_CHUNK_TOKENS:
        raise SpecError(
            f"tasks: the longest question and its answer take {around} tokens of the model's "
            f"{model.most}, and leave no room for a document; ask for less in one task"
        )
    return ReadingPlan(
        policy=wanted.strategy,
        single_pass_tokens=wanted.single_pass_tokens or model.single_pass_tokens,
        chunk_size=ChunkSize(room, min(wanted.overlap_tokens, room // 2)),
        document_shape=whole,
        chunk_shape=part,
        limit=model.most,
        chunk_prompt_limit=chunk_prompt_limit,
        combine_prompt_limit=min(
            chunk_prompt_limit, max(combining, notes.around + model.notes_tokens)
        ),
        short_limit=model.short,
    )
