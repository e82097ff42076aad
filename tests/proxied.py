"""HAProxy as Ray Serve starts it, before a small backend: Ray's own template and its own binary."""

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
# Connections, more than HAProxy holds as Ray starts it.
SLOW = 4_200
HALF_A_HEADER = b"POST /v1/chat/completions HTTP/1.1\r\nHost: endpoint\r\nX-Slow: "
# The magic of HTTP/2 without a request, and with the first half of one.
_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
HALVES = {
    "nothing": b"",
    "half a header": HALF_A_HEADER,
    "HTTP/2 without a request": _HTTP2,
    "half a header of HTTP/2": _HTTP2 + b"\0\0\1\1\1\0\0\0\1" + b"\x82",
}


class _Backend(BaseHTTPRequestHandler):
    """Answers everything, and lets in who has a key. What is posted is answered late, in parts."""

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
        """Who asks is nobody's."""


@dataclass
class Proxied:
    """A started HAProxy: where it takes requests and tells of itself, and its configuration."""

    port: int
    stats: int
    metrics: int
    file: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def written(directory: Path, **more: Any) -> Path:
    """A configuration as Ray Serve writes it; `more` has some of its values."""
    from ray.serve._private.haproxy import (
        BackendConfig,
        HAProxyApi,
        HAProxyConfig,
        ServerConfig,
    )
    from ray.serve.config import HTTPOptions

    directory.mkdir(exist_ok=True)
    more.setdefault("timeout_client_s", 690)
    port, backend = more.pop("port", 8000), more.pop("backend", 30_000)
    config = HAProxyConfig(
        http_options=HTTPOptions(host=more.pop("host", "127.0.0.1"), port=port),
        socket_path=str(directory / "admin.sock"),
        server_state_base=str(directory),
        server_state_file=str(directory / "server-state"),
        metrics_socket_path=str(directory / "metrics.sock"),
        has_received_routes=True,
        is_head=True,
        **more,
    )
    servers = [ServerConfig(name="front", host="127.0.0.1", port=backend)]
    app = BackendConfig(name="app", path_prefix="/", app_name="app", servers=servers)
    file = directory / "haproxy.cfg"
    HAProxyApi(config, {"app": app}, str(file))._generate_config_file_internal()
    return file


@contextmanager
def proxied(
    command: Path, directory: Path, environment: Mapping[str, str] = {}, **more: Any
) -> Iterator[Proxied]:
    """HAProxy, started by this command with what Ray writes, before a backend of ours or that at
    the port `backend`."""
    own = ThreadingHTTPServer(("127.0.0.1", 0), _Backend)
    threading.Thread(target=own.serve_forever, daemon=True).start()
    backend = more.pop("backend", own.server_port)
    told = Proxied(free_port(), free_port(), free_port(), directory / "haproxy.cfg")
    written(
        directory,
        port=told.port, stats_port=told.stats, metrics_port=told.metrics,
        backend=backend, **more,
    )  # fmt: skip
    with (directory / "stderr").open("w") as errors:
        process = subprocess.Popen(
            [command, "-db", "-f", told.file], stderr=errors, env={**os.environ, **environment}
        )
    try:
        wait_for(lambda: answers(told.port), f"{directory}/stderr")
        yield told
    finally:
        process.terminate()
        process.wait(30)
        own.shutdown()
        own.server_close()


def wait_for(true: Any, what: str, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, what
        time.sleep(0.1)


def answers(port: int, source: str = "127.0.0.1", path: str = "/healthz", key: str = "key") -> bool:
    """Whether a client at this address, with a key, is answered before long."""
    transport = httpx.HTTPTransport(local_address=source)
    with httpx.Client(transport=transport, timeout=30) as client, suppress(httpx.TransportError):
        headers = {"authorization": f"Bearer {key}"}
        return client.get(f"http://127.0.0.1:{port}{path}", headers=headers).status_code == 200
    return False


def reply(port: int, sent: bytes, seconds: float = 60) -> bytes:
    """All that comes until the other side closes, though nothing more is sent. Raises TimeoutError
    where it does not close."""
    with socket.create_connection(("127.0.0.1", port), seconds) as connection:
        connection.sendall(sent)
        received = bytearray()
        while came := connection.recv(65_536):
            received += came
        return bytes(received)


def status(port: int, sent: bytes) -> str:
    """The status that is answered first."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(sent)
        with connection.makefile("rb") as received:
            return received.readline().decode().removeprefix("HTTP/1.1 ").strip()


def handshake(key: str | None) -> bytes:
    """What a client sends that wants a WebSocket."""
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
    """So many connections from 127.0.0.1, each of which sends this and then nothing."""
    with ExitStack() as stack:
        stack.enter_context(_all_files())
        connections = []
        for _ in range(number):
            # what is refused is one that sends no more, too
            with suppress(OSError):
                connections.append(
                    stack.enter_context(socket.create_connection(("127.0.0.1", port), 30))
                )
                connections[-1].sendall(sent)
        yield connections


@contextmanager
def _all_files() -> Iterator[None]:
    """As many open files as this process may have: connections are files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def still_open(connections: list[socket.socket]) -> int:
    """How many of them the other side has not closed."""
    poll = select.poll()
    for each in connections:
        poll.register(each, select.POLLIN | select.POLLRDHUP)
    closed = select.POLLRDHUP | select.POLLHUP | select.POLLERR
    return len(connections) - sum(bool(event & closed) for _, event in poll.poll(0))
