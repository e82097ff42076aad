"""Reading one passage: send every task's question to the engine, and record the answers.

All questions about a passage share its prefill, because every prompt begins with the passage.
Pure: no Ray, no vLLM, no files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from pipelines.answering.combining import Finding
from pipelines.answering.passages import Passage
from pipelines.answering.protocols import ChunkResult, Engine, ProgressCallback
from pipelines.documents import INVALID_ANSWER, REJECTED, Answer, AnswerValue, Problem, Usage
from pipelines.errors import InvalidAnswer, RequestRejected
from pipelines.tasks.kinds import (
    LENGTH,
    Completion,
    Question,
    Task,
    TaskSet,
    question_for,
    repair_question,
)
from pipelines.tasks.parsing import parse_answer
from pipelines.text.lengths import MAP_REDUCE
from pipelines.text.search import DocumentSearch

# Characters of a document that are searched for evidence in about 0.1 seconds. A character of an
# answer takes as long as some of the document: it is part of a value that is looked for.
_SEARCHED_IN_LOOP = 200_000
_SEARCHED_PER_ANSWERED = 8


@dataclass
class TaskRecord:
    """Collects the findings and problems of one task over the passages of one document.

    Attributes:
        task: the task.
        strategy: how the document is read: `single`, `map_reduce` or `truncate`.
        findings: the finding of each passage, by passage number.
        problems: the problems of passages that gave no finding.
        passages: how many passages were read.
        usage: tokens of all prompts and answers so far.
        last_reason: the finish reason of the last answer counted.
        cut_off: whether any passage's answer reached its token limit.
        text_characters: the length of all passages, without the words around them.
        text_tokens: the same in tokens.
    """

    task: Task
    strategy: str
    findings: dict[int, Finding] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    passages: int = 0
    usage: Usage = field(default_factory=Usage)
    last_reason: str | None = None
    cut_off: bool = False
    text_characters: int = 0
    text_tokens: int = 0

    @property
    def question(self) -> Question:
        """Return the question of the task that is asked about each passage."""
        return question_for(self.task, chunk=self.in_chunks)

    @property
    def in_chunks(self) -> bool:
        """Return True if the document is read in chunks, whose findings are then combined."""
        return self.strategy == MAP_REDUCE

    def count(self, completion: Completion) -> Completion:
        """Add a completion's tokens to `usage`, keep its finish reason, and return it unchanged."""
        self.usage += completion.usage
        self.last_reason = completion.finish_reason
        return completion

    def answer(
        self, value: AnswerValue | None, problem: Problem | None, reason: str | None
    ) -> Answer:
        """Return the task's answer, with the strategy, passages and tokens recorded here.

        Either `value` or `problem` is None. `reason` is the finish reason, None if there is none.
        """
        name = self.task.spec.name
        return Answer(name, value, problem, self.strategy, self.passages, self.usage, reason)


