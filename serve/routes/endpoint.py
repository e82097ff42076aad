"""The routes of the endpoint: requests are checked here, put to a pool, and answered.

`make_app` builds one ASGI application from an `Endpoint`; what it needs of Ray is behind `Pool`.
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


def make_app(endpoint: EndpointContext) -> App:
    """The ASGI application."""
    app = FastAPI(
        title="phifleet",
        version=version("phifleet"),
        summary="Long documents, read by Phi-3.",
        docs_url=None,
        redoc_url=None,
        responses=ERRORS,
    )
    _add_looks(app, endpoint)
    _add_documents(app, endpoint)
    _add_openai(app, endpoint)
    add_error_handlers(app)
    app.openapi = described(app, list(endpoint.prepared.tasks_by_name))  # type: ignore[method-assign]  # FastAPI's documented way
    spec = endpoint.prepared.spec
    gated: App = AccessMiddleware(
        app, endpoint.keyring, endpoint.quota, spec.limits, endpoint.record
    )
    if spec.http.cors_origins:
        return CORSMiddleware(
            gated,
            allow_origins=list(spec.http.cors_origins),
            allow_methods=["GET", "POST"],
            # OpenAI's client for browsers sends some of its own
            allow_headers=["*"],
            expose_headers=["retry-after"],
        )
    return gated


def _add_looks(app: FastAPI, endpoint: EndpointContext) -> None:
    offer = endpoint.prepared

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(_page(), headers=_PAGE_HEADERS)

    @app.get("/healthz", summary="Whether this process answers.")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="Whether there are engines to answer.")
    async def readyz() -> dict[str, str]:
        reason = await endpoint.ready() if endpoint.ready else None
        if reason:
            raise NotReady(reason)
        return {"status": "ready"}

    def card() -> openai.ModelCard:
        longest = max(offer.longest(pool) for pool in offer.pools)
        name = offer.spec.model.name
        return openai.ModelCard(id=name, created=endpoint.started, max_model_len=longest)

    @app.get("/v1/models", summary="OpenAI's list of models: one.")
    async def models() -> openai.ModelList:
        return openai.ModelList(data=[card()])

    @app.get("/v1/models/{model:path}", summary="OpenAI's description of a model.")
    async def model(model: str) -> openai.ModelCard:
        _known(model, offer)
        return card()

    @app.get("/v1/tasks", summary="The tasks that can be asked for by name.")
    async def tasks() -> wire.TaskList:
        dumped = [task.model_dump(mode="json", exclude_none=True) for task in offer.spec.tasks]
        return wire.TaskList(tasks=dumped)


def _add_documents(app: FastAPI, endpoint: EndpointContext) -> None:
    offer = endpoint.prepared

    @app.post(
        "/v1/documents",
        response_model=wire.DocumentAnswer,
        responses={200: {"content": STREAM, "description": "The answers, or events."}},
        summary="Ask one document, of any length, some questions.",
    )
    async def documents(asked: wire.DocumentRequest, request: Request) -> Response:
        key, until = request.state.key, endpoint.deadline()
        _fits("text", len(asked.text), offer)
        if asked.text.isspace():
            raise SpecError("text: white space only, must be a text to read")
        specs = offer.specs(asked.tasks)
        _fits("tasks", sum(len(each.model_dump_json()) for each in specs), offer)
        async with within_deadline(endpoint, until):
            tasks = await asyncio.to_thread(offer.tasks, specs)
            pool = await asyncio.to_thread(offer.pool_of_document, asked.text, tasks)
        name = asked.id or f"doc-{uuid.uuid4().hex}"
        work = ReplicaRequest(DOCUMENT, name, text=asked.text, specs=specs)
        if asked.stream:
            return await answer_stream(endpoint, key, pool, work, until)
        return await answer_whole(endpoint, key, pool, work, until)

    @app.post("/v1/feedback", status_code=201, summary="Say what you think of an answer.")
    async def feedback(given: wire.FeedbackRequest, request: Request) -> wire.FeedbackKept:
        if endpoint.feedback is None:
            raise FeedbackDisabled("this endpoint keeps no feedback: feedback.path")
        _fits("text", len(given.text or ""), offer)
        try:
            async with asyncio.timeout(endpoint.seconds):
                kept = await endpoint.feedback.write(given, request.state.key.name)
        except StorageError as error:
            raise FeedbackNotStored(error.message) from error
        except TimeoutError:
            late = f"the verdict was not kept within {endpoint.seconds:g} s; it may be kept later"
            raise FeedbackNotStored(late) from None
        return wire.FeedbackKept(id=kept)


def _add_openai(app: FastAPI, endpoint: EndpointContext) -> None:
    offer = endpoint.prepared

    async def complete(
        kind: str, asked: openai.ChatRequest | openai.CompletionRequest, request: Request
    ) -> Response:
        key, until = request.state.key, endpoint.deadline()
        _known(asked.model, offer)
        _fits("messages" if kind == CHAT else "prompt", asked.characters, offer)
        most = _answer_tokens(asked, offer)
        form = getattr(asked, "response_format", None)
        async with within_deadline(endpoint, until):
            if form and (given := form.json_schema):
                given.json_schema = await asyncio.to_thread(offer.decodable, given.json_schema)
            body = asked.model_dump(mode="json", exclude_none=True, by_alias=True)
            ids = await asyncio.to_thread(offer.prompts, kind, body)
        longest = max(map(len, ids))
        pool = offer.pool_of_prompt(longest, asked.max_answer_tokens)
        if asked.max_answer_tokens is None:
            body["max_tokens"] = min(most, offer.longest(pool) - longest)
        work = ReplicaRequest(kind, uuid.uuid4().hex, prompt_ids=tuple(map(tuple, ids)), body=body)
        if asked.stream:
            return await answer_stream(endpoint, key, pool, work, until)
        return await answer_whole(endpoint, key, pool, work, until)

    streams: dict[int | str, dict[str, Any]] = {
        200: {"content": STREAM, "description": "OpenAI's answer, or its events."}
    }

    @app.post(
        "/v1/chat/completions",
        response_model=openai.Completed,
        responses=streams,
        summary="OpenAI's chat completion.",
    )
    async def chat(asked: openai.ChatRequest, request: Request) -> Response:
        return await complete(CHAT, asked, request)

    @app.post(
        "/v1/completions",
        response_model=openai.Completed,
        responses=streams,
        summary="OpenAI's text completion.",
    )
    async def completions(asked: openai.CompletionRequest, request: Request) -> Response:
        return await complete(TEXT, asked, request)


def _answer_tokens(
    asked: openai.ChatRequest | openai.CompletionRequest, offer: PreparedEndpoint
) -> int:
    """The most that each of its answers may take. Raises RequestRejected where it wants more."""
    allowed = offer.spec.limits.output_tokens
    answers = asked.prompts * (asked.n or 1)
    if answers * (asked.max_answer_tokens or 1) > allowed:
        several = f" for each of {answers} answers" * (answers > 1)
        raise RequestRejected(
            f"max_tokens is {asked.max_answer_tokens}{several}, at most {allowed} are allowed"
        )
    return allowed // answers


def _known(model: str, offer: PreparedEndpoint) -> None:
    if model != offer.spec.model.name:
        raise ModelNotFound(
            f"The model {model[:200]!r} does not exist; there is {offer.spec.model.name!r}."
        )


def _fits(what: str, characters: int, offer: PreparedEndpoint) -> None:
    most = offer.spec.limits.text_characters
    if characters > most:
        raise TextTooLarge(f"{what}: {characters} characters, at most {most} are allowed")


# Nothing but what is in the page itself is loaded or run.
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
