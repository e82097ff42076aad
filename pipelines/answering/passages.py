"""The passages of a document: the parts of its text that the model reads one at a time.

A passage is the whole text, its beginning, or one of its chunks, together with the token ids that
all prompts about it begin with. The parts that some tasks read instead are cut by `parts.py`. Knows
the reading plan and the prompts; knows no engine and no answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.documents import Chunk
from pipelines.tasks.kinds import TaskSet
from pipelines.text.chunking import ChunkSize, cut
from pipelines.text.lengths import MAP_REDUCE
from pipelines.text.outline import opening
from pipelines.text.prompts import PromptPrefix, context_span


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a document that the questions of all tasks are asked about.

    Attributes:
        number: the passage's position in the document, from 0.
        chunk: the part of the text, with its token ids.
        prefix: the token ids that all prompts about the passage begin with.
        span: start and end, in characters, of the text that the prefix shows: the chunk and the
            words before and after it.
    """

    number: int
    chunk: Chunk
    prefix: PromptPrefix
    span: tuple[int, int]


@dataclass(frozen=True, slots=True)
class SplitText:
    """A text's reading strategy (`single`, `map_reduce`, `truncate` or `parts`), and its passages.

    `passages` can be read once; each passage is cut and tokenized when it is read.
    """

    strategy: str
    passages: Iterator[Passage]


def split_into_passages(text: str, tasks: TaskSet) -> SplitText | None:
    """Choose the reading strategy for `text` by its length in tokens, and return its passages.

    `tasks` has the job's reading plan, the tokenizer and the prompts. Returns None if the job
    rejects a text of this length.
    """
    reading = tasks.reading
    ids = single_pass_ids(text, tasks)
    strategy = reading.strategy(reading.max_single_pass_tokens + 1 if ids is None else len(ids))
    if strategy is None:
        return None
    return SplitText(strategy, passages(text, ids, strategy, tasks))


def single_pass_ids(text: str, tasks: TaskSet) -> list[int] | None:
    """Return the token ids of `text`, or None if it is longer than the job reads in one pass.

    The maximum is `tasks.reading.max_single_pass_tokens`.
    """
    max_tokens = tasks.reading.max_single_pass_tokens
    # saves tokenizing a text that is certainly too long
    if tasks.tokenizer.is_longer(text, max_tokens):
        return None
    ids = tasks.tokenizer.encode(text)
    return None if len(ids) > max_tokens else ids


def passages(
    text: str, ids: Sequence[int] | None, strategy: str, tasks: TaskSet
) -> Iterator[Passage]:
    """Yield the passages of a text in order: the whole text, its beginning, or its chunks.

    `strategy` is `single`, `truncate` or `map_reduce`. `ids` are the token ids of the whole text,
    or None if it is too long to be read whole (see `single_pass_ids`).
    """
    prompts, reading = tasks.prompts, tasks.reading
    if strategy != MAP_REDUCE:
        chunk = beginning(text, tasks) if ids is None else Chunk(0, len(text), tuple(ids))
        yield Passage(0, chunk, prompts.document_prefix(chunk.token_ids), (chunk.start, chunk.end))
        return
    first_line = opening(text)
    for number, chunk in enumerate(cut(text, reading.chunk_size, tasks.tokenizer)):
        prefix = prompts.chunk_prefix(text, chunk, first_line)
        yield Passage(number, chunk, prefix, context_span(text, chunk.start, chunk.end))


def beginning(text: str, tasks: TaskSet) -> Chunk:
    """Return the beginning of a text that the job reads of one that is longer than one pass."""
    return next(cut(text, ChunkSize(tasks.reading.max_single_pass_tokens), tasks.tokenizer))
