"""Proxies in front of an S3 server: one that fails requests, one that holds a request back, and one
that does not support conditional writes."""

from __future__ import annotations

import random
import sys
import threading
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep
from typing import Self
from urllib.parse import urlsplit

_FAULTS = ("refused", "lost", "delayed", "cut")
_UNAVAILABLE = b"<Error><Code>SlowDown</Code><Message>chaos</Message></Error>"


class _QuietServer(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore connections of clients that were killed before they got a response."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # as it came


class FaultyProxy:
    """Forwards requests to the S3 server at `endpoint`, and fails a share of them at random.

    The faults: `refused` (503, and not forwarded), `lost` (forwarded, but answered with 503, so
    that the client does not know that it took effect), `delayed` (by 0.5 to 3 s), and `cut` (only
    half of the response's body).

    Attributes:
        endpoint: the proxy's own URL.
        faults: how many requests were failed, by fault.
        requests: how many requests were received, by method.
    """

    def __init__(self, endpoint: str, share: float, seed: int) -> None:
        self.faults: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self._dice = random.Random(seed)  # noqa: S311
        self._share = share
        self._target = urlsplit(endpoint).netloc
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass(self) -> None:
                proxy.handle(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass

            def log_message(self, *_: object) -> None:
                return

        self._server = _QuietServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request. Called in a separate thread for each connection."""
        self.requests[request.command] += 1
        fault = self._dice.choice(_FAULTS) if self._dice.random() < self._share else None
        if fault:
            self.faults[fault] += 1
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if fault == "refused":
            self._answer(request, 503, {}, _UNAVAILABLE)
            return
        if fault == "delayed":
            sleep(self._dice.uniform(0.5, 3.0))
        connection = HTTPConnection(self._target, timeout=60)
        connection.request(request.command, request.path, body, dict(request.headers))
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        if fault == "lost":
            self._answer(request, 503, {}, _UNAVAILABLE)
            return
        headers = {name: value for name, value in answer.getheaders() if name not in _HOP}
        if request.command == "HEAD":
            # the length of what a GET would return
            headers["Content-Length"] = answer.getheader("Content-Length", "0")
        self._answer(request, answer.status, headers, data, cut=fault == "cut")

    def _answer(
        self,
        request: BaseHTTPRequestHandler,
        status: int,
        headers: dict[str, str],
        data: bytes,
        *,
        cut: bool = False,
    ) -> None:
        request.send_response_only(status)
        for name, value in headers.items():
            request.send_header(name, value)
        if request.command != "HEAD":
            request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            request.close_connection = True


class HoldingProxy(FaultyProxy):
    """Forwards all requests, but holds one back until it is released.

    Attributes:
        held: set once the first request for which `selects(method, path)` is true has arrived.
        let_go: set by the test to forward that request.
    """

    def __init__(self, endpoint: str, selects: Callable[[str, str], bool]) -> None:
        super().__init__(endpoint, share=0.0, seed=0)
        self.held, self.let_go = threading.Event(), threading.Event()
        self._selects = selects

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        if not self.held.is_set() and self._selects(request.command, request.path):
            self.held.set()
            self.let_go.wait()
        super().handle(request)


class UnconditionalProxy(FaultyProxy):
    """Forwards requests without `If-None-Match`, as a store that ignores the header behaves.

    With `refuses`, requests with the header are answered with 501, as other stores do.
    """

    def __init__(self, endpoint: str, *, refuses: bool = False) -> None:
        super().__init__(endpoint, share=0.0, seed=0)
        self._refuses = refuses

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        conditional = request.headers.get("If-None-Match") is not None
        if conditional and self._refuses:
            request.rfile.read(int(request.headers.get("Content-Length") or 0))
            self._answer(request, 501, {}, _NOT_IMPLEMENTED)
            return
        del request.headers["If-None-Match"]
        super().handle(request)


_NOT_IMPLEMENTED = (
    b"<Error><Code>NotImplemented</Code><Message>A header you provided implies functionality "
    b"that is not implemented</Message></Error>"
)
# Headers that belong to one connection, and are not forwarded.
_HOP = ("Connection", "Transfer-Encoding", "Content-Length", "Server", "Date", "Keep-Alive")
