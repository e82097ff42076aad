"""The JSON bodies of HTTP requests, answers and errors, with their limits and examples.

An answer has the fields of its column in a job's Parquet output. The classes are the components of
/openapi.json. This module knows no Ray, no engine and no web framework.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError, to_jsonable_python

from pipelines.answering.protocols import ChunkResult
from pipelines.documents import Answer, Usage
from pipelines.job.task_specs import TaskSpec
from pipelines.tasks.columns import ANSWER
from pipelines.tasks.kinds import Task

EXAMPLE_TEXT = "Annual report 2023\n\nAuditor: Smith & Sons\nRevenue: 12.5 million"
"""The text of the document in the examples of /openapi.json."""
EXAMPLE_TASK: JsonDict = {
    "name": "auditor",
    "kind": "ask",
    "question": "Who audited the statements?",
}
"""The definition of a task in the examples of /openapi.json."""
EXAMPLE_ANSWER: JsonDict = {
    "text": "Smith & Sons",
    "_evidence": [
        {
            "path": "",
            "status": "shown",
            "text": "Auditor: Smith & Sons",
            "start": 20,
            "end": 41,
            "page": None,
            "quote": None,
        }
    ],
    "_answer": {
        "status": "answered",
        "strategy": "single",
        "chunks": 1,
        "prompt_tokens": 120,
        "output_tokens": 14,
        "finish_reason": "stop",
    },
}
"""The answer to EXAMPLE_TASK about EXAMPLE_TEXT, as in a job's output."""

# More than any object of a request has.
_MAX_KEYS = 64


def limit_keys(value: Any) -> Any:
    """Return `value`, or raise PydanticCustomError if it is an object with more than 64 keys.

    A validator that runs before pydantic's own: pydantic makes an error for each wrong key, and
    those of a million keys would not fit in memory.
    """
    if isinstance(value, Mapping) and len(value) > _MAX_KEYS:
        raise PydanticCustomError(
            "too_many_keys", f"got an object of {len(value)} keys, at most {_MAX_KEYS} are allowed"
        )
    return value


class StrictModel(BaseModel):
    """Base class of the JSON objects in requests: unknown keys, more than 64 keys, NaN, infinity,
    and values of another type than declared (such as "1" for 1) are errors."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)

    _limit_keys = model_validator(mode="before")(limit_keys)


Utf8Str = Annotated[str, Field(min_length=0)]
"""A string that can be encoded as UTF-8. Pydantic rejects lone surrogates only in a string with a
constraint; here it is a minimum length of 0."""


class DocumentRequest(StrictModel):
    """A document, and the tasks to answer about it.

    `id` is returned with the answers; the endpoint makes an id if the request has none. With
    `stream`, the response is a stream of server-sent events.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"id": "filing-7", "text": EXAMPLE_TEXT, "tasks": [EXAMPLE_TASK]}]
        }
    )

    id: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    text: Annotated[str, Field(min_length=1)]
    tasks: list[str | dict[str, Any]] = Field(
        min_length=1,
        fail_fast=True,
        description="Names of the endpoint's tasks, or definitions as in a job file.",
    )
    stream: bool = False


class Usages(BaseModel):
    """The tokens that the answers about one document took, summed over its tasks.

    `prompt_tokens` includes `cached_prompt_tokens`, which came from the engine's prefix cache.
    """

    prompt_tokens: int
    cached_prompt_tokens: int
    output_tokens: int


