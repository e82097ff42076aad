"""Tests of the limits of requests."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from serve.routes.openai import ChatRequest, CompletionRequest
from serve.wire import DocumentRequest

MANY = 100_000
KEYS = {str(number): 1 for number in range(MANY)}


def document(**keys: Any) -> tuple[type[BaseModel], dict[str, Any]]:
    return DocumentRequest, {"text": "a", "tasks": ["a"], **keys}


def chat(**keys: Any) -> tuple[type[BaseModel], dict[str, Any]]:
    return ChatRequest, {"model": "m", "messages": [{"role": "user", "content": "a"}], **keys}


def chat_message(**keys: Any) -> tuple[type[BaseModel], dict[str, Any]]:
    return chat(messages=[{"role": "user", "content": "a", **keys}])


def completion(prompt: Any) -> tuple[type[BaseModel], dict[str, Any]]:
    return CompletionRequest, {"model": "m", "prompt": prompt}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        document(tasks=[1] * MANY),
        document(**KEYS),
        chat(messages=[1] * MANY),
        chat(messages=[dict(list(KEYS.items())[:60])] * 1000),
        chat(stop=[1] * MANY),
        chat(metadata=KEYS),
        chat_message(content=[1] * MANY),
        chat_message(tool_calls=[1] * MANY),
        completion(["a"] * MANY),
        completion([-1] * MANY),
        completion([[]] * MANY),
        completion([[-1] * MANY] * 64),
    ],
)
def test_a_request_with_many_errors_reports_few(
    kind: type[BaseModel], body: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError) as invalid:
        kind.model_validate(body)
    assert invalid.value.error_count() < 100


def test_metadata_is_limited_to_16_pairs_as_in_openais_api() -> None:
    kind, body = chat(metadata={str(number): "a" for number in range(16)})
    kind.model_validate(body)
    with pytest.raises(ValidationError, match="at most 16"):
        kind.model_validate({**body, "metadata": {**body["metadata"], "more": "a"}})
