"""What requests may look like."""

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


def said(**keys: Any) -> tuple[type[BaseModel], dict[str, Any]]:
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
        said(content=[1] * MANY),
        said(tool_calls=[1] * MANY),
        completion(["a"] * MANY),
        completion([-1] * MANY),
        completion([[]] * MANY),
        completion([[-1] * MANY] * 64),
    ],
)
def test_of_many_faults_few_are_told(kind: type[BaseModel], body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as found:
        kind.model_validate(body)
    assert found.value.error_count() < 100


def test_metadata_has_as_many_pairs_as_openais() -> None:
    kind, body = chat(metadata={str(number): "a" for number in range(16)})
    kind.model_validate(body)
    with pytest.raises(ValidationError, match="at most 16"):
        kind.model_validate({**body, "metadata": {**body["metadata"], "more": "a"}})
