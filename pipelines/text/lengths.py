"""Decides from a document's length how it is read, and by which pool of engines.

A document is read whole, in chunks or truncated, or is rejected. A job may have two pools of
engines: one for short prompts and one for long ones. Input and output are lengths in tokens, for
one document or as arrays. This module does not know texts, prompts or engines.
`docs/long-documents.md` explains the limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.errors import SpecError
from pipelines.job.spec import LongDocuments
from pipelines.text.chunking import MIN_CHUNK_TOKENS, ChunkSize
from pipelines.text.parts import PartsPlan

SINGLE, MAP_REDUCE, TRUNCATE, PARTS = "single", "map_reduce", "truncate", "parts"
"""Ways to read a document: whole, in chunks whose answers are combined, only its beginning, or in
parts without overlap, which only `write` tasks read."""
# A prompt that combines notes has space for at least this many, each as long as the longest answer.
_NOTES_TOGETHER = 2
NOTE_SLACK_TOKENS = 16
"""Tokens of a note beyond those of its answer: it has a list mark and is tokenized again."""
# Maximum length of a prompt about a chunk for a model with one set of rope factors.
_ONE_POOL_TOKENS = 4096

IntArray = npt.NDArray[np.int64]
"""One whole number per document."""
BoolArray = npt.NDArray[np.bool_]
"""One truth value per document."""


@dataclass(frozen=True, slots=True)
class PromptShape:
    """Lengths, in tokens, of all parts but the text of the prompts of one kind.

    A kind is the prompts about whole documents, about chunks, or about notes, which are the answers
    about chunks that a prompt combines. `overhead` is the chat frame, the instruction and, for
    chunks, the context carried with the chunk. `questions` are the lengths of the tasks' questions
    and `answers` the maximum lengths of their answers, both in the tasks' order.
    """

    overhead: int
    questions: tuple[int, ...]
    answers: tuple[int, ...]

    @property
    def around(self) -> int:
        """Return the length in tokens of the longest prompt with its answer, without the text.

        The text is the document, chunk or notes that the prompt is about.
        """
        return self.with_answers(1)

    def with_answers(self, count: int) -> int:
        """Return the maximum over the tasks of overhead, question and `count` answers, in tokens.

        Each answer has the maximum length for its task. The text that the prompt is about is not
        counted.
        """
        tails = zip(self.questions, self.answers, strict=True)
        longest = max((question + count * answer for question, answer in tails), default=0)
        return self.overhead + longest


@dataclass(frozen=True, slots=True)
class ModelLengths:
    """Limits of a model, in tokens.

    `max_model_len` is the maximum length of a prompt with its answer. `short_rope_len` is the
    length up to which the model uses its short rope factors; None if it has one set of factors. The
    others are lengths of text up to which the model answers well: `single_pass_tokens` of a whole
    document, `chunk_tokens` of a chunk, and `notes_tokens` of all notes in one prompt.
    """

    max_model_len: int
    short_rope_len: int | None
    single_pass_tokens: int
    chunk_tokens: int
    notes_tokens: int

    @property
    def short_len(self) -> int:
        """Return the maximum length of a short prompt with its answer, as those about chunks are.

        It is the length up to which the short rope factors hold, or 4,096 without such factors.
        """
        return min(self.max_model_len, self.short_rope_len or _ONE_POOL_TOKENS)


@dataclass(frozen=True, slots=True)
class PromptLengths:
    """Lengths of the prompts about documents: arrays of the same length, one entry per document.

    `passages` is the number of passages (chunks, or 1 for a document read whole or truncated; 0 if
    all tasks read parts, which are no passages), `shared` the tokens of the prefix that all prompts
    about one passage share, `longest` the tokens of the longest prompt with its answer, and
    `prompt_tokens` the tokens of all prompts together, without answers. All are 0 for a document
    that is too long to be read.
    """

    passages: IntArray
    shared: IntArray
    longest: IntArray
    prompt_tokens: IntArray


@dataclass(frozen=True, slots=True)
class ReadingPlan:
    """The plan by which a job reads documents of any length; all lengths in tokens.

    `policy` is the job's `long_documents.strategy`. `single_pass_tokens` is the length up to which
    the policies other than `single` and `map_reduce` read a document whole. `document_shape`
    describes prompts about a whole document, `chunk_shape` prompts about a chunk.

    Each limit is the maximum length of a prompt with its answer: `limit` about a whole document,
    `chunk_prompt_limit` about a chunk, `combine_prompt_limit` for combining chunks' answers, and
    `short_limit` in the pool of engines for short prompts, None if the model needs only one pool.
    Combining prompts fit the pool of the chunks' prompts, and hold no more notes than the model
    reads well. `parts` is the plan of the tasks that read parts; None if there are none. The shapes
    do not have these tasks.
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
    parts: PartsPlan | None = None

    @property
    def max_single_pass_tokens(self) -> int:
        """Return the length in tokens of the longest document that is read whole.

        It depends on the policy, and is at most what fits a prompt with the longest question and
        answer.
        """
        fitting = max(0, self.limit - self.document_shape.around)
        match self.policy:
            case "single":
                return fitting
            case "map_reduce":
                return min(fitting, self.chunk_size.chunk_tokens)
        return min(fitting, self.single_pass_tokens)

    def strategy(self, tokens: int) -> str | None:
        """Return how a document of `tokens` tokens is read: SINGLE, MAP_REDUCE or TRUNCATE.

        Returns None if the policy (`single` or `reject`) reads no document of this length.
        """
        if tokens <= self.max_single_pass_tokens:
            return SINGLE
        return {"auto": MAP_REDUCE, "map_reduce": MAP_REDUCE, "truncate": TRUNCATE}.get(self.policy)

    def too_long(self, tokens: IntArray) -> BoolArray:
        """Return, for documents of `tokens` tokens each, whether each is too long to be read.

        Only the policies `single` and `reject` reject documents for their length.
        """
        if self.policy in ("single", "reject"):
            return tokens > self.max_single_pass_tokens
        return np.zeros(len(tokens), dtype=bool)

    def lengths(self, tokens: IntArray) -> PromptLengths:
        """Return the lengths of the prompts about documents of `tokens` tokens each.

        For a document read in chunks, all are estimates but `longest`, which is the upper bound
        `chunk_prompt_limit`. Combining prompts are not counted.
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
        lengths = PromptLengths(
            *(np.where(read, np.where(fits, one, other), 0) for one, other in pairs)
        )
        return lengths if self.parts is None else self._with_parts(lengths, self.parts, tokens)

    def _with_parts(self, rest: PromptLengths, plan: PartsPlan, tokens: IntArray) -> PromptLengths:
        """Return the lengths `rest` of prompts about passages, with those about parts added."""
        asked = int(bool(self.document_shape.questions))
        read = self.tokens_in_parts(tokens)
        return PromptLengths(
            asked * rest.passages,
            rest.shared,
            np.maximum(asked * rest.longest, np.where(read > 0, plan.longest, 0)),
            asked * rest.prompt_tokens + plan.prompt_tokens(read),
        )

    def tokens_in_parts(self, tokens: IntArray) -> IntArray:
        """Return how many tokens are read in parts of documents of `tokens` tokens each."""
        read = np.where(self.too_long(tokens), 0, tokens)
        return np.minimum(read, self.max_single_pass_tokens) if self.policy == TRUNCATE else read

    def long_pool(self, longest: IntArray) -> BoolArray:
        """Return, for each document, whether an engine of the pool for long prompts must read it.

        `longest` are the lengths of the documents' longest prompts with answers, in tokens, as
        `lengths` returns them. Longer ones than `short_limit` need that pool.
        All are False if the model needs only one pool.
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
    positions: Sequence[int] | None = None,
) -> ReadingPlan:
    """Return the reading plan for `spec`, the job's `long_documents`, and `model`, its limits.

    A length that the job does not set is the model's. `whole`, `part` and `notes` are the shapes of
    the prompts about a whole document, about a chunk, and about notes, which combine chunks'
    answers. `positions` are those of the tasks of `whole` and `part` among the job's tasks, for
    messages; None if they are all tasks.

    Prompts about chunks fit the short pool if that has space for half of the requested chunk with
    the questions, and for combining two notes. Otherwise chunks keep the requested length, and the
    limits are as long as needed. Raises SpecError if the questions leave no space for a document.
    """
    around = max(part.around, notes.around)
    chunk_tokens = spec.chunk_tokens or model.chunk_tokens
    combining = notes.with_answers(1 + _NOTES_TOGETHER) + _NOTES_TOGETHER * NOTE_SLACK_TOKENS
    chunk_prompt_limit = model.short_len
    if chunk_prompt_limit < max(around + chunk_tokens // 2, combining):
        chunk_prompt_limit = min(model.max_model_len, max(around + chunk_tokens, combining))
    chunk_tokens = min(chunk_tokens, chunk_prompt_limit - around)
    if chunk_tokens < MIN_CHUNK_TOKENS:
        where = _longest_task(part, notes, positions or range(len(part.questions)))
        raise SpecError(
            f"{where}: the question, its longest answer and the instructions "
            f"need {around} of the {model.max_model_len} tokens that a prompt and its answer may "
            f"have together, which leaves no space for a document (at least {MIN_CHUNK_TOKENS} "
            "tokens); shorten the question or the instructions and examples, lower its max_tokens "
            "or max_words, or split the task"
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


def _longest_task(part: PromptShape, notes: PromptShape, positions: Sequence[int]) -> str:
    """Return the key path of the task with the longest prompts, or `tasks` if the longest prompt
    combines notes, whose shape has no entry for some tasks."""
    tails = [sum(tail) for tail in zip(part.questions, part.answers, strict=True)]
    if not tails or notes.around > part.around:
        return "tasks"
    return f"tasks.{positions[tails.index(max(tails))]}"
