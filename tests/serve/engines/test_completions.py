"""Tests of the requests that are passed on to vLLM's OpenAI handlers, without an engine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipelines.engine.grammars import json_grammar
from serve.engines.completions import with_grammar

# torch and vLLM warn on import
pytestmark = pytest.mark.filterwarnings("ignore")

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
BODY: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}]}


def form(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}


@pytest.mark.parametrize(
    ("response_format", "schema"),
    [(form(SCHEMA), SCHEMA), ({"type": "json_object"}, {"type": "object"})],
)
def test_vllm_decodes_a_response_format_by_the_grammar_of_batch_answers(
    response_format: dict[str, Any], schema: dict[str, Any]
) -> None:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

    body = with_grammar({**BODY, "response_format": response_format})
    grammar = json_grammar(json.dumps(schema))
    assert body == {**BODY, "structured_outputs": {"grammar": grammar}}
    request = ChatCompletionRequest.model_validate(body)
    structure = request.to_sampling_params(8, {}).structured_outputs
    assert structure is not None and structure.grammar == grammar and structure.json is None


@pytest.mark.parametrize("body", [BODY, {**BODY, "response_format": {"type": "text"}}])
def test_text_is_decoded_without_a_grammar(body: dict[str, Any]) -> None:
    assert with_grammar(body) == BODY


@pytest.mark.parametrize(
    "keyword",
    [
        {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        {"type": "integer", "multipleOf": 3},
        {"type": "string", "pattern": "a+", "maxLength": 3},
    ],
)
def test_keywords_that_vllms_grammars_ignore_are_refused(keyword: dict[str, Any]) -> None:
    from vllm.exceptions import VLLMValidationError

    schema = {"type": "object", "properties": {"a": keyword}}
    with pytest.raises(VLLMValidationError, match="not supported by xgrammar"):
        with_grammar({**BODY, "response_format": form(schema)})