@dataclass(frozen=True)
class PassageReader:
    """Asks all tasks' questions about the passages of one document and records the answers.

    `search` finds quotes and values in the document. `records` has one record per task, in the
    order of `tasks.all`. `on_progress`, if not None, is called with every chunk's value.
    """

    search: DocumentSearch
    tasks: TaskSet
    engine: Engine
    records: Sequence[TaskRecord]
    on_progress: ProgressCallback | None

    async def read(self, passage: Passage, admitted: asyncio.Event) -> None:
        """Ask all tasks' questions about a passage, and record their findings or problems.

        Sets `admitted` once KV cache is reserved, so that the caller can start the next passage. An
        answer that violates its schema is asked for a second time, and so is one to a form that
        reached its token limit, if a larger one fits. Raises EngineError, also in an
        ExceptionGroup.
        """
        shared = passage.prefix.token_ids
        prompts = [
            self.tasks.tokenizer.build_prompt(shared, record.question.token_ids)
            for record in self.records
        ]
        questions = [
            self._limited(record.question, passage, len(prompt))
            for record, prompt in zip(self.records, prompts, strict=True)
        ]
        reserved = kv_tokens_needed(
            len(shared),
            [len(prompt) for prompt in prompts],
            [question.sampling.max_tokens for question in questions],
            self.engine.min_request_tokens,
        )
        async with self.engine.admit(reserved):
            admitted.set()
            completions = await _complete_all(prompts, questions, self.engine)
            larger = [
                self._larger(question, completion, passage, len(prompt))
                for question, completion, prompt in zip(
                    questions, completions, prompts, strict=True
                )
            ]
            async with asyncio.TaskGroup() as group:
                for record, question, completion, retry in zip(
                    self.records, questions, completions, larger, strict=True
                ):
                    if retry is None:
                        value = self._value(record, passage, question, completion)
                        group.create_task(self._record(record, passage, value))
        # Outside, since passages that hold KV cache and wait for more could wait for each other.
        async with asyncio.TaskGroup() as group:
            for record, completion, retry in zip(self.records, completions, larger, strict=True):
                if retry is not None and isinstance(completion, Completion):
                    value = self._longer_value(record, passage, retry, completion)
                    group.create_task(self._record(record, passage, value))

    def _limited(self, question: Question, passage: Passage, prompt_tokens: int) -> Question:
        """Return a question with the limit of its answer about a passage."""
        chunk = passage.chunk
        free_tokens = self._free_tokens(prompt_tokens)
        if question.budget is None:
            # vLLM shortens an answer to its context itself
            return question
        return question.about(
            self.search.text[chunk.start : chunk.end], len(chunk.token_ids), free_tokens
        )

    def _free_tokens(self, prompt_tokens: int) -> int:
        limit = self.engine.max_model_len
        if self.records[0].in_chunks:
            limit = min(limit, self.tasks.reading.chunk_prompt_limit)
        free_tokens = limit - prompt_tokens
        return min(free_tokens, self.tasks.max_answer_tokens or free_tokens)

    def _larger(
        self,
        question: Question,
        completion: Completion | RequestRejected,
        passage: Passage,
        prompt_tokens: int,
    ) -> Question | None:
        """Return the question with a larger limit if its answer was cut off and one fits."""
        if isinstance(completion, RequestRejected) or completion.finish_reason != LENGTH:
            return None
        if question.budget is None:
            return None
        limit = question.sampling.max_tokens
        wanted = question.budget.after_a_cut(limit, len(passage.chunk.token_ids))
        allowed = min(wanted, self._free_tokens(prompt_tokens))
        return question.limited(allowed) if allowed > limit else None

    async def _record(
        self, record: TaskRecord, passage: Passage, awaited: Awaitable[AnswerValue]
    ) -> None:
        record.passages += 1
        chunk = passage.chunk
        record.text_characters += chunk.end - chunk.start
        record.text_tokens += len(chunk.token_ids)
        value: AnswerValue | None = None
        try:
            value = await awaited
        except (RequestRejected, InvalidAnswer) as error:
            record.problems.append(problem_of(error))
        else:
            record.findings[passage.number] = Finding(chunk.start, chunk.end, value)
            record.cut_off |= record.last_reason == LENGTH
        if self.on_progress is not None and record.in_chunks:
            self.on_progress(ChunkResult(record.task.spec.name, chunk.start, chunk.end, value))

    async def _longer_value(
        self, record: TaskRecord, passage: Passage, question: Question, cut_off: Completion
    ) -> AnswerValue:
        """Ask again with the larger limit of `question`; return the complete values of the answer
        that was cut off if that fails."""
        record.count(cut_off)
        prompt = self.tasks.tokenizer.build_prompt(passage.prefix.token_ids, question.token_ids)
        needed = max(len(prompt) + question.sampling.max_tokens, self.engine.min_request_tokens)
        try:
            async with self.engine.admit(needed):
                second = await self.engine.generate(prompt, question.sampling)
            return await self._parse(record, passage, second)
        except (RequestRejected, InvalidAnswer):
            record.last_reason = cut_off.finish_reason
            return await self._parsed(record, passage, cut_off)

    async def _value(
        self,
        record: TaskRecord,
        passage: Passage,
        question: Question,
        completion: Completion | RequestRejected,
    ) -> AnswerValue:
        """Return the value of a completion; ask once more if it violates the task's schema."""
        if isinstance(completion, RequestRejected):
            raise completion
        try:
            return await self._parse(record, passage, completion)
        except InvalidAnswer as error:
            if record.task.schema is None:
                raise
            repair = repair_question(question, error.message, self.tasks.tokenizer)
        prompt = self.tasks.tokenizer.build_prompt(passage.prefix.token_ids, repair.token_ids)
        if repair.budget is not None:
            limit = min(repair.sampling.max_tokens, self._free_tokens(len(prompt)))
            repair = repair.limited(limit)
        second = await self.engine.generate(prompt, repair.sampling)
        return await self._parse(record, passage, second)

    async def _parse(
        self, record: TaskRecord, passage: Passage, completion: Completion
    ) -> AnswerValue:
        return await self._parsed(record, passage, record.count(completion))

    async def _parsed(
        self, record: TaskRecord, passage: Passage, completion: Completion
    ) -> AnswerValue:
        """Return an answer's value with its evidence.

        A long search for evidence runs in a thread, as other documents would have to wait.
        """
        own = (passage.chunk.start, passage.chunk.end) if record.in_chunks else None
        parse = partial(parse_answer, record.task, completion, self.search, passage.span, chunk=own)
        # a document is prepared for all searches when the first one needs it
        characters = len(self.search.text) + _SEARCHED_PER_ANSWERED * len(completion.text)
        return await asyncio.to_thread(parse) if characters > _SEARCHED_IN_LOOP else parse()


