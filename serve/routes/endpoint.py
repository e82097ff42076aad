"""The routes of the endpoint: each checks a request, sends it to a pool, and returns the answer.

`make_app` makes one ASGI application from an `EndpointContext`. Knows no Ray: the engines are
behind the protocol `EnginePool`.
"""

from __future__ import annotations

import asyncio
import uuid
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from starlette.middleware.cors import CORSMiddleware

from pipelines.errors import RequestRejected, SpecError, StorageError
from serve import wire
from serve.access.asgi import App
from serve.access.gate import AccessMiddleware
from serve.engines.chat import CHAT, TEXT
from serve.engines.offer import PreparedEndpoint
from serve.engines.replica import DOCUMENT, ReplicaRequest
from serve.errors import (
    FeedbackDisabled,
    FeedbackNotStored,
    ModelNotFound,
    NotReady,
    TextTooLarge,
)
from serve.routes import openai
from serve.routes.answering import EndpointContext, answer_stream, answer_whole, within_deadline
from serve.routes.described import ERRORS, STREAM, described
from serve.routes.error_handlers import add_error_handlers

_MAX_QUOTED_CHARACTERS = 200


def make_app(endpoint: EndpointContext) -> App:
    """Return the endpoint's ASGI application, with the access middleware in front of its routes.

    Web pages of other origins may send requests from browsers if `http.cors_origins` of the serve
    file names their origin.
    """
    app = FastAPI(
        title="phifleet",
        version=version("phifleet"),
        summary="Long documents, read by Phi-3.",
        docs_url=None,
        redoc_url=None,
        responses=ERRORS,
    )
    _add_status_routes(app, endpoint)
    _add_list_routes(app, endpoint)
    _add_document_route(app, endpoint)
    _add_feedback_route(app, endpoint)
    _add_completion_routes(app, endpoint)
    add_error_handlers(app)
    app.openapi = described(app, list(endpoint.prepared.tasks_by_name))  # type: ignore[method-assign]  # FastAPI's documented way
    spec = endpoint.prepared.spec
    middleware: App = AccessMiddleware(
        app, endpoint.keyring, endpoint.quota, spec.limits, endpoint.record
    )
    if spec.http.cors_origins:
        return CORSMiddleware(
            middleware,
            allow_origins=list(spec.http.cors_origins),
            allow_methods=["GET", "POST"],
            # OpenAI's client for browsers sends headers of its own
            allow_headers=["*"],
            expose_headers=["retry-after"],
        )
    return middleware


def _add_status_routes(app: FastAPI, endpoint: EndpointContext) -> None:
    """Add the page, and the two routes that tell load balancers about this process."""

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(_page(), headers=_PAGE_HEADERS)

    @app.get("/healthz", summary="Report that this process runs.")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="Report whether every pool that keeps an engine has one.")
    async def readyz() -> dict[str, str]:
        reason = await endpoint.ready() if endpoint.ready else None
        if reason:
            raise NotReady(reason)
        return {"status": "ready"}


def _add_list_routes(app: FastAPI, endpoint: EndpointContext) -> None:
    """Add the routes that list the model and the tasks."""
    prepared = endpoint.prepared

    def card() -> openai.ModelCard:
        longest = max(prepared.longest(pool) for pool in prepared.pools)
        name = prepared.spec.model.name
        return openai.ModelCard(id=name, created=endpoint.started, max_model_len=longest)

    @app.get("/v1/models", summary="List the model, as OpenAI does.")
    async def models() -> openai.ModelList:
        return openai.ModelList(data=[card()])

    @app.get("/v1/models/{model:path}", summary="Describe a model, as OpenAI does.")
    async def model(model: str) -> openai.ModelCard:
        _check_model(model, prepared)
        return card()

    @app.get("/v1/tasks", summary="List the tasks that a request can name.")
    async def tasks() -> wire.TaskList:
        specs = prepared.spec.tasks
        definitions = [task.model_dump(mode="json", exclude_none=True) for task in specs]
        return wire.TaskList(tasks=definitions)


def _add_document_route(app: FastAPI, endpoint: EndpointContext) -> None:
    prepared = endpoint.prepared

    @app.post(
        "/v1/documents",
        response_model=wire.DocumentAnswer,
        responses={200: {"content": STREAM, "description": "The answers, or events."}},
        summary="Answer tasks about one document of any length.",
    )
    async def documents(body: wire.DocumentRequest, request: Request) -> Response:
        key, deadline = request.state.key, endpoint.deadline()
        _check_characters("text", len(body.text), prepared)
        if body.text.isspace():
            raise SpecError("text: got only white space, must have at least one other character")
        specs = prepared.specs(body.tasks)
        _check_characters("tasks", sum(len(spec.model_dump_json()) for spec in specs), prepared)
        async with within_deadline(endpoint, deadline):
            tasks = await asyncio.to_thread(prepared.tasks, specs)
            await asyncio.to_thread(prepared.check_parts, body.text, tasks)
            pool = await asyncio.to_thread(prepared.pool_of_document, body.text, tasks)
        document_id = body.id or f"doc-{uuid.uuid4().hex}"
        work = ReplicaRequest(DOCUMENT, document_id, text=body.text, specs=specs)
        answer = answer_stream if body.stream else answer_whole
        return await answer(endpoint, key, pool, work, deadline)


