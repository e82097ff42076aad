"""OpenAI's chat and text completions: vLLM's implementation, with phifleet's engine and prompts.

An answer, streamed or not, is what `vllm serve` would send. Only the prompt differs: it arrives as
token ids, in which a client's text is never a control token. This is the only module of `serve`
that imports vllm, and it uses parts of it that are not public.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from pipelines.documents import Usage
from pipelines.engine.grammars import json_grammar
from pipelines.engine.vllm_engine import VllmEngine
from pipelines.errors import EngineDied
from serve.engines.chat import CHAT, TEXT
from serve.errors import EngineRejected

_DATA = "data: "
METRICS = "metrics"
"""The field of vLLM's answers with numbers about drafts, which clients do not get."""
_ERROR, _NO_CHOICES = 'data: {"error"', '"choices":[]'
_ANY_OBJECT = {"type": "object"}
# The lowest HTTP code of an error that is not the client's.
_SERVER_ERROR = 500
_LOGGER = logging.getLogger("ray.serve")
Body = Mapping[str, Any]
"""OpenAI's request as plain data."""
PromptIds = Sequence[Sequence[int]]
"""The token ids of each prompt of a request."""


class Completions:
    """Answers OpenAI's chat and text completions with one engine, whole or as a stream."""

    def __init__(self, engine: VllmEngine, name: str) -> None:
        """Create vLLM's OpenAI handlers for `engine`. `name` is the model's name in answers."""
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
        from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
        from vllm.entrypoints.openai.completion.protocol import CompletionRequest
        from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion
        from vllm.entrypoints.openai.models.protocol import BaseModelPath
        from vllm.entrypoints.openai.models.serving import OpenAIServingModels
        from vllm.renderers.online_renderer import OnlineRenderer
        from vllm.tokenizers import get_tokenizer

        client = engine.client
        # the engine's tokenizer has no control tokens, which log-probabilities show
        tokenizer = get_tokenizer(engine.config.model.path)
        client.renderer.tokenizer = client.output_processor.tokenizer = tokenizer
        models = OpenAIServingModels(
            client, [BaseModelPath(name=name, model_path=str(engine.config.model.path))]
        )
        renderer = OnlineRenderer(
            client.model_config,
            client.renderer,
            request_logger=None,
            chat_template=None,
            chat_template_content_format="string",
        )
        shared: dict[str, Any] = {
            "online_renderer": renderer,
            "request_logger": None,
            "enable_prompt_tokens_details": True,
        }

        # they return our token ids instead of rendering the request; vllm has no type hints
        class Chat(OpenAIServingChat):  # type: ignore[misc]
            async def render_chat_request(self, request: Any) -> Any:
                return [], [_prompt(request.phifleet_ids)]

        class Text(OpenAIServingCompletion):  # type: ignore[misc]
            async def render_completion_request(self, request: Any) -> Any:
                return [_prompt(ids) for ids in request.phifleet_ids]

        self._engine = engine
        self._chat = Chat(
            client,
            models,
            "assistant",
            chat_template=None,
            chat_template_content_format="string",
            **shared,
        )
        self._text = Text(client, models, **shared)
        self._requests = {CHAT: ChatCompletionRequest, TEXT: CompletionRequest}
        self._error_response = self._chat.create_error_response

    async def answer(self, kind: str, body: Body, ids: PromptIds) -> dict[str, Any]:
        """Return the complete answer to the request `body`, as OpenAI's JSON object.

        `kind` is CHAT or TEXT; `ids` are the token ids of the request's prompts, one for a chat.
        Raises EngineRejected if vLLM returns an error, EngineDied if the engine died or hung.
        """
        async with self._engine.under_watchdog():
            response = await self._create(kind, body, ids)
        answer: dict[str, Any] = response.model_dump(mode="json")
        return answer

    async def events(self, kind: str, body: Body, ids: PromptIds) -> AsyncIterator[str | Usage]:
        """Yield the answer as server-sent events, and its token counts as a `Usage` near the end.

        The arguments and errors are those of `answer`. The event with the token counts is yielded
        only if `stream_options.include_usage` of the request asks for it, the `Usage` always.
        """
        include_usage = (body.get("stream_options") or {}).get("include_usage")
        body = {**body, "stream_options": {"include_usage": True}}
        async with self._engine.under_watchdog():
            async for event in await self._create(kind, body, ids):
                if event.startswith(_ERROR):
                    raise self._failure(json.loads(event.removeprefix(_DATA)))
                usage = _usage(event)
                if usage is not None:
                    yield usage
                if usage is None:
                    yield event
                elif include_usage:
                    yield _without_metrics(event)

    async def _create(self, kind: str, body: Body, ids: PromptIds) -> Any:
        from vllm.entrypoints.serve.engine.protocol import ErrorResponse

        create = self._chat.create_chat_completion if kind == CHAT else self._text.create_completion
        try:
            request = self._requests[kind].model_validate(with_grammar(self._usable(body)))
            request.phifleet_ids = ids[0] if kind == CHAT else ids
            response = await create(request, None)
        except Exception as error:
            if self._engine.dead:
                raise
            response = self._error_response(error)
        if isinstance(response, ErrorResponse):
            raise self._failure(json.loads(response.model_dump_json()))
        return response

    def _usable(self, body: Body) -> Body:
        """Return a request without its seed for an engine on a CPU, which would die of one if the
        prompt is computed in several steps: PyTorch cannot rewind the generators of CPUs."""
        if self._engine.config.gpu:
            return body
        return {key: value for key, value in body.items() if key != "seed"}

    def _failure(self, body: dict[str, Any]) -> Exception:
        """Return the exception for an error response of vLLM, which reports any failure as one,
        even if it failed because the engine died."""
        if self._engine.dead:
            return EngineDied(f"the engine died: {body['error']['message']}")
        code = int(body["error"]["code"])
        if code >= _SERVER_ERROR:
            # not the message, which may quote the request
            _LOGGER.error(
                "a completion failed in vLLM: HTTP %d, %s; the client received the message",
                code, body["error"]["type"],
            )  # fmt: skip
        return EngineRejected(code, body)


