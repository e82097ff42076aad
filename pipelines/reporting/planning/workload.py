"""The work of a whole job: from the lengths of its documents to prompts, tokens and steps by pool.

The prompts about documents that are read whole are exact: they are the document's ids with fixed
ids around them. Those about chunks, beginnings and parts are the reading plan's estimate, corrected
by `Corrections`, which come from cutting some documents as a run does (`exact.py`). Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.corpus.units import LONG, SHORT
from pipelines.reporting.planning.answer_use import AnswerUse
from pipelines.reporting.planning.concluding_work import concluding_work
from pipelines.reporting.planning.distribution import FloatArray, LengthCounts
from pipelines.reporting.planning.work import Work
from pipelines.tasks.kinds import Task, TaskSet, question_for
from pipelines.text.lengths import MAP_REDUCE, PARTS, SINGLE, TRUNCATE

CHUNKED = (MAP_REDUCE, PARTS)
"""The ways to read a document that ask about chunks or parts and combine the answers."""


@dataclass(frozen=True, slots=True)
class Corrections:
    """Factors from the reading plan's estimates to what cutting texts gives: for the number of
    passages, and for the tokens that the prompts about one share; likewise for parts."""

    passages: float = 1.0
    shared: float = 1.0
    parts: float = 1.0
    part_shared: float = 1.0


@dataclass(frozen=True)
class Workload:
    """The work of a job.

    Attributes:
        pools: the work of each pool that has any, SHORT or LONG.
        documents: the numbers of documents by strategy and pool.
        concluding: the part of the work that combines chunks' answers.
        output_tokens: the generated tokens of each task, by its name.
    """

    pools: Mapping[str, Work]
    documents: Mapping[tuple[str, str], float]
    concluding: Work
    output_tokens: Mapping[str, float]

    @property
    def total(self) -> Work:
        """The work of all pools together."""
        return sum(self.pools.values(), Work())


@dataclass(frozen=True)
class _Passages:
    """Passages that the same tasks are asked about: for each different length of documents, their
    number, the passages of one of them, and the tokens that the prompts about a passage share.
    `overhead` is the part of these that is not the passage, for parts."""

    strategy: str
    pool: str
    tasks: Sequence[Task]
    lengths: LengthCounts
    per_document: FloatArray
    shared: FloatArray
    overhead: int = 0


def workload(
    counts: LengthCounts,
    tasks: TaskSet,
    uses: Mapping[str, AnswerUse],
    corrections: Corrections,
    block_tokens: int,
) -> Workload:
    """Return the work of reading documents of the given lengths.

    `uses` has what the answers of each task take, by its name. `block_tokens` is the size of the
    prefix cache's blocks, of which only full ones are reused.
    """
    readable = counts.where(~tasks.reading.too_long(counts.lengths))
    groups = list(_groups(readable, tasks, corrections))
    pools = {name: Work() for name in dict.fromkeys(group.pool for group in groups)}
    documents: dict[tuple[str, str], float] = {}
    output = dict.fromkeys((task.spec.name for task in tasks.all), 0.0)
    all_concluding = Work()
    for group in groups:
        work = _first_work(group, tasks, block_tokens)
        for task in group.tasks:
            use = uses[task.spec.name]
            asked = _asked_work(group, task, use, block_tokens)
            combined = _concluding_work(group, task, use, tasks)
            output[task.spec.name] += asked.output_tokens + combined.output_tokens
            all_concluding += combined
            work += asked + combined
        pools[group.pool] += work
        if group.strategy != PARTS or not _read_whole(tasks):
            key = (group.strategy, group.pool)
            documents[key] = documents.get(key, 0.0) + group.lengths.documents
    return Workload(pools, documents, all_concluding, output)


def _read_whole(tasks: TaskSet) -> list[Task]:
    return [task for task in tasks.all if not task.in_parts]


def _groups(counts: LengthCounts, tasks: TaskSet, corrections: Corrections) -> Iterator[_Passages]:
    """Yield the passages of documents read whole, in chunks or truncated, and in parts."""
    reading, read_whole = tasks.reading, _read_whole(tasks)
    estimates = reading.lengths(counts.lengths)
    long = reading.long_pool(estimates.longest)
    one_pass = counts.lengths <= reading.max_single_pass_tokens
    other = TRUNCATE if reading.policy == TRUNCATE else MAP_REDUCE
    in_parts = [task for task in tasks.all if task.in_parts]
    for pool, in_pool in ((SHORT, ~long), (LONG, long)):
        for strategy, chosen in ((SINGLE, one_pass & in_pool), (other, ~one_pass & in_pool)):
            if not chosen.any() or not read_whole:
                continue
            cut = strategy != SINGLE
            yield _Passages(
                strategy,
                pool,
                read_whole,
                counts.where(chosen),
                estimates.passages[chosen] * np.float64(corrections.passages if cut else 1.0),
                estimates.shared[chosen] * np.float64(corrections.shared if cut else 1.0),
            )
        if in_parts and in_pool.any():
            yield _parts(counts.where(in_pool), pool, in_parts, tasks, corrections)


def _parts(
    counts: LengthCounts,
    pool: str,
    in_parts: Sequence[Task],
    tasks: TaskSet,
    corrections: Corrections,
) -> _Passages:
    plan = tasks.reading.parts
    assert plan is not None
    read = tasks.reading.tokens_in_parts(counts.lengths)
    count = np.maximum(1, plan.count(read)) * corrections.parts
    shared = (read / np.maximum(1, plan.count(read)) + plan.overhead) * corrections.part_shared
    return _Passages(PARTS, pool, in_parts, counts, count, shared, plan.overhead)


def _first_work(group: _Passages, tasks: TaskSet, block_tokens: int) -> Work:
    """Return the work of computing every passage's shared tokens once.

    The instruction before a document is the same for all and is found in the cache.
    """
    passages = group.lengths.counts * group.per_document
    same = len(tasks.tokenizer.prefix_ids) + _instruction_tokens(group, tasks)
    computed = np.maximum(1.0, group.shared - same // block_tokens * block_tokens)
    return Work(
        computed_tokens=float((passages * computed).sum()),
        pairs=float((passages * group.shared * computed).sum()) / 2,
    )


def _instruction_tokens(group: _Passages, tasks: TaskSet) -> int:
    if group.strategy in CHUNKED:
        return tasks.prompts.chunk_instruction_tokens
    return tasks.prompts.document_prefix(()).passage_start


def _asked_work(group: _Passages, task: Task, use: AnswerUse, block_tokens: int) -> Work:
    """Return the work of asking one task's question about every passage, the passage computed.

    Each question but the first computes the last block of the passage again, half of a block on
    average.
    """
    question = len(question_for(task, chunk=group.strategy in CHUNKED).token_ids)
    again = 0.0 if task is group.tasks[0] else block_tokens / 2
    requests = group.lengths.counts * group.per_document * (1 + use.repeats)
    prompts = group.shared + question
    answers = _answers(group, use)
    output = requests * answers
    steps = output * use.steps_per_token
    return Work(
        requests=float(requests.sum()),
        prompt_tokens=float((requests * prompts).sum()),
        computed_tokens=float(requests.sum()) * (question + again),
        pairs=float((requests * prompts).sum()) * (question + again),
        output_tokens=float(output.sum()),
        steps=float(steps.sum()),
        step_context=float((steps * (prompts + answers / 2)).sum()),
    )


def _answers(group: _Passages, use: AnswerUse) -> FloatArray:
    """Return the expected tokens of an answer about a passage."""
    if group.strategy == SINGLE:
        return use.whole.at(group.lengths.lengths)
    if group.strategy == TRUNCATE:
        return use.whole.at(group.shared)
    if group.strategy == PARTS and use.growth is not None:
        return use.growth * (group.shared - group.overhead)
    return np.full(len(group.shared), use.chunk)


def _concluding_work(group: _Passages, task: Task, use: AnswerUse, tasks: TaskSet) -> Work:
    if group.strategy not in CHUNKED:
        return Work()
    return concluding_work(task, group.lengths.counts, group.per_document, use, tasks)
