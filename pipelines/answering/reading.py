"""Reading one passage: send every task's question to the engine, and record the answers.

All questions about a passage share its prefill, because every prompt begins with the passage.
Pure: no Ray, no vLLM, no files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from pipelines.answering.combining import Finding
from pipelines.answering.limits import AnswerLimits
from pipelines.answering.passages import Passage
from pipelines.answering.protocols import ChunkResult, Engine, ProgressCallback
from pipelines.answering.records import TaskRecord
from pipelines.answering.shares import Shares
from pipelines.documents import AnswerValue
from pipelines.errors import InvalidAnswer, RequestRejected
from pipelines.tasks.kinds import LENGTH, Completion, Question, TaskSet
from pipelines.tasks.parsing import parse_answer
from pipelines.tasks.questions import repair_question
from pipelines.text.search import DocumentSearch

# Characters of a document that are searched for evidence in 0.02 to 0.06 seconds, depending on its
# kind: tables and dates take longest, and a letter of any script takes as long as another. A
# character of an answer takes as long as some of the document: it is part of a value that is looked
# for.
_SEARCHED_IN_LOOP = 20_000
_SEARCHED_PER_ANSWERED = 8


@dataclass(frozen=True, slots=True)
class _Request:
    """A task's question about a passage, and its prompt as token ids."""

    record: TaskRecord
    passage: Passage
    question: Question
    prompt: Sequence[int]


@dataclass(frozen=True, slots=True)
class _CutOff:
    """A request whose answer, `completion`, was cut off at its limit, and its question with a
    larger one."""

    request: _Request
    completion: Completion
    larger: Question


