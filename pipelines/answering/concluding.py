"""Concluding a task: make its answer to the whole document from the findings of the passages.

A document read in one pass has a single finding, which is the answer. The findings of chunks are
combined, which may send further prompts to the engine. Pure: no Ray, no vLLM, no files.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.answering.combining import Combiner
from pipelines.answering.limits import limited_combining
from pipelines.answering.protocols import Engine, ProgressCallback
from pipelines.answering.records import TaskRecord, problem_of
from pipelines.answering.shares import Shares
from pipelines.answering.written import STOP, failed_part, joined_parts
from pipelines.documents import Answer, AnswerValue, Fields
from pipelines.errors import InvalidAnswer, RequestRejected, flatten_errors
from pipelines.tasks.kinds import LENGTH, Completion, Question, TaskSet
from pipelines.tasks.parsing import check_required
from pipelines.text.search import DocumentSearch

PARTIAL = "partial"
"""The finish reason of an answer for which some chunks gave no finding."""


async def conclude(
    record: TaskRecord,
    search: DocumentSearch,
    tasks: TaskSet,
    engine: Engine,
    on_progress: ProgressCallback | None,
) -> Answer:
    """Return a task's answer about the whole document, and call `on_progress`, if given, with it.

    Call it once for each task, after all passages were read.

    `record` has the task and the findings of all passages, a single one if the document was read
    whole. `search` is that of the document. If no passage gave a finding, or they cannot be
    combined, the answer has a problem instead of a value. Raises EngineError if the engine itself
    fails.
    """
    answer = await _answer(record, search, tasks, engine)
    if on_progress is not None:
        on_progress(answer)
    return answer


async def _answer(
    record: TaskRecord, search: DocumentSearch, tasks: TaskSet, engine: Engine
) -> Answer:
    findings = [record.findings[number] for number in sorted(record.findings)]
    if answer := failed_part(record) or joined_parts(record, findings, search.text):
        return answer
    if not findings:
        return record.answer(None, record.problems[0], record.last_reason)
    if not record.in_chunks:
        return record.answer(findings[0].value, None, record.last_reason)
    record.last_reason = None

    async def ask(shared: Sequence[int], question: Question) -> Completion:
        prompt = tasks.tokenizer.build_prompt(shared, question.token_ids)
        async with engine.admit(Shares(engine, 0, [(question, len(prompt))]).count):
            completion = await engine.generate(prompt, question.sampling)
        engine.answer_lengths.record(question.text, completion.usage.output_tokens)
        return record.count(completion)

    task = limited_combining(record.task, search.text, record.tokens_per_character, tasks)
    combiner = Combiner(search, tasks.prompts, tasks.reading.combine_prompt_limit, ask)
    value: AnswerValue | None = None
    problem = None
    try:
        value = await combiner.combine(task, findings)
        if isinstance(value, Fields) and not record.cut_off:
            check_required(task, value.values)
    except* (RequestRejected, InvalidAnswer) as errors:
        problem = problem_of(flatten_errors(errors)[0])
    return record.answer(value, problem, _finish_reason(record))


def _finish_reason(record: TaskRecord) -> str:
    """Return a combined answer's finish reason.

    It is `partial` if chunks are missing; otherwise that of the last combining prompt. If none was
    needed, or values of a form are missing, it is `length` if any chunk's answer was cut off, else
    `stop`.
    """
    if record.problems:
        return PARTIAL
    if record.cut_off and record.task.schema is not None:
        return LENGTH
    return record.last_reason or (LENGTH if record.cut_off else STOP)
