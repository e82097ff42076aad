"""What goes over HTTP: requests with their bounds, answers, errors, and examples of them all.

Answers are what a part's row holds, as JSON. Knows no Ray, no engine and no web framework.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError, to_jsonable_python

from pipelines.answering.protocols import ChunkResult
from pipelines.documents import Answer, Usage
from pipelines.job.spec import TaskSpec
from pipelines.tasks.kinds import Task

EXAMPLE_TEXT = "Annual report 2023\n\nAuditor: Smith & Sons\nRevenue: 12.5 million"
EXAMPLE_TASK: JsonDict = {
    "name": "auditor",
    "kind": "ask",
    "question": "Who audited the statements?",
}
EXAMPLE_ANSWER: JsonDict = {
    "text": "Smith & Sons",
    "quotes": [{"text": "Auditor: Smith & Sons", "start": 20, "end": 41, "verified": True}],
    "status": "answered",
    "strategy": "single",
    "chunks": 1,
    "prompt_tokens": 120,
    "output_tokens": 14,
    "finish_reason": "stop",
}


_MOST_KEYS = 64


def limit_keys(given: Any) -> Any:
    """What is given, where it is no object of more keys than any has: of a million keys that are
    wrong each would be told, in more memory than there is."""
    if isinstance(given, Mapping) and len(given) > _MOST_KEYS:
        raise PydanticCustomError(
            "too_many_keys", f"an object of {len(given)} keys, none has more than {_MOST_KEYS}"
        )
    return given


class StrictModel(BaseModel):
    """A JSON object with no other keys than these. Its lists are checked up to the first fault."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)

    _few = model_validator(mode="before")(limit_keys)


Utf8Str = Annotated[str, Field(min_length=0)]
"""Text that files and tokenizers take: a str with a constraint is checked to be UTF-8, one without
may hold a lone surrogate."""


class DocumentRequest(StrictModel):
    """One document and what to find out about it."""

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
    prompt_tokens: int
    cached_prompt_tokens: int
    output_tokens: int


class DocumentAnswer(BaseModel):
    """By task: its value (as the columns of a job's output), how it was read, what it took."""

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
    """The endpoint's own tasks, as a job file has them."""

    tasks: list[dict[str, Any]]


class FeedbackRequest(StrictModel):
    """What somebody thinks of an answer."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "answer": "filing-7",
                    "task": "auditor",
                    "verdict": "wrong",
                    "correction": "Smith & Daughters",
                }
            ]
        }
    )

    answer: Annotated[str, Field(min_length=1, max_length=256, description="The answer's id.")]
    verdict: Literal["right", "wrong", "partly"]
    task: Annotated[str, Field(max_length=256)] | None = None
    correction: Any = Field(default=None, description="What would have been right, as JSON.")
    comment: Annotated[str, Field(max_length=10_000)] | None = None
    text: Utf8Str | None = Field(default=None, description="The document, where it is to be kept.")


class FeedbackKept(BaseModel):
    id: str


class ErrorBody(BaseModel):
    message: str
    type: str
    param: str | None = None
    code: str | int | None = None


class Error(BaseModel):
    """OpenAI's shape."""

    error: ErrorBody


def error_json(
    message: str, kind: str, code: str | int | None = None, param: str | None = None
) -> dict[str, Any]:
    """An error in OpenAI's shape."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def answers_json(tasks: Sequence[Task], answers: Sequence[Answer]) -> dict[str, Any]:
    """Answers by task, each as its column of a part, and why where there is none."""
    told = {}
    for task, answer in zip(tasks, answers, strict=True):
        cell = task.column.cell(answer)
        if answer.problem:
            cell["message"] = answer.problem.message
        told[answer.task] = to_jsonable_python(cell)
    return told


def chunk_event(task: Task, part: ChunkResult) -> dict[str, Any]:
    """What a chunk said, and where it stands."""
    said = task.column.cell(Answer(task.spec.name, part.value)) if part.value else {}
    value = {name: said[name] for name in said if name in ("text", "label", "quotes", "confidence")}
    if task.schema is not None and part.value:
        value = {name: said[name] for name in (*task.schema["properties"], "quotes")}
    return {
        "task": part.task,
        "start": part.start,
        "end": part.end,
        "value": to_jsonable_python(value) if part.value else None,
    }


def usage_json(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "cached_prompt_tokens": usage.cached_prompt_tokens,
        "output_tokens": usage.output_tokens,
    }


def task_schema() -> Mapping[str, Any]:
    """The JSON Schema of a task's definition."""
    return TypeAdapter(TaskSpec).json_schema(ref_template="#/components/schemas/{model}")
