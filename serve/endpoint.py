"""The routes of the endpoint: requests are checked here, put to a pool, and answered.

`make_app` builds one ASGI application from an `Endpoint`; what it needs of Ray is behind `Pool`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from pipelines.errors import RequestRejected, SpecError, StorageError
from serve import wire
from serve.chat import CHAT, TEXT, prompts_of
from serve.events import event, read_events
from serve.feedback import FeedbackKeeper
from serve.gate import App, Gate, Record, Refused
from serve.keys import Key, Keyring
from serve.offer import Offer, depth_of
from serve.pools import Busy, Gone, Pool, Refusal
from serve.quota import Quota
from serve.replica import DOCUMENT, Work
from serve.wire import error_json

_BUSY_CODES = {
    400: "Something in the request cannot be done.",
    401: "No key, or a wrong one.",
    404: "There is no such model or task.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    422: "The request is not well formed; the message says where.",
    429: "The key's minute is used up, or the engines have enough to do: see Retry-After.",
    500: "Something is broken.",
    503: "The engines that were asked died.",
    504: "The answer was not there in time.",
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": wire.Error, "description": text} for code, text in _BUSY_CODES.items()
}
_STREAM = {"text/event-stream": {"schema": {"type": "string"}}}
_SERVER, _CLIENT = "server_error", "invalid_request_error"
_LOGGER = logging.getLogger("ray.serve")
FirstToken = Callable[[float], None]


@dataclass(frozen=True)
class Endpoint:
    """What the routes need. `ready` says why the endpoint is not; `first_token` is told seconds."""

    offer: Offer
    pools: Mapping[str, Pool]
    keyring: Keyring
    quota: Quota
    record: Record = lambda path, code, seconds: None
    first_token: FirstToken = lambda seconds: None
    feedback: FeedbackKeeper | None = None
    ready: Callable[[], Awaitable[str | None]] | None = None
    started: int = field(default_factory=lambda: int(time.time()))

    @property
    def seconds(self) -> float:
        return self.offer.spec.limits.request_seconds


def make_app(endpoint: Endpoint) -> App:
    """The ASGI application."""
    app = FastAPI(
        title="phifleet",
        version=version("phifleet"),
        summary="Long documents, read by Phi-3.",
        docs_url=None,
        redoc_url=None,
        responses=_ERRORS,
    )
    _add_looks(app, endpoint)
    _add_documents(app, endpoint)
    _add_openai(app, endpoint)
    _add_errors(app)
    app.openapi = _described(app, list(endpoint.offer.named))  # type: ignore[method-assign]  # FastAPI's documented way
    spec = endpoint.offer.spec
    gated: App = Gate(app, endpoint.keyring, endpoint.quota, spec.limits, endpoint.record)
    if spec.http.cors_origins:
        return CORSMiddleware(
            gated,
            allow_origins=list(spec.http.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
        )
    return gated


def _add_looks(app: FastAPI, endpoint: Endpoint) -> None:
    offer = endpoint.offer

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
            raise Refused(503, reason, _SERVER, "not_ready")
        return {"status": "ready"}

    def card() -> wire.ModelCard:
        longest = max(offer.longest(pool) for pool in offer.pools)
        name = offer.spec.model.name
        return wire.ModelCard(id=name, created=endpoint.started, max_model_len=longest)

    @app.get("/v1/models", summary="OpenAI's list of models: one.")
    async def models() -> wire.ModelList:
        return wire.ModelList(data=[card()])

    @app.get("/v1/models/{model:path}", summary="OpenAI's description of a model.")
    async def model(model: str) -> wire.ModelCard:
        _known(model, offer)
        return card()

    @app.get("/v1/tasks", summary="The tasks that can be asked for by name.")
    async def tasks() -> wire.TaskList:
        dumped = [task.model_dump(mode="json", exclude_none=True) for task in offer.spec.tasks]
        return wire.TaskList(tasks=dumped)


def _add_documents(app: FastAPI, endpoint: Endpoint) -> None:
    offer = endpoint.offer

    @app.post(
        "/v1/documents",
        response_model=wire.DocumentAnswer,
        responses={200: {"content": _STREAM, "description": "The answers, or events."}},
        summary="Ask one document, of any length, some questions.",
    )
    async def documents(asked: wire.DocumentRequest, request: Request) -> Response:
        key = request.state.key
        limits = offer.spec.limits
        if len(asked.text) > limits.text_characters:
            raise Refused(
                413,
                f"text: {len(asked.text)} characters, at most {limits.text_characters} are allowed",
                _CLIENT,
                "text_too_large",
            )
        if asked.text.isspace():
            raise SpecError("text: white space only, must be a text to read")
        specs = offer.specs(asked.tasks)
        tasks = await asyncio.to_thread(offer.tasks, specs)
        pool = await asyncio.to_thread(offer.pool_of_document, asked.text, tasks)
        name = asked.id or f"doc-{uuid.uuid4().hex}"
        work = Work(DOCUMENT, name, text=asked.text, specs=specs)
        if asked.stream:
            return await _streamed(endpoint, key, pool, work)
        return await _answered(endpoint, key, pool, work)

    @app.post("/v1/feedback", status_code=201, summary="Say what you think of an answer.")
    async def feedback(given: wire.FeedbackRequest, request: Request) -> wire.FeedbackKept:
        if endpoint.feedback is None:
            raise Refused(
                404, "this endpoint keeps no feedback: feedback.path", _CLIENT, "no_feedback"
            )
        try:
            kept = await endpoint.feedback.keep(given, request.state.key.name)
        except StorageError as error:
            raise Refused(503, error.message, _SERVER, "storage") from error
        return wire.FeedbackKept(id=kept)


def _add_openai(app: FastAPI, endpoint: Endpoint) -> None:
    offer = endpoint.offer

    async def complete(kind: str, asked: Any, request: Request) -> Response:
        _known(asked.model, offer)
        most = offer.spec.limits.output_tokens
        if asked.answer_tokens is not None and asked.answer_tokens > most:
            raise RequestRejected(
                f"max_tokens is {asked.answer_tokens}, at most {most} are allowed"
            )
        form = getattr(asked, "response_format", None)
        depth = depth_of(form.model_dump()) if form else 0
        # the schema stands two levels below
        if depth > offer.spec.limits.schema_depth + 2:
            raise RequestRejected(
                f"response_format: nested deeper than {offer.spec.limits.schema_depth}"
            )
        body = asked.model_dump(mode="json", exclude_none=True, by_alias=True)
        ids = await asyncio.to_thread(prompts_of, kind, body, offer.frame)
        longest = max(map(len, ids))
        pool = offer.pool_of_prompt(longest, asked.answer_tokens)
        if asked.answer_tokens is None:
            body["max_tokens"] = min(most, offer.longest(pool) - longest)
        work = Work(kind, uuid.uuid4().hex, ids=tuple(map(tuple, ids)), body=body)
        if asked.stream:
            return await _streamed(endpoint, request.state.key, pool, work)
        return await _answered(endpoint, request.state.key, pool, work)

    streams: dict[int | str, dict[str, Any]] = {
        200: {"content": _STREAM, "description": "OpenAI's answer, or its events."}
    }

    @app.post(
        "/v1/chat/completions",
        response_model=wire.Completed,
        responses=streams,
        summary="OpenAI's chat completion.",
    )
    async def chat(asked: wire.ChatRequest, request: Request) -> Response:
        return await complete(CHAT, asked, request)

    @app.post(
        "/v1/completions",
        response_model=wire.Completed,
        responses=streams,
        summary="OpenAI's text completion.",
    )
    async def completions(asked: wire.CompletionRequest, request: Request) -> Response:
        return await complete(TEXT, asked, request)


async def _answered(endpoint: Endpoint, key: Key, pool: str, work: Work) -> Response:
    async with _deadline(endpoint):
        answer = await endpoint.pools[pool].answer(work)
    used = answer.get("usage", {})
    _spend(
        endpoint,
        key,
        used.get("prompt_tokens", 0),
        used.get("output_tokens", used.get("completion_tokens", 0)),
    )
    return JSONResponse(answer)


async def _streamed(endpoint: Endpoint, key: Key, pool: str, work: Work) -> Response:
    """The answer as it is made; an error before its first event is an error of the request."""
    began = time.monotonic()
    events = endpoint.pools[pool].stream(work)
    async with _deadline(endpoint):
        first = await anext(events)
    endpoint.first_token(time.monotonic() - began)

    async def all_events() -> AsyncIterator[str]:
        used = Used(work)
        try:
            async with asyncio.timeout(endpoint.seconds - (time.monotonic() - began)):
                async with aclosing(events):
                    used.note(first)
                    yield first
                    async for each in events:
                        used.note(each)
                        yield each
        except TimeoutError:
            yield _error_event(_late(endpoint))
        except Gone:
            yield _error_event(_died())
        except Refusal as refusal:
            yield event("error", refusal.error)
        except Exception:
            _LOGGER.exception("a stream of %s broke off", work.kind)
            yield event("error", error_json("internal error", _SERVER, "internal_error"))
        finally:
            _spend(endpoint, key, *used.tokens)

    return StreamingResponse(all_events(), media_type="text/event-stream")


class Used:
    """The tokens of a stream, by its events: of a document what the last one says, of OpenAI's one
    for each event, which is what vLLM sends for a token."""

    def __init__(self, work: Work) -> None:
        self.tokens = (work.prompt_tokens, 0)
        self._document = work.kind == DOCUMENT

    def note(self, events: str) -> None:
        if not self._document:
            prompt, output = self.tokens
            self.tokens = (prompt, output + events.count("data: "))
            return
        for name, data in read_events(events) if "event: done" in events else ():
            if name == "done":
                usage = data["usage"]
                self.tokens = (usage["prompt_tokens"], usage["output_tokens"])


def _spend(endpoint: Endpoint, key: Key, prompt: int, output: int) -> None:
    endpoint.quota.spend(key.name, key.tokens_per_minute, prompt + output)


@asynccontextmanager
async def _deadline(endpoint: Endpoint) -> AsyncIterator[None]:
    """Turn what a pool raises, and its being late, into what the client is told."""
    try:
        async with asyncio.timeout(endpoint.seconds):
            yield
    except TimeoutError:
        raise _late(endpoint) from None
    except Gone:
        raise _died() from None
    except Busy as busy:
        raise Refused(
            429,
            f"The engines have enough to do. Try again in {busy.retry_after} s.",
            "rate_limit_error",
            "overloaded",
            {"retry-after": str(busy.retry_after)},
        ) from None


def _late(endpoint: Endpoint) -> Refused:
    return Refused(504, f"no answer within {endpoint.seconds:g} s", _SERVER, "deadline_exceeded")


def _died() -> Refused:
    return Refused(
        503, "the engines that were asked died; try again", _SERVER, "engine_died",
        {"retry-after": "5"},
    )  # fmt: skip


def _error_event(refused: Refused) -> str:
    return event("error", refused.body)


def _known(model: str, offer: Offer) -> None:
    if model != offer.spec.model.name:
        raise Refused(
            404,
            f"The model {model[:200]!r} does not exist; there is {offer.spec.model.name!r}.",
            _CLIENT,
            "model_not_found",
        )


def _add_errors(app: FastAPI) -> None:
    """Whatever goes wrong, in OpenAI's shape."""

    def told(status: int, body: dict[str, Any], headers: Mapping[str, str] = {}) -> Response:
        # ASCII: what was sent may be no text that can be sent back
        data = json.dumps(body)
        return Response(data, status, dict(headers), "application/json")

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return told(error.status, error.body, error.headers)

    @app.exception_handler(Refusal)
    async def refusal(_: Request, error: Refusal) -> Response:
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
        path = [str(part) for part in found[0]["loc"][1:]]
        message = str(found[0]["msg"])
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


def _described(app: FastAPI, names: Sequence[str]) -> Callable[[], dict[str, Any]]:
    """The OpenAPI document, with the bearer key, what a task is, and what those here are called."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema:
            return app.openapi_schema
        schema = plain()
        parts = schema["components"]
        parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"key": []}]
        for path in ("/healthz", "/readyz"):
            schema["paths"][path]["get"]["security"] = []
        task = dict(wire.task_schema())
        parts["schemas"].update(task.pop("$defs"))
        parts["schemas"]["Task"] = task
        items = parts["schemas"]["DocumentRequest"]["properties"]["tasks"]["items"]
        named = [{"type": "string", "enum": names}] if names else []
        items["anyOf"] = [*named, {"$ref": "#/components/schemas/Task"}]
        for unused in ("HTTPValidationError", "ValidationError"):
            parts["schemas"].pop(unused, None)
        return schema

    return openapi


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
    return files("serve").joinpath("page.html").read_text(encoding="utf-8")