def with_grammar(body: Body) -> dict[str, Any]:
    """Return a request with the grammar of its `response_format` in place of that key.

    vLLM itself would forbid the blank with which Phi-3 begins an answer. Raises vLLM's
    VLLMValidationError if the schema of the format has a keyword that its grammars cannot enforce.
    """
    kept = {key: value for key, value in body.items() if key != "response_format"}
    form = body.get("response_format") or {"type": "text"}
    if form["type"] == "text":
        return kept
    schema = form["json_schema"]["schema"] if form["type"] == "json_schema" else _ANY_OBJECT
    _check_keywords(schema)
    return {**kept, "structured_outputs": {"grammar": json_grammar(json.dumps(schema))}}


def _check_keywords(schema: Mapping[str, Any]) -> None:
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams
    from vllm.v1.structured_output.backend_xgrammar import validate_xgrammar_grammar

    validate_xgrammar_grammar(
        SamplingParams(structured_outputs=StructuredOutputsParams(json=dict(schema)))
    )


def parse_usage(answer: Mapping[str, Any]) -> Usage:
    """Return the token counts of an OpenAI answer, in its fields `usage` and, for a single choice
    of an engine that drafts, `metrics`. Counts without a value are 0."""
    usage = answer["usage"]
    details = usage.get("prompt_tokens_details") or {}
    output = usage.get("completion_tokens") or 0
    drafts = (answer.get(METRICS) or {}).get("speculative_decoding") or {}
    return Usage(
        prompt_tokens=usage["prompt_tokens"],
        cached_prompt_tokens=details.get("cached_tokens") or 0,
        output_tokens=output,
        steps=output - drafts.get("num_accepted_draft_tokens", 0),
        draft_tokens=drafts.get("num_draft_tokens", 0),
    )


def _usage(event: str) -> Usage | None:
    """Return the token counts of the last event of a stream, which has no choices; None for other
    events."""
    if _NO_CHOICES not in event:
        return None
    data = json.loads(event.removeprefix(_DATA))
    return parse_usage(data) if not data["choices"] and data.get("usage") else None


def _without_metrics(event: str) -> str:
    data = json.loads(event.removeprefix(_DATA))
    data.pop(METRICS, None)
    return f"{_DATA}{json.dumps(data)}\n\n"


def _prompt(ids: Sequence[int]) -> Any:
    from vllm.inputs import tokens_input

    if not ids:
        raise ValueError("the prompt is empty; send a prompt of at least one token")
    return tokens_input(list(ids))
