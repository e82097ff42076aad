"""The responses to failed requests: every exception of a route becomes an `ApiError`'s response.

Translates the errors of `pipelines`, pydantic and the web framework. Knows no routes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from pipelines.errors import RequestRejected, SpecError
from serve.errors import (
    ApiError,
    InternalError,
    InvalidCompletion,
    InvalidJson,
    InvalidRequest,
    InvalidValue,
    PromptTooLong,
)
from serve.wire import error_json

_MAX_MESSAGE_CHARACTERS, _MAX_PARAM_CHARACTERS = 1000, 200


def add_error_handlers(app: FastAPI) -> None:
    """Register handlers on `app`, so that every exception of a route becomes an error response in
    OpenAI's shape. An exception without a class of its own becomes an InternalError."""

    @app.exception_handler(ApiError)
    async def on_api_error(_: Request, error: ApiError) -> Response:
        return _response_to(error)

    @app.exception_handler(SpecError)
    async def on_spec_error(_: Request, error: SpecError) -> Response:
        return _response_to(InvalidValue(error.message))

    @app.exception_handler(RequestRejected)
    async def on_rejected(_: Request, error: RequestRejected) -> Response:
        if "context length" in error.message:
            return _response_to(PromptTooLong(error.message))
        return _response_to(InvalidCompletion(error.message))

    @app.exception_handler(RequestValidationError)
    async def on_validation_error(_: Request, error: RequestValidationError) -> Response:
        return _response_to(_invalid(error))

    @app.exception_handler(HTTPException)
    async def on_http_exception(_: Request, error: HTTPException) -> Response:
        body = error_json(str(error.detail), "invalid_request_error")
        return _response(error.status_code, body, error.headers or {})

    @app.exception_handler(Exception)
    async def on_exception(_: Request, error: Exception) -> Response:
        # Starlette raises it again after this response, and the access middleware logs it
        return _response_to(InternalError())


def _response_to(error: ApiError) -> Response:
    return _response(error.status, error.body, error.headers)


def _response(status: int, body: dict[str, Any], headers: Mapping[str, str]) -> Response:
    # ASCII only: a message may quote a lone surrogate of the request, which UTF-8 cannot encode
    return Response(json.dumps(body), status, dict(headers), "application/json")


def _invalid(error: RequestValidationError) -> ApiError:
    """Return the error for a body (or path) that does not match the route's models.

    The message has the first of pydantic's errors and the path of the key.
    """
    all_errors = error.errors()
    errors = [item for item in all_errors if item["loc"][0] == "body"] or all_errors
    first = errors[0]
    if first["type"] == "json_invalid":
        return InvalidJson(
            f"The body is not valid JSON: {first['ctx']['error']}. Send one JSON object."
        )
    path = [str(part) for part in first["loc"][1:]]
    message = str(first["msg"])
    if first["type"] == "extra_forbidden":
        message = "no such key, remove it"
    if first["loc"] == ("body",) and first["type"] != "too_many_keys":
        message = (
            "The body is not a JSON object. Send an object, with the header "
            "content-type: application/json."
        )
    if len({item["loc"][1:2] for item in errors}) < len(errors) and len(path) > 1:
        # of a union pydantic reports one error for each member, and names the member in the path
        path, message = path[:1], "is of none of the types listed in /openapi.json"
    key = ".".join(path)
    text = f"{key}: {message}" if key else message
    param = key[:_MAX_PARAM_CHARACTERS] or None
    return InvalidRequest(text[:_MAX_MESSAGE_CHARACTERS], None, param)
