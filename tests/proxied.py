"""HAProxy with Ray Serve's configuration and binary, in front of a small HTTP server."""

from __future__ import annotations

import json
import os
import resource
import select
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from pipelines.run.ports import free_port

LATE_SECONDS = 4
"""The time before each part of a late answer."""
# More connections than HAProxy accepts with Ray's default.
SLOW_CONNECTIONS = 4_200
HALF_A_HEADER = b"POST /v1/chat/completions HTTP/1.1\r\nHost: endpoint\r\nX-Slow: "
# The preface of an HTTP/2 connection and an empty settings frame.
_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
# Beginnings of a connection after which its client sends nothing more.
HALVES = {
    "nothing": b"",
    "half a header": HALF_A_HEADER,
    "HTTP/2 without a request": _HTTP2,
    "half a header of HTTP/2": _HTTP2 + b"\0\0\1\1\1\0\0\0\1" + b"\x82",
}


class _Backend(BaseHTTPRequestHandler):
    """Answers any GET, with 401 if the key is wrong, and any POST slowly, in parts."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        public = self.path in ("/healthz", "/-/healthz")
        code = 200 if public or self.headers["authorization"] == "Bearer key" else 401
        body = json.dumps({"path": self.path}).encode()
        self.send_response(code)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        time.sleep(LATE_SECONDS)
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        for part in (b"a", b"b"):
            self.wfile.write(part)
            time.sleep(LATE_SECONDS)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@dataclass
class Proxied:
    """A running HAProxy: its ports for requests, statistics and metrics, and its configuration."""

    port: int
    stats: int
    metrics: int
    file: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def write_configuration(directory: Path, **options: Any) -> Path:
    """Write a configuration as Ray Serve does, into `directory`; return the file.

    `options` are `host`, `port`, `backend` (the front's port) and fields of Ray's HAProxyConfig.
    """
    from ray.serve._private.haproxy import (
        BackendConfig,
        HAProxyApi,
        HAProxyConfig,
        ServerConfig,
    )
    from ray.serve.config import HTTPOptions

    directory.mkdir(exist_ok=True)
    options.setdefault("timeout_client_s", 690)
    port, backend = options.pop("port", 8000), options.pop("backend", 30_000)
    config = HAProxyConfig(
        http_options=HTTPOptions(host=options.pop("host", "127.0.0.1"), port=port),
        socket_path=str(directory / "admin.sock"),
        server_state_base=str(directory),
        server_state_file=str(directory / "server-state"),
        metrics_socket_path=str(directory / "metrics.sock"),
        has_received_routes=True,
        is_head=True,
        **options,
    )
    servers = [ServerConfig(name="front", host="127.0.0.1", port=backend)]
    app = BackendConfig(name="app", path_prefix="/", app_name="app", servers=servers)
    file = directory / "haproxy.cfg"
    HAProxyApi(config, {"app": app}, str(file))._generate_config_file_internal()
    return file


@contextmanager
def proxied(
    command: Path, directory: Path, environment: Mapping[str, str] = {}, **options: Any
) -> Iterator[Proxied]:
    """Run HAProxy during the block, and yield its addresses.

    It is started by `command` with the configuration of `write_configuration`. Its backend is a
    small server of this module, or the one at the port `backend`.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Backend)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    backend = options.pop("backend", server.server_port)
    proxy = Proxied(free_port(), free_port(), free_port(), directory / "haproxy.cfg")
    write_configuration(
        directory,
        port=proxy.port, stats_port=proxy.stats, metrics_port=proxy.metrics,
        backend=backend, **options,
    )  # fmt: skip
    with (directory / "stderr").open("w") as errors:
        process = subprocess.Popen(
            [command, "-db", "-f", proxy.file], stderr=errors, env={**os.environ, **environment}
        )
    try:
        wait_for(lambda: is_answered(proxy.port), f"{directory}/stderr")
        yield proxy
    finally:
        process.terminate()
        process.wait(30)
        server.shutdown()
        server.server_close()


def wait_for(condition: Any, description: str, seconds: float = 60) -> None:
    """Call `condition` until it is true; fail with `description` after `seconds`."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, description
        time.sleep(0.1)


def is_answered(
    port: int, source: str = "127.0.0.1", path: str = "/healthz", key: str = "key"
) -> bool:
    """Return whether a request with `key` from the address `source` is answered within 30 s."""
    transport = httpx.HTTPTransport(local_address=source)
    with httpx.Client(transport=transport, timeout=30) as client, suppress(httpx.TransportError):
        headers = {"authorization": f"Bearer {key}"}
        return client.get(f"http://127.0.0.1:{port}{path}", headers=headers).status_code == 200
    return False


def reply(port: int, sent: bytes, seconds: float = 60) -> bytes:
    """Send `sent` on a new connection, and return all that is received until the server closes it.

    Raises TimeoutError if nothing is received for `seconds`.
    """
    with socket.create_connection(("127.0.0.1", port), seconds) as connection:
        connection.sendall(sent)
        received = bytearray()
        while data := connection.recv(65_536):
            received += data
        return bytes(received)


def status(port: int, sent: bytes) -> str:
    """Send `sent` on a new connection, and return the status line of the response."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(sent)
        with connection.makefile("rb") as received:
            return received.readline().decode().removeprefix("HTTP/1.1 ").strip()


def handshake(key: str | None) -> bytes:
    """Return the request with which a client opens a WebSocket."""
    lines = [
        "GET /v1/chat/completions HTTP/1.1", "Host: endpoint", "Connection: Upgrade",
        "Upgrade: websocket", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]  # fmt: skip
    if key:
        lines.append(f"Authorization: Bearer {key}")
    return "\r\n".join([*lines, "", ""]).encode()


@contextmanager
def held_open(port: int, number: int, sent: bytes = HALF_A_HEADER) -> Iterator[list[socket.socket]]:
    """Open `number` connections from 127.0.0.1 that each send `sent` and then nothing."""
    with ExitStack() as stack:
        stack.enter_context(_maximum_of_files())
        connections = []
        for _ in range(number):
            # a connection that is closed at once sends nothing more, either
            with suppress(OSError):
                connections.append(
                    stack.enter_context(socket.create_connection(("127.0.0.1", port), 30))
                )
                connections[-1].sendall(sent)
        yield connections


@contextmanager
def _maximum_of_files() -> Iterator[None]:
    """Raise the soft limit of open files to the hard one, because connections are open files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def still_open(connections: list[socket.socket]) -> int:
    """Return the number of connections that the server has not closed."""
    poll = select.poll()
    for connection in connections:
        poll.register(connection, select.POLLIN | select.POLLRDHUP)
    closed = select.POLLRDHUP | select.POLLHUP | select.POLLERR
    return len(connections) - sum(bool(event & closed) for _, event in poll.poll(0))