@dataclass(frozen=True)
class PassageReader:
    """Asks all tasks' questions about the passages of one document and records the answers.

    Attributes:
        search: finds quotes and values in the document.
        tasks: the job's tasks, with their tokenizer.
        engine: the engine that answers.
        records: one record per task that reads these passages, to which findings are added.
        on_progress: called with a ChunkResult for each task and chunk, if the document is read in
            chunks, also where the answer failed; may be None.
    """

    search: DocumentSearch
    tasks: TaskSet
    engine: Engine
    records: Sequence[TaskRecord]
    on_progress: ProgressCallback | None

    async def read(self, passage: Passage, admitted: asyncio.Event) -> None:
        """Ask all tasks' questions about a passage, and record their findings or problems.

        Sets `admitted` once KV cache is reserved, so that the caller can start the next passage. A
        question is asked once more if the answer violates the task's schema, or if an answer to a
        question with a budget was cut off at its limit and a larger limit fits. A rejected prompt
        or an invalid answer is recorded as a problem. Raises EngineError, also in an
        ExceptionGroup, if the engine itself fails.
        """
        requests = [self._request(record, passage) for record in self.records]
        questions = [(request.question, len(request.prompt)) for request in requests]
        shares = Shares(self.engine, len(passage.prefix.token_ids), questions)
        async with self.engine.admit(shares.count) as reservation:
            admitted.set()

            def close(number: int) -> None:
                reservation.shrink(shares.close(number))

            answered = await self._answer_all(requests, close)
        # Outside, since passages that hold KV cache and wait for more could wait for each other.
        async with asyncio.TaskGroup() as group:
            for cut_off in answered:
                if cut_off is not None:
                    group.create_task(self._record_second(cut_off))

    async def _answer_all(
        self, requests: Sequence[_Request], close: Callable[[int], None]
    ) -> list[_CutOff | None]:
        """Ask all questions of a passage and record their answers, except answers that were cut off
        and can be longer: those are returned.

        `close` is called with the number of a question when its KV cache is no longer needed.

        If the engine prefills the longest prompt in one step, all are sent together. Otherwise the
        first is sent alone until its first token: by then the prefix is cached, and the others
        reuse it.
        """
        longest = max(len(request.prompt) for request in requests)
        together = len(requests) == 1 or longest <= self.engine.max_batched_tokens
        cached = asyncio.Event()
        on_first_token = None if together else cached.set
        async with asyncio.TaskGroup() as group:
            first = self._answer_first(requests[0], partial(close, 0), on_first_token)
            answers = [group.create_task(first)]
            answers[0].add_done_callback(lambda _: cached.set())
            if not together:
                await cached.wait()
            for number, request in enumerate(requests[1:], 1):
                answers.append(
                    group.create_task(self._answer_first(request, partial(close, number)))
                )
        return [answer.result() for answer in answers]

    async def _answer_first(
        self,
        request: _Request,
        close: Callable[[], None],
        on_first_token: Callable[[], None] | None = None,
    ) -> _CutOff | None:
        """Ask a question and record the answer's value; return an answer that can be longer."""
        completion = await self._ask(request, on_first_token)
        if isinstance(completion, Completion) and (larger := self._larger(request, completion)):
            close()
            return _CutOff(request, completion, larger)
        if request.record.task.schema is None:
            close()  # the question is not repaired
        await self._record_first(request, completion)
        close()
        return None

    async def _ask(
        self, request: _Request, on_first_token: Callable[[], None] | None
    ) -> Completion | RequestRejected:
        sampling = request.question.sampling
        try:
            completion = await self.engine.generate(request.prompt, sampling, on_first_token)
        except RequestRejected as error:
            return error
        self._note_length(request.question, completion)
        return completion

    def _note_length(self, question: Question, completion: Completion) -> None:
        self.engine.answer_lengths.record(question.text, completion.usage.output_tokens)

    @property
    def _limits(self) -> AnswerLimits:
        record, limit = self.records[0], self.engine.max_model_len
        if record.task.in_parts and (parts := self.tasks.reading.parts):
            limit = min(limit, parts.prompt_limit)
        return AnswerLimits(self.search.text, self.tasks, record.strategy, limit)

    def _request(self, record: TaskRecord, passage: Passage) -> _Request:
        question = record.question
        prompt = self._prompt(passage, question)
        limited = self._limits.limited(question, passage.chunk, len(prompt))
        return _Request(record, passage, limited, prompt)

    def _prompt(self, passage: Passage, question: Question) -> Sequence[int]:
        return self.tasks.tokenizer.build_prompt(passage.prefix.token_ids, question.token_ids)

    def _larger(self, request: _Request, completion: Completion) -> Question | None:
        chunk, prompt_tokens = request.passage.chunk, len(request.prompt)
        return self._limits.larger(request.question, completion, chunk, prompt_tokens)

    async def _record_first(
        self, request: _Request, completion: Completion | RequestRejected
    ) -> None:
        """Record the value of a completion, or its problem."""
        try:
            value = await self._value(request, completion)
        except (RequestRejected, InvalidAnswer) as error:
            self._record(request, error)
        else:
            self._record(request, value)

    async def _record_second(self, cut_off: _CutOff) -> None:
        """Record the value of a second answer, with a larger limit than the one cut off."""
        try:
            value = await self._longer_value(cut_off)
        except InvalidAnswer as error:
            self._record(cut_off.request, error)
        else:
            self._record(cut_off.request, value)

    def _record(
        self, request: _Request, result: AnswerValue | RequestRejected | InvalidAnswer
    ) -> None:
        record, chunk = request.record, request.passage.chunk
        record.add_passage(chunk)
        if isinstance(result, RequestRejected | InvalidAnswer):
            value = None
            record.add_problem(result, chunk)
        else:
            value = result
            record.findings[request.passage.number] = Finding(chunk.start, chunk.end, value)
        if self.on_progress is not None and record.in_chunks:
            self.on_progress(ChunkResult(record.task.spec.name, chunk.start, chunk.end, value))

    async def _longer_value(self, cut_off: _CutOff) -> AnswerValue:
        """Ask again with a larger limit; return the complete values of the answer that was cut off
        if that fails."""
        request, first, larger = cut_off.request, cut_off.completion, cut_off.larger
        record, prompt = request.record, request.prompt
        record.count(first)
        # the whole limit: this answer is longer than most
        needed = max(len(prompt) + larger.sampling.max_tokens, self.engine.min_request_tokens)
        try:
            async with self.engine.admit(needed):
                second = await self.engine.generate(prompt, larger.sampling)
            return await self._parse(request, record.count(second))
        except (RequestRejected, InvalidAnswer):
            record.last_reason = first.finish_reason
            return await self._parse(request, first)

    async def _value(
        self, request: _Request, completion: Completion | RequestRejected
    ) -> AnswerValue:
        """Return the value of a completion; ask once more if it violates the task's schema."""
        record = request.record
        if isinstance(completion, RequestRejected):
            raise completion
        try:
            return await self._parse(request, record.count(completion))
        except InvalidAnswer as error:
            if record.task.schema is None:
                raise
            repair = repair_question(request.question, error.message, self.tasks.tokenizer)
        prompt = self._prompt(request.passage, repair)
        repair = self._limits.shortened(repair, len(prompt))
        second = await self.engine.generate(prompt, repair.sampling)
        return await self._parse(request, record.count(second))

    async def _parse(self, request: _Request, completion: Completion) -> AnswerValue:
        """Return an answer's value with its evidence.

        A long search for evidence runs in a thread, as other documents would have to wait.
        """
        record, passage = request.record, request.passage
        own = (passage.chunk.start, passage.chunk.end) if record.in_chunks else None
        parse = partial(parse_answer, record.task, completion, self.search, passage.span, chunk=own)
        # a document is prepared for all searches when the first one needs it
        characters = len(self.search.text) + _SEARCHED_PER_ANSWERED * len(completion.text)
        value = await asyncio.to_thread(parse) if characters > _SEARCHED_IN_LOOP else parse()
        record.cut_off |= completion.finish_reason == LENGTH
        return value
