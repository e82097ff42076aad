"""The passages of a document: what of its text is shown to the model at a time.

A whole text, its beginning, or its chunks one after the other, each with the ids that all prompts
about it begin with. Knows tasks' reading and prompts; nothing of engines or answers.
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
    """A stretch of the text that is asked about, what its prompts begin with, and the span of the
    text that the model sees."""

    number: int
    chunk: Chunk
    prefix: PromptPrefix
    span: tuple[int, int]


@dataclass(frozen=True, slots=True)
class SplitText:
    """A text whose way of reading is chosen, and its passages in order."""

    strategy: str
    passages: Iterator[Passage]


def split_into_passages(text: str, tasks: TaskSet) -> SplitText | None:
    """Choose by its length how a text is read. None where the job reads none that is so long."""
    reading = tasks.reading
    ids = single_pass_ids(text, tasks)
    strategy = reading.strategy(reading.max_single_pass_tokens + 1 if ids is None else len(ids))
    if strategy is None:
        return None
    return SplitText(strategy, passages(text, ids, strategy, tasks))


def single_pass_ids(text: str, tasks: TaskSet) -> list[int] | None:
    """The ids of a text that may be read whole, None of one that is too long for that."""
    most = tasks.reading.max_single_pass_tokens
    if tasks.tokenizer.is_longer(text, most):
        return None
    ids = tasks.tokenizer.encode(text)
    return None if len(ids) > most else ids


def passages(
    text: str, ids: Sequence[int] | None, strategy: str, tasks: TaskSet
) -> Iterator[Passage]:
    """What is asked about, in order: the whole text, its beginning, or its chunks.

    `ids` are those of the whole text, None where it is too long to be read whole.
    """
    prompts, reading = tasks.prompts, tasks.reading
    if strategy != MAP_REDUCE:
        chunk = _beginning(text, tasks) if ids is None else Chunk(0, len(text), tuple(ids))
        yield Passage(0, chunk, prompts.document_prefix(chunk.token_ids), (chunk.start, chunk.end))
        return
    begins = opening(text)
    for number, chunk in enumerate(cut(text, reading.chunk_size, tasks.tokenizer)):
        shown = prompts.chunk_prefix(text, chunk, begins)
        yield Passage(number, chunk, shown, context_span(text, chunk.start, chunk.end))


def _beginning(text: str, tasks: TaskSet) -> Chunk:
    return next(cut(text, ChunkSize(tasks.reading.max_single_pass_tokens), tasks.tokenizer))
