"""Refuses the schemas of requests that an engine cannot decode, before it is asked.

The engine itself finds out after a stream has begun. A check takes milliseconds in a thread of the
replica, which has imported the grammar library when it started. Knows no engine.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from pipelines.engine.grammars import check_grammars, grammar_fault
from pipelines.errors import SpecError
from pipelines.tasks.kinds import TaskSet
from serve.errors import EngineRejected
from serve.wire import error_json

_FORMAT_KEY = "response_format.json_schema.schema"
# HTTP statuses: those of other faults of a task, and of a completion.
_INVALID_TASK, _INVALID_FORMAT = 422, 400


async def check_tasks(tasks: TaskSet) -> None:
    """Raise EngineRejected if the engine cannot decode the answers of a task by its schema."""
    try:
        await asyncio.to_thread(check_grammars, tasks.all)
    except SpecError as error:
        raise _rejected(_INVALID_TASK, error.message, "tasks") from error


async def check_format(body: Mapping[str, Any]) -> None:
    """Raise EngineRejected if the engine cannot decode answers by a request's `response_format`.

    `body` is OpenAI's request.
    """
    form = (body.get("response_format") or {}).get("json_schema") or {}
    if "schema" not in form:
        return
    fault = await asyncio.to_thread(grammar_fault, json.dumps(form["schema"]))
    if fault is not None:
        raise _rejected(
            _INVALID_FORMAT,
            f"{_FORMAT_KEY}: the engine cannot decode answers of this schema: {fault}. Remove "
            "keywords that restrict values, such as pattern, one by one",
            _FORMAT_KEY,
        )


def _rejected(status: int, message: str, param: str) -> EngineRejected:
    body = error_json(message, "invalid_request_error", "invalid_value", param)
    return EngineRejected(status, body)