def problem_of(error: RequestRejected | InvalidAnswer) -> Problem:
    """Return the problem to record for a task that failed with `error`, with its message."""
    reason = REJECTED if isinstance(error, RequestRejected) else INVALID_ANSWER
    return Problem(reason, str(error))


def kv_tokens_needed(
    shared_tokens: int,
    prompt_tokens: Sequence[int],
    max_answer_tokens: Sequence[int],
    min_request_tokens: int,
) -> int:
    """Return the KV cache tokens to reserve for the prompts about one passage.

    The first `shared_tokens` tokens of all prompts are the same, and are cached once. To them each
    prompt adds the rest of its length in `prompt_tokens`, and its answer's maximum length. The
    result is at least `min_request_tokens` for each prompt.
    """
    unshared_tokens = sum(
        prompt - shared_tokens + answer
        for prompt, answer in zip(prompt_tokens, max_answer_tokens, strict=True)
    )
    return max(shared_tokens + unshared_tokens, len(prompt_tokens) * min_request_tokens)


async def _complete_all(
    prompts: Sequence[Sequence[int]], questions: Sequence[Question], engine: Engine
) -> list[Completion | RequestRejected]:
    """Complete prompts that share a prefix.

    If the engine prefills the longest in one step, they are sent together. Otherwise the first is
    sent alone until its first token: by then the prefix is cached, and the others reuse it.
    """
    together = len(prompts) == 1 or max(map(len, prompts)) <= engine.max_batched_tokens
    cached = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        on_first_token = None if together else cached.set
        requests = [group.create_task(_ask(prompts[0], questions[0], engine, on_first_token))]
        requests[0].add_done_callback(lambda _: cached.set())
        if not together:
            await cached.wait()
        for prompt, question in zip(prompts[1:], questions[1:], strict=True):
            requests.append(group.create_task(_ask(prompt, question, engine)))
    return [request.result() for request in requests]


async def _ask(
    prompt: Sequence[int],
    question: Question,
    engine: Engine,
    on_first_token: Callable[[], None] | None = None,
) -> Completion | RequestRejected:
    try:
        return await engine.generate(prompt, question.sampling, on_first_token)
    except RequestRejected as error:
        return error
