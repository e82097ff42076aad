"""Errors of the endpoint, each with the HTTP response that the client receives.

The bodies have OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`.

| class             | status | type                  | code                    | raised in      |
|-------------------|--------|-----------------------|-------------------------|----------------|
| InvalidApiKey     | 401    | invalid_request_error | invalid_api_key         | access         |
| QuotaExceeded     | 429    | rate_limit_error      | rate_limit_exceeded     | access, routes |
| BodyIncomplete    | 400    | invalid_request_error | body                    | access         |
| BodyTimeout       | 408    | invalid_request_error | request_timeout         | access         |
| BodyTooLarge      | 413    | invalid_request_error | request_too_large       | access         |
| BodyBufferFull    | 429    | rate_limit_error      | overloaded              | access         |
| InvalidJson       | 400    | invalid_request_error | invalid_json            | routes         |
| InvalidRequest    | 422    | invalid_request_error | invalid_request         | routes         |
| InvalidValue      | 422    | invalid_request_error | invalid_value           | routes         |
| InvalidCompletion | 400    | invalid_request_error | invalid_value           | routes         |
| PromptTooLong     | 400    | invalid_request_error | context_length_exceeded | routes         |
| TextTooLarge      | 413    | invalid_request_error | text_too_large          | routes         |
| ModelNotFound     | 404    | invalid_request_error | model_not_found         | routes         |
| FeedbackDisabled  | 404    | invalid_request_error | no_feedback             | routes         |
| FeedbackNotStored | 503    | server_error          | storage                 | routes         |
| NotReady          | 503    | server_error          | not_ready               | routes         |
| DeadlineExceeded  | 504    | server_error          | deadline_exceeded       | routes         |
| InternalError     | 500    | server_error          | internal_error          | routes         |
| Overloaded        | 429    | rate_limit_error      | overloaded              | engines        |
| ReplicasDied      | 503    | server_error          | engine_died             | engines        |
| EngineRejected    | -      | -                     | -                       | engines        |

`EngineRejected` has the status and the body that the engine gave. `routes/error_handlers.py` turns
the errors of `pipelines` and of the web framework into these. Knows no Ray and no web framework.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from serve.wire import error_json

INTERNAL_ERROR = (
    "Internal error. Send the request again; if it fails again, ask the endpoint's operator: its "
    "log has the details."
)
"""The message for the client after an unexpected exception, which it does not name."""
_CLIENT, _RATE_LIMIT, _SERVER = "invalid_request_error", "rate_limit_error", "server_error"


class ApiError(Exception):
    """A failed request, with the response that its client receives.

    Subclasses set `status` (HTTP), `kind` (the `type` of OpenAI's error), `code`, and
    `fixed_headers`, which every response of the class has. `message` is one or more complete
    sentences for the client, `retry_after` the seconds to wait before another try (None: no header
    Retry-After), and `param` the key of the request that is wrong, None if no key is. `body` is the
    response's JSON object, and `headers` are its headers in addition to type and length.
    """

    status: int
    kind: ClassVar[str]
    code: ClassVar[str]
    fixed_headers: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self, message: str, retry_after: int | None = None, param: str | None = None
    ) -> None:
        # `args` remain what `BaseException.__new__` stored: the arguments of the subclass's
        # constructor, which is called with them again when the error is unpickled
        self.message = message
        self.retry_after = retry_after
        self.body: dict[str, Any] = error_json(message, self.kind, self.code, param)
        retry = {} if retry_after is None else {"retry-after": str(retry_after)}
        self.headers = {**retry, **self.fixed_headers}

    def __str__(self) -> str:
        return self.message


class InvalidApiKey(ApiError):
    """The request has no bearer key, or one that is not in the keyring."""

    status, kind, code = 401, _CLIENT, "invalid_api_key"
    fixed_headers: ClassVar = {"www-authenticate": "Bearer"}


class QuotaExceeded(ApiError):
    """The quota per minute of requests or tokens of the key with the name `name` is exhausted.

    `retry_after`: seconds.
    """

    status, kind, code = 429, _RATE_LIMIT, "rate_limit_exceeded"

    def __init__(self, name: str, retry_after: int) -> None:
        super().__init__(
            f"The quota per minute of the key {name!r} is exhausted. Retry after {retry_after} s.",
            retry_after,
        )


class BodyIncomplete(ApiError):
    """The client disconnected before it had sent the whole body."""

    status, kind, code = 400, _CLIENT, "body"


class BodyTimeout(ApiError):
    """The whole body did not arrive within `limits.body_seconds`."""

    status, kind, code = 408, _CLIENT, "request_timeout"


class BodyTooLarge(ApiError):
    """The body is larger than `limits.body_bytes`, or the request must not have a body. The
    connection is closed."""

    status, kind, code = 413, _CLIENT, "request_too_large"
    fixed_headers: ClassVar = {"connection": "close"}


class BodyBufferFull(ApiError):
    """The bodies of all requests together exceed the buffer of this process. The connection is
    closed."""

    status, kind, code = 429, _RATE_LIMIT, "overloaded"
    fixed_headers: ClassVar = {"connection": "close"}


class InvalidJson(ApiError):
    """The body cannot be parsed as JSON."""

    status, kind, code = 400, _CLIENT, "invalid_json"


class InvalidRequest(ApiError):
    """The body is JSON, but a key is missing, unknown or invalid; `param` is the key's path."""

    status, kind, code = 422, _CLIENT, "invalid_request"


class InvalidValue(ApiError):
    """A task or the text of a document request is invalid: the response to a SpecError."""

    status, kind, code = 422, _CLIENT, "invalid_value"


class InvalidCompletion(ApiError):
    """A chat or text completion asks for something that cannot be done: the response to a
    RequestRejected."""

    status, kind, code = 400, _CLIENT, "invalid_value"


class PromptTooLong(ApiError):
    """The prompt with its answer is longer than the context of every pool's engines."""

    status, kind, code = 400, _CLIENT, "context_length_exceeded"


class TextTooLarge(ApiError):
    """The text has more characters than `limits.text_characters`."""

    status, kind, code = 413, _CLIENT, "text_too_large"


class ModelNotFound(ApiError):
    """The request names a model that the endpoint does not serve."""

    status, kind, code = 404, _CLIENT, "model_not_found"


class FeedbackDisabled(ApiError):
    """The serve file has no `feedback.path`."""

    status, kind, code = 404, _CLIENT, "no_feedback"


class FeedbackNotStored(ApiError):
    """The storage failed, or did not store the feedback within `limits.request_seconds`."""

    status, kind, code = 503, _SERVER, "storage"


class NotReady(ApiError):
    """A pool with `min` above 0 has no running engine, or Ray Serve did not report its engines."""

    status, kind, code = 503, _SERVER, "not_ready"


class DeadlineExceeded(ApiError):
    """The request took longer than `limits.request_seconds`."""

    status, kind, code = 504, _SERVER, "deadline_exceeded"


class InternalError(ApiError):
    """A route failed with an unexpected exception. The message is INTERNAL_ERROR."""

    status, kind, code = 500, _SERVER, "internal_error"

    def __init__(self) -> None:
        super().__init__(INTERNAL_ERROR)


class Overloaded(ApiError):
    """An engine rejects the request, because its outstanding prompt tokens have reached its limit.

    Pools choose an engine below its limit if there is one. `retry_after`: seconds.
    """

    status, kind, code = 429, _RATE_LIMIT, "overloaded"

    def __init__(self, retry_after: int) -> None:
        super().__init__(
            f"The engines are at their limit of outstanding tokens. Retry after {retry_after} s.",
            retry_after,
        )


class ReplicasDied(ApiError):
    """Each replica that received the request died before it had sent the complete answer."""

    status, kind, code = 503, _SERVER, "engine_died"

    def __init__(self) -> None:
        super().__init__(
            "The engines that received the request died. Send it again after 5 s; if it fails "
            "again, send a shorter text.",
            retry_after=5,
        )


class EngineRejected(ApiError):
    """An engine answered the request with an error: the HTTP status `status`, and `body`, the JSON
    object of the response in OpenAI's shape."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        self.status = status
        self.message = str(body.get("error", {}).get("message", ""))
        self.retry_after = None
        self.body = body
        self.headers = {}
