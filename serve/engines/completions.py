"""OpenAI's chat and text completions: vLLM's own, over phifleet's engine and phifleet's tokens.

The one file of `serve` that imports vllm, and parts of it that are not public: what an answer looks
like, streamed or not, is what `vllm serve` sends. What differs is how a prompt becomes ids: text
never becomes a control token.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from pipelines.documents import Usage
from pipelines.engine.vllm_engine import VllmEngine
from pipelines.errors import EngineDied
from serve.engines.chat import CHAT, TEXT
from serve.errors import EngineRejected

_DATA = "data: "
_ERROR, _NO_CHOICES = 'data: {"error"', '"choices":[]'
# From here on a code says that it was not the client's fault.
_OURS = 500
_LOGGER = logging.getLogger("ray.serve")
Body = Mapping[str, Any]
PromptIds = Sequence[Sequence[int]]


class Completions:
    """Completes chats and texts with one engine, which is called `name`."""

    def __init__(self, engine: VllmEngine, name: str) -> None:
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
        from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
        from vllm.entrypoints.openai.completion.protocol import CompletionRequest
        from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion
        from vllm.entrypoints.openai.models.protocol import BaseModelPath
        from vllm.entrypoints.openai.models.serving import OpenAIServingModels
        from vllm.renderers.online_renderer import OnlineRenderer

        client = engine.client
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

        # vllm ships no types
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
        self._refusals = self._chat.create_error_response

    async def answer(self, kind: str, body: Body, ids: PromptIds) -> dict[str, Any]:
        """The whole answer. Raises EngineRejected, EngineDied."""
        async with self._engine.under_watchdog():
            made = await self._create(kind, body, ids)
        answer: dict[str, Any] = made.model_dump(mode="json")
        return answer

    async def events(self, kind: str, body: Body, ids: PromptIds) -> AsyncIterator[str | Usage]:
        """The answer as server-sent events, and what it took when that is known. Raises
        EngineRejected, EngineDied."""
        wanted = (body.get("stream_options") or {}).get("include_usage")
        body = {**body, "stream_options": {"include_usage": True}}
        async with self._engine.under_watchdog():
            async for event in await self._create(kind, body, ids):
                if event.startswith(_ERROR):
                    raise self._failure(json.loads(event.removeprefix(_DATA)))
                used = _usage(event)
                if used is not None:
                    yield used
                if used is None or wanted:
                    yield event

    async def _create(self, kind: str, body: Body, ids: PromptIds) -> Any:
        from vllm.entrypoints.serve.engine.protocol import ErrorResponse

        create = self._chat.create_chat_completion if kind == CHAT else self._text.create_completion
        try:
            request = self._requests[kind].model_validate(dict(body))
            request.phifleet_ids = ids[0] if kind == CHAT else ids
            made = await create(request, None)
        except Exception as error:
            if self._engine.dead:
                raise
            made = self._refusals(error)
        if isinstance(made, ErrorResponse):
            raise self._failure(json.loads(made.model_dump_json()))
        return made

    def _failure(self, told: dict[str, Any]) -> Exception:
        """vLLM tells of every failure as of the client's, also where its engine died meanwhile."""
        if self._engine.dead:
            return EngineDied(f"the engine died: {told['error']['message']}")
        code = int(told["error"]["code"])
        if code >= _OURS:
            _LOGGER.error("a completion failed: %s", told["error"]["type"])
        return EngineRejected(code, told)


def parse_usage(told: Mapping[str, Any]) -> Usage:
    """OpenAI's usage as ours."""
    details = told.get("prompt_tokens_details") or {}
    cached = details.get("cached_tokens") or 0
    return Usage(told["prompt_tokens"], cached, told.get("completion_tokens") or 0)


def _usage(event: str) -> Usage | None:
    """What the event tells that comes last, with no choice in it; None of the others."""
    if _NO_CHOICES not in event:
        return None
    told = json.loads(event.removeprefix(_DATA))
    return parse_usage(told["usage"]) if not told["choices"] and told.get("usage") else None


def _prompt(ids: Sequence[int]) -> Any:
    from vllm.inputs import tokens_input

    if not ids:
        raise ValueError("the prompt is empty")
    return tokens_input(list(ids))
