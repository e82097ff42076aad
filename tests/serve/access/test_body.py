"""Request bodies are read within limits, and their bytes are released however a request ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from serve.access.asgi import App, Event, Receive, Scope, Send, respond
from serve.access.body import BodyBudget, BodyReader
from serve.access.gate import AccessMiddleware
from serve.access.keys import ApiKey, Keyring, key_digest
from serve.access.quota import Quota
from serve.errors import ApiError, BodyBufferFull, BodyIncomplete, BodyTimeout, BodyTooLarge
from serve.spec import ServeLimits

KEY = "pf-test"
MAX_BYTES = 100
DISCONNECT: Event = {"type": "http.disconnect"}


def chunk(data: bytes, *, more: bool = False) -> Event:
    return {"type": "http.request", "body": data, "more_body": more}


class Client:
    """The server's side of one connection: gives these messages, then waits forever."""

    def __init__(self, *messages: Event) -> None:
        self.unread = list(messages)
        self.sent: list[Event] = []

    async def receive(self) -> Event:
        if not self.unread:
            await asyncio.Event().wait()
        return self.unread.pop(0)

    async def send(self, message: Event) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}


class Reader(BodyReader):
    """A reader of small bodies, with its budget."""

    def __init__(self, budget_bytes: int = 10 * MAX_BYTES, timeout_seconds: float = 60.0) -> None:
        self.budget = BodyBudget(budget_bytes)
        super().__init__(MAX_BYTES, timeout_seconds, self.budget)

    async def use(self, *messages: Event, announced: str | None = None) -> tuple[bytes, int]:
        """Return a body, and the bytes that the budget holds while it is used."""
        async with self.read(announced, Client(*messages).receive) as body:
            return body, self.budget.held_bytes


async def test_a_body_is_joined_and_counted_until_the_block_ends() -> None:
    reader = Reader()
    messages = [chunk(b"ab", more=True), chunk(b"", more=True), chunk(b"c")]
    assert await reader.use(*messages) == (b"abc", 3)
    assert reader.budget.held_bytes == 0


async def test_a_body_of_exactly_the_limit_is_read() -> None:
    body, _ = await Reader().use(chunk(b"a" * MAX_BYTES), announced=str(MAX_BYTES))
    assert len(body) == MAX_BYTES


async def test_a_body_announced_as_far_too_large_is_rejected_unread() -> None:
    reader, client = Reader(), Client(chunk(b"a"))
    with pytest.raises(BodyTooLarge, match="larger than 100 bytes"):
        async with reader.read(str(4 * MAX_BYTES + 1), client.receive):
            pass
    assert len(client.unread) == 1


async def test_a_body_announced_as_slightly_too_large_is_received_before_it_is_rejected() -> None:
    reader, client = Reader(), Client(chunk(b"a" * 200, more=True), chunk(b"a" * 200))
    with pytest.raises(BodyTooLarge):
        async with reader.read("400", client.receive):
            pass
    assert not client.unread
    assert reader.budget.held_bytes == 0


@pytest.mark.parametrize("announced", [None, "", "10", "-5", "many"])
async def test_a_stream_is_read_no_further_than_the_limit(announced: str | None) -> None:
    reader, client = Reader(), Client(*[chunk(b"a" * 60, more=True)] * 5)
    with pytest.raises(BodyTooLarge):
        async with reader.read(announced, client.receive):
            pass
    assert len(client.unread) == 3
    assert reader.budget.held_bytes == 0


async def test_a_body_that_does_not_arrive_in_time_is_given_up() -> None:
    reader = Reader(timeout_seconds=0.01)
    with pytest.raises(BodyTimeout, match=r"within 0.01 s \(2 bytes received\)"):
        await reader.use(chunk(b"ab", more=True))
    assert reader.budget.held_bytes == 0


async def test_a_client_that_disconnects_leaves_nothing_held() -> None:
    reader = Reader()
    with pytest.raises(BodyIncomplete, match="after 2 bytes"):
        await reader.use(chunk(b"ab", more=True), DISCONNECT)
    assert reader.budget.held_bytes == 0


async def test_the_budget_is_shared_by_all_bodies_and_free_again_after_them() -> None:
    reader = Reader(budget_bytes=150)
    async with reader.read(None, Client(chunk(b"a" * 80)).receive):
        with pytest.raises(BodyBufferFull, match=r"full \(150 bytes\)") as full:
            await reader.use(chunk(b"b" * 71))
        assert full.value.headers == {"retry-after": "5", "connection": "close"}
        assert await reader.use(chunk(b"b" * 70)) == (b"b" * 70, 150)
    assert reader.budget.held_bytes == 0