class DocumentAnswer(BaseModel):
    """The answers about one document by task name, each with the fields of its column in a job's
    output. `id` is the document's."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "filing-7",
                    "answers": {"auditor": EXAMPLE_ANSWER},
                    "usage": {
                        "prompt_tokens": 120,
                        "cached_prompt_tokens": 0,
                        "output_tokens": 14,
                    },
                }
            ]
        }
    )

    id: str
    answers: dict[str, dict[str, Any]]
    usage: Usages


class TaskList(BaseModel):
    """The tasks of the serve file, as definitions in the form of a job file."""

    tasks: list[dict[str, Any]]


class FeedbackRequest(StrictModel):
    """A client's verdict on an answer, and optionally the task it is about, the judged value, a
    correction, a comment and the document's text.

    With `value` or `correction` it states a right answer, which `phifleet evaluate` reads.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "answer": "filing-7",
                    "task": "auditor",
                    "verdict": "wrong",
                    "value": "Smith & Sons",
                    "correction": "Smith & Daughters",
                }
            ]
        }
    )

    answer: Annotated[str, Field(min_length=1, max_length=256, description="The answer's id.")]
    verdict: Literal["right", "wrong", "partly"]
    task: Annotated[str, Field(max_length=256)] | None = None
    value: Any = Field(
        default=None,
        description="The judged value, as JSON: the answer of the task, or of all tasks by name "
        "if there is no `task`. A `right` one is then known without a correction.",
    )
    correction: Any = Field(
        default=None, description="The right value, as JSON; null if there is none."
    )
    comment: Annotated[str, Field(max_length=10_000)] | None = None
    text: Utf8Str | None = Field(default=None, description="The document, to store it, too.")


class FeedbackKept(BaseModel):
    """The response to feedback that was stored: the feedback's id."""

    id: str


class ErrorBody(BaseModel):
    """The fields of an error, as in OpenAI's API: `message` for people, `type` the kind of error,
    `param` the key of the request that is wrong, `code` a constant for programs."""

    message: str
    type: str
    param: str | None = None
    code: str | int | None = None


class Error(BaseModel):
    """The body of every error response, as in OpenAI's API."""

    error: ErrorBody


def error_json(
    message: str, kind: str, code: str | int | None = None, param: str | None = None
) -> dict[str, Any]:
    """Return the body of an error response, in the form of `Error`.

    `kind` becomes the field `type`, e.g. `invalid_request_error`; `code` is a constant that clients
    can test; `param` names the key of the request that is wrong.
    """
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def answers_json(tasks: Sequence[Task], answers: Sequence[Answer]) -> dict[str, Any]:
    """Return the answers by task name as JSON data, with the fields of their columns in a job's
    output.

    `answers` has one answer to each of `tasks`, in the same order. The answer of a task that failed
    has the reason as `message` in `_answer`.
    """
    cells = {}
    for task, answer in zip(tasks, answers, strict=True):
        cell = to_jsonable_python(task.column.cell(answer, typed=True))
        if answer.problem:
            cell[ANSWER]["message"] = answer.problem.message
        cells[answer.task] = cell
    return cells


def chunk_event(task: Task, part: ChunkResult) -> dict[str, Any]:
    """Return the data of a `part` event: the task's result for one chunk of the document.

    `start` and `end` are the chunk's character offsets in the document. `value` has the fields of
    the result that concern the chunk, and is None if the chunk had no result.
    """
    value = task.column.value_cell(part.value, typed=True)
    return {
        "task": part.task,
        "start": part.start,
        "end": part.end,
        "value": to_jsonable_python(value) if part.value else None,
    }


def document_json(
    document_id: str, tasks: Sequence[Task], answers: Sequence[Answer]
) -> dict[str, Any]:
    """Return the body of a `DocumentAnswer`: a document's id, answers and usage.

    `answers` has one answer to each of `tasks`, in the same order.
    """
    return {
        "id": document_id,
        "answers": answers_json(tasks, answers),
        "usage": usage_json(total_usage(answers)),
    }


def total_usage(answers: Iterable[Answer]) -> Usage:
    """Return the tokens that all answers took together."""
    return sum((answer.usage for answer in answers), start=Usage())


def usage_json(usage: Usage) -> dict[str, int]:
    """Return token counts as JSON data, in the form of `Usages`."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "cached_prompt_tokens": usage.cached_prompt_tokens,
        "output_tokens": usage.output_tokens,
    }


def task_schema() -> Mapping[str, Any]:
    """Return the JSON Schema of a task's definition, for /openapi.json."""
    return TypeAdapter(TaskSpec).json_schema(ref_template="#/components/schemas/{model}")
