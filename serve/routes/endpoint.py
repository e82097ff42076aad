"""The routes of the endpoint: requests are checked here, put to a pool, and answered.

`make_app` builds one ASGI application from an `Endpoint`; what it needs of Ray is behind `Pool`.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from pipelines.errors import RequestRejected, SpecError, StorageError
from serve import wire
from serve.access.gate import AccessMiddleware, ApiError, App
from serve.engines.chat import CHAT, TEXT
from serve.engines.offer import PreparedEndpoint
from serve.engines.pools import PoolRejected
from serve.engines.replica import DOCUMENT, ReplicaRequest
from serve.routes import openai
from serve.routes.answering import EndpointContext, answer_stream, answer_whole, within_deadline
from serve.routes.described import ERRORS, STREAM, described
from serve.wire import error_json

_SERVER, _CLIENT = "server_error", "invalid_request_error"


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
    _add_errors(app)
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
            raise ApiError(503, reason, _SERVER, "not_ready")
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
            raise ApiError(
                404, "this endpoint keeps no feedback: feedback.path", _CLIENT, "no_feedback"
            )
        _fits("text", len(given.text or ""), offer)
        try:
            async with asyncio.timeout(endpoint.seconds):
                kept = await endpoint.feedback.write(given, request.state.key.name)
        except StorageError as error:
            raise ApiError(503, error.message, _SERVER, "storage") from error
        except TimeoutError:
            late = f"the verdict was not kept within {endpoint.seconds:g} s; it may be kept later"
            raise ApiError(503, late, _SERVER, "storage") from None
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
        raise ApiError(
            404,
            f"The model {model[:200]!r} does not exist; there is {offer.spec.model.name!r}.",
            _CLIENT,
            "model_not_found",
        )


def _fits(what: str, characters: int, offer: PreparedEndpoint) -> None:
    most = offer.spec.limits.text_characters
    if characters > most:
        raise ApiError(
            413,
            f"{what}: {characters} characters, at most {most} are allowed",
            _CLIENT,
            "text_too_large",
        )


def _add_errors(app: FastAPI) -> None:
    """Whatever goes wrong, in OpenAI's shape."""

    def told(status: int, body: dict[str, Any], headers: Mapping[str, str] = {}) -> Response:
        # ASCII: what was sent may be no text that can be sent back
        data = json.dumps(body)
        return Response(data, status, dict(headers), "application/json")

    @app.exception_handler(ApiError)
    async def refused(_: Request, error: ApiError) -> Response:
        return told(error.status, error.body, error.headers)

    @app.exception_handler(PoolRejected)
    async def refusal(_: Request, error: PoolRejected) -> Response:
        return told(error.status, error.error)

    @app.exception_handler(SpecError)
    async def spec(_: Request, error: SpecError) -> Response:
        return told(422, error_json(error.message, _CLIENT, "invalid_value"))

    @app.exception_handler(RequestRejected)
    async def rejected(_: Request, error: RequestRejected) -> Response:
        code = "context_length_exceeded" if "context length" in str(error) else "invalid_value"
        return told(400, error_json(str(error), _CLIENT, code))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        found = [each for each in error.errors() if each["loc"][0] == "body"] or error.errors()
        if found[0]["type"] == "json_invalid":
            text = f"the body is no JSON: {found[0]['ctx']['error']}"
            return told(400, error_json(text, _CLIENT, "invalid_json"))
        path = [str(part) for part in found[0]["loc"][1:]]
        message = str(found[0]["msg"])
        if found[0]["type"] == "extra_forbidden":
            message = "no such key"
        if found[0]["loc"] == ("body",) and found[0]["type"] != "too_many_keys":
            message = "send a JSON object, with the header content-type: application/json"
        if len({each["loc"][1:2] for each in found}) < len(found) and len(path) > 1:
            # of a key that may be of several forms pydantic tells why it is none of them
            path, message = path[:1], "is of none of the forms that it may have"
        where = ".".join(path)
        text = f"{where}: {message}" if where else message
        return told(422, error_json(text[:1000], _CLIENT, "invalid_request", where[:200] or None))

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> Response:
        # the gate logs it
        return told(500, error_json("internal error", _SERVER, "internal_error"))

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        return told(
            error.status_code, error_json(str(error.detail), _CLIENT, None), error.headers or {}
        )


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
