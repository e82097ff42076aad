"""The OpenAPI document: FastAPI's, with the parts added that it cannot derive from the routes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI

from serve import wire

_DESCRIPTIONS = {
    400: "The body is not JSON, or the request asks for something that the model cannot do.",
    401: "The key is missing or unknown.",
    404: "The model does not exist, or feedback is not stored.",
    408: "The body did not arrive in time.",
    413: "The body or its text is too large.",
    422: "The request is invalid; the message names the key.",
    429: "The key's quota is exhausted, or the endpoint is overloaded: see Retry-After.",
    500: "An unexpected error.",
    503: "No engine could answer, or the feedback could not be stored.",
    504: "No answer within the endpoint's time limit.",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": wire.Error, "description": text} for status, text in _DESCRIPTIONS.items()
}
"""The error responses that every route can have, by HTTP status, as FastAPI's `responses`."""
# OpenAPI 3.1 describes a stream by the schema of one event
_EVENT = {
    "type": "object",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["data"],
}
STREAM = {"text/event-stream": {"schema": _EVENT}}
"""The `content` of a response in OpenAPI that is a stream of server-sent events."""


def described(app: FastAPI, task_names: Sequence[str]) -> Callable[[], dict[str, Any]]:
    """Return a function that returns the OpenAPI document of `app`, to be set as `app.openapi`.

    The document is made at the first call. In addition to what FastAPI derives from the routes, it
    has the bearer key, the schema of a task's definition, and `task_names`: the names of the serve
    file's tasks, which a request can use.
    """
    openapi_of_routes = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema:
            return app.openapi_schema
        document = openapi_of_routes()
        components = document["components"]
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
        for path in ("/healthz", "/readyz"):
            document["paths"][path]["get"]["security"] = []
        schemas = components["schemas"]
        task = dict(wire.task_schema())
        schemas.update(task.pop("$defs"))
        schemas["Task"] = task
        items = schemas["DocumentRequest"]["properties"]["tasks"]["items"]
        names = [{"type": "string", "enum": task_names}] if task_names else []
        items["anyOf"] = [*names, {"$ref": "#/components/schemas/Task"}]
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        return document

    return openapi