async def test_a_failure_while_a_body_is_used_releases_its_bytes() -> None:
    reader = Reader()
    with pytest.raises(ZeroDivisionError):
        async with reader.read(None, Client(chunk(b"ab")).receive):
            raise ZeroDivisionError
    assert reader.budget.held_bytes == 0


@pytest.mark.parametrize("whole", [True, False])
async def test_a_request_cancelled_while_its_body_is_read_or_used_releases_its_bytes(
    whole: bool,
) -> None:
    reader = Reader()
    client = Client(chunk(b"ab", more=not whole))

    async def handle() -> None:
        async with reader.read(None, client.receive):
            await asyncio.Event().wait()

    request = asyncio.create_task(handle())
    while reader.budget.held_bytes == 0:
        await asyncio.sleep(0)
    request.cancel()
    with suppress(asyncio.CancelledError):
        await request
    assert reader.budget.held_bytes == 0


def middleware(handle: Callable[[bytes], Awaitable[None]]) -> App:
    """The access middleware around an application that passes its body to `handle`."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        assert not message["more_body"]
        await handle(message["body"])
        await respond(send, 200, {"key": scope["state"]["key"].name})

    keyring = Keyring([ApiKey(name="test", sha256=key_digest(KEY))])
    limits = ServeLimits(body_bytes=MAX_BYTES, body_seconds=0.05)
    return AccessMiddleware(app, keyring, Quota(), limits, lambda path, code, seconds: None)


def scope_of(**headers: str) -> Scope:
    fields = {"authorization": f"Bearer {KEY}", **headers}
    pairs = [(name.replace("_", "-").encode(), text.encode()) for name, text in fields.items()]
    return {"type": "http", "method": "POST", "path": "/v1/documents", "headers": pairs}


async def test_the_application_receives_the_whole_body_and_the_key() -> None:
    bodies: list[bytes] = []

    async def handle(body: bytes) -> None:
        bodies.append(body)

    client = Client(chunk(b"ab", more=True), chunk(b"c"))
    await middleware(handle)(scope_of(), client.receive, client.send)
    assert bodies == [b"abc"]
    assert (client.status, client.sent[1]["body"]) == (200, b'{"key": "test"}')


@pytest.mark.parametrize(
    ("client", "announced", "status", "closes"),
    [
        (Client(chunk(b"a" * 101)), "1000", 413, True),
        (Client(chunk(b"a" * 101)), "5", 413, True),
        (Client(chunk(b"a", more=True)), "5", 408, False),
        (Client(DISCONNECT), "5", 400, False),
    ],
    ids=["header", "stream", "slow", "disconnect"],
)
async def test_a_body_that_is_rejected_never_reaches_the_application(
    client: Client, announced: str, status: int, closes: bool
) -> None:
    async def handle(body: bytes) -> None:
        raise AssertionError(body)

    await middleware(handle)(scope_of(content_length=announced), client.receive, client.send)
    assert client.status == status
    assert (client.headers.get("connection") == "close") == closes


@pytest.mark.parametrize("failure", [None, ZeroDivisionError("a"), BodyTimeout("a")])
async def test_bodies_do_not_fill_the_buffer_after_their_requests_end(
    failure: ApiError | Exception | None,
) -> None:
    async def handle(body: bytes) -> None:
        if failure is not None:
            raise failure

    app = middleware(handle)
    statuses = set()
    for _ in range(40):
        client = Client(chunk(b"a" * MAX_BYTES))
        await app(scope_of(), client.receive, client.send)
        statuses.add(client.status)
    assert statuses == {200 if failure is None else getattr(failure, "status", 500)}


async def test_more_bodies_at_a_time_than_the_buffer_holds_are_rejected() -> None:
    ends = asyncio.Event()

    async def handle(body: bytes) -> None:
        await ends.wait()

    app = middleware(handle)
    clients = [Client(chunk(b"a" * MAX_BYTES)) for _ in range(33)]

    async def request(client: Client) -> None:
        await app(scope_of(), client.receive, client.send)

    requests = [asyncio.create_task(request(client)) for client in clients]
    await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
    assert [client.status for client in clients if client.sent] == [429]
    assert [client.headers["retry-after"] for client in clients if client.sent] == ["5"]
    ends.set()
    await asyncio.gather(*requests)
    assert sorted(client.status for client in clients) == [200] * 32 + [429]