def _add_feedback_route(app: FastAPI, endpoint: EndpointContext) -> None:
    @app.post("/v1/feedback", status_code=201, summary="Store a verdict on an answer.")
    async def feedback(body: wire.FeedbackRequest, request: Request) -> wire.FeedbackKept:
        if endpoint.feedback is None:
            raise FeedbackDisabled(
                "This endpoint does not store feedback: its serve file has no feedback.path. Ask "
                "the endpoint's operator to set it."
            )
        _check_characters("text", len(body.text or ""), endpoint.prepared)
        try:
            async with asyncio.timeout(endpoint.request_seconds):
                feedback_id = await endpoint.feedback.write(body, request.state.key.name)
        except StorageError as error:
            raise FeedbackNotStored(error.message) from error
        except TimeoutError:
            raise FeedbackNotStored(
                f"The feedback was not stored within {endpoint.request_seconds:g} s. It may still "
                "be stored later. Send it again if storing it twice does no harm."
            ) from None
        return wire.FeedbackKept(id=feedback_id)


def _add_completion_routes(app: FastAPI, endpoint: EndpointContext) -> None:
    """Add OpenAI's chat and text completions."""
    streams: dict[int | str, dict[str, Any]] = {
        200: {"content": STREAM, "description": "OpenAI's answer, or its events."}
    }

    @app.post(
        "/v1/chat/completions",
        response_model=openai.Completed,
        responses=streams,
        summary="OpenAI's chat completion.",
    )
    async def chat(body: openai.ChatRequest, request: Request) -> Response:
        return await _complete(endpoint, CHAT, body, request)

    @app.post(
        "/v1/completions",
        response_model=openai.Completed,
        responses=streams,
        summary="OpenAI's text completion.",
    )
    async def completions(body: openai.CompletionRequest, request: Request) -> Response:
        return await _complete(endpoint, TEXT, body, request)


async def _complete(
    endpoint: EndpointContext,
    kind: str,
    body: openai.ChatRequest | openai.CompletionRequest,
    request: Request,
) -> Response:
    """Answer a completion of `kind` CHAT or TEXT. Raises ApiError, RequestRejected."""
    prepared = endpoint.prepared
    key, deadline = request.state.key, endpoint.deadline()
    _check_model(body.model, prepared)
    _check_characters("messages" if kind == CHAT else "prompt", body.characters, prepared)
    max_tokens = _max_tokens_per_answer(body, prepared)
    response_format = getattr(body, "response_format", None)
    async with within_deadline(endpoint, deadline):
        if response_format and (form := response_format.json_schema):
            form.json_schema = await asyncio.to_thread(prepared.decodable, form.json_schema)
        fields = body.model_dump(mode="json", exclude_none=True, by_alias=True)
        prompts = await asyncio.to_thread(prepared.prompts, kind, fields)
    longest = max(map(len, prompts))
    pool = prepared.pool_of_prompt(longest, body.max_answer_tokens)
    if body.max_answer_tokens is None:
        fields["max_tokens"] = min(max_tokens, prepared.longest(pool) - longest)
    prompt_ids = tuple(map(tuple, prompts))
    work = ReplicaRequest(kind, uuid.uuid4().hex, prompt_ids=prompt_ids, body=fields)
    answer = answer_stream if body.stream else answer_whole
    return await answer(endpoint, key, pool, work, deadline)


def _max_tokens_per_answer(
    body: openai.ChatRequest | openai.CompletionRequest, prepared: PreparedEndpoint
) -> int:
    """Return the maximum number of tokens of each answer, if the request does not set one.

    `limits.output_tokens` is divided among all answers of the request. Raises RequestRejected if
    they may together take more than that.
    """
    limit = prepared.spec.limits.output_tokens
    answers = body.prompts * (body.n or 1)
    tokens = body.max_answer_tokens or 1
    if answers * tokens > limit:
        chat_key = getattr(body, "max_completion_tokens", None) and "max_completion_tokens"
        several = f" for each of {answers} answers" * (answers > 1)
        fewer = ", or ask for fewer answers (n, prompts)" * (answers > 1)
        raise RequestRejected(
            f"{chat_key or 'max_tokens'}: {tokens} tokens{several} is more than the {limit} that "
            "this endpoint allows for all answers of a request together (limits.output_tokens); "
            f"set a lower {chat_key or 'max_tokens'}{fewer}"
        )
    return limit // answers


def _check_model(model: str, prepared: PreparedEndpoint) -> None:
    """Raise ModelNotFound if the endpoint serves another model."""
    if model != prepared.spec.model.name:
        raise ModelNotFound(
            f"The model {model[:_MAX_QUOTED_CHARACTERS]!r} does not exist. This endpoint serves "
            f"{prepared.spec.model.name!r}; send this name."
        )


def _check_characters(key: str, characters: int, prepared: PreparedEndpoint) -> None:
    """Raise TextTooLarge if the text of `key` has more characters than the limit."""
    limit = prepared.spec.limits.text_characters
    if characters > limit:
        raise TextTooLarge(
            f"{key}: got {characters} characters, must be at most {limit} "
            "(limits.text_characters). Send a shorter text."
        )


# The page can load and run nothing but what it contains, and send requests only to this origin.
_PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def _page() -> str:
    return files("serve.routes").joinpath("page.html").read_text(encoding="utf-8")
