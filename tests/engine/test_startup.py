"""Tests of what an engine's start and end leave behind, without an engine."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import zmq
import zmq.asyncio

from pipelines.engine.startup import close_sockets


def test_an_event_loop_that_runs_again_receives_from_the_next_engines_sockets() -> None:
    loop, context = asyncio.new_event_loop(), zmq.asyncio.Context()

    async def receive(address: str) -> tuple[zmq.asyncio.Socket, bytes]:
        """Receive a message that is sent only once the loop waits for it."""
        receiver, sender = context.socket(zmq.PULL), zmq.Context(context).socket(zmq.PUSH)
        receiver.bind(address)
        sender.connect(address)
        loop.call_later(0.1, sender.send, b"answer")
        message = await asyncio.wait_for(receiver.recv(), timeout=20)
        sender.close()
        return receiver, message

    descriptors = []
    for number in range(3):
        receiver, message = loop.run_until_complete(receive(f"inproc://engine-{number}"))
        assert message == b"answer"
        descriptors.append(zmq.Socket.get(receiver, zmq.FD))
        resources = SimpleNamespace(output_socket=receiver, thread=None)
        close_sockets(SimpleNamespace(engine_core=SimpleNamespace(resources=resources)), loop)
        assert receiver.closed
    assert len({*descriptors}) < 3  # or this test shows nothing
    loop.close()
    context.term()
