"""The OpenAPI document: what FastAPI makes of the routes, and what it cannot know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI

from serve import wire

_CODES = {
    400: "Something in the request cannot be done.",
    401: "No key, or a wrong one.",
    404: "There is no such model.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    422: "The request is not well formed; the message says where.",
    429: "The key's minute is used up, or the engines have enough to do: see Retry-After.",
    500: "Something is broken.",
    503: "The engines that were asked died.",
    504: "The answer was not there in time.",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": wire.Error, "description": text} for code, text in _CODES.items()
}
# of a stream OpenAPI 3.1 describes each event
_EVENT = {
    "type": "object",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["data"],
}
STREAM = {"text/event-stream": {"schema": _EVENT}}


def described(app: FastAPI, names: Sequence[str]) -> Callable[[], dict[str, Any]]:
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
