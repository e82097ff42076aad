"""phifleet's endpoint beside `vllm serve`: the same chats, the same engine, this machine's CPU.

The sides take turns, each started anew. Every chat is streamed; the table has medians over rounds.
`python benchmarks/online.py` needs about ten minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pydoc_data import topics
from statistics import median, quantiles
from typing import Any

import httpx
import yaml
from rich.console import Console
from rich.table import Table
from sides import OFFLINE_LIMITS

from pipelines.engine.vllm_engine import engine_arguments
from pipelines.run.ports import free_port
from serve.engines.offer import PreparedEndpoint
from serve.spec import parse_serve

VLLM, PHIFLEET = SIDES = ("vllm serve", "phifleet serve")
MODEL = "tiny-random"
_CACHE_GIB = "1"
_STARTS_WITHIN = 300
_WARM_UP_CHATS = 8
_SECONDS_A_CHAT = 300


@dataclass(frozen=True)
class Chat:
    """How one chat went: seconds until its first token, between later ones, and in all."""

    first: float
    between: float
    seconds: float
    tokens: int


@dataclass(frozen=True)
class Turn:
    """All chats of one side at one concurrency in one round."""

    side: str
    concurrency: int
    seconds: float
    chats: Sequence[Chat]

    @property
    def tokens_a_second(self) -> float:
        return sum(chat.tokens for chat in self.chats) / self.seconds

    @property
    def first(self) -> float:
        return median(chat.first for chat in self.chats)

    @property
    def late_first(self) -> float:
        return quantiles([chat.first for chat in self.chats], n=20)[-1]

    @property
    def between(self) -> float:
        return median(chat.between for chat in self.chats)


def main() -> None:
    options = _options()
    turns: list[Turn] = []
    for number in range(options.rounds):
        # who begins, changes
        for side in SIDES if number % 2 == 0 else SIDES[::-1]:
            with started(side) as (url, headers):
                asyncio.run(_turn(side, 1, _WARM_UP_CHATS, "warm", url, headers, options))
                for concurrency in options.concurrency:
                    name = f"{number} {concurrency}"
                    count = max(options.chats, 4 * concurrency)
                    turn = asyncio.run(_turn(side, concurrency, count, name, url, headers, options))
                    turns.append(turn)
                    _say(turn)
    _print(turns, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--chats", type=int, default=32, help="the least of one turn")
    parser.add_argument("--characters", type=int, default=6000, help="of a chat's message")
    parser.add_argument("--answer-tokens", type=int, default=64)
    return parser.parse_args()


@contextmanager
def started(side: str) -> Iterator[tuple[str, dict[str, str]]]:
    """A side's server with an engine of its own: its address, and the headers that it wants."""
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        command, environment = _command(side, Path(directory), port)
        with Path(directory, "log").open("w+") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, **environment}
            )
            try:
                url = f"http://127.0.0.1:{port}"
                _await(url, process, log)
                headers = {}
                if side == PHIFLEET:
                    headers["authorization"] = f"Bearer {_key(Path(directory, 'log'))}"
                yield url, headers
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(60)


def _command(side: str, directory: Path, port: int) -> tuple[list[str], dict[str, str]]:
    environment = {"VLLM_CPU_KVCACHE_SPACE": _CACHE_GIB, "VLLM_NO_USAGE_STATS": "1"}
    if side == PHIFLEET:
        spec = {"model": {"name": MODEL}, "http": {"port": port}}
        (directory / "serve.yaml").write_text(yaml.safe_dump(spec))
        return [
            sys.executable,
            "-m",
            "jobs.cli",
            "serve",
            str(directory / "serve.yaml"),
        ], environment
    offer = PreparedEndpoint(parse_serve({"model": {"name": MODEL}}))
    arguments = engine_arguments(offer.engine_config("short", gpu=False)) | OFFLINE_LIMITS
    flags = [part for name, value in arguments.items() for part in _flag(name, value)]
    # what `vllm serve` starts; that itself asks for a package `vllm`, which its CPU build is not
    server = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command = [*server, "--served-model-name", MODEL, "--port", str(port)]
    # as the other side, it logs no request
    quiet = ["--disable-uvicorn-access-log"]
    return [*command, "--host", "127.0.0.1", *quiet, *flags], environment


def _flag(name: str, value: Any) -> Iterator[str]:
    flag = f"--{name.replace('_', '-')}"
    if value is True:
        yield flag
    elif value is not None and value is not False:
        yield from (flag, str(value))


def _await(url: str, process: subprocess.Popen[bytes], log: Any) -> None:
    until = time.monotonic() + _STARTS_WITHIN
    for path in ("/v1/models", "/readyz"):
        while True:
            try:
                code = httpx.get(f"{url}{path}", timeout=5).status_code
            except httpx.HTTPError:
                code = 0
            # vLLM has no /readyz, and lists its model when it is ready
            if code in (200, 401, 404):
                break
            if process.poll() is not None or time.monotonic() > until:
                log.seek(0)
                raise SystemExit(f"the server did not start:\n{log.read()[-4000:]}")
            time.sleep(0.5)


def _key(log: Path) -> str:
    while "Bearer pf-" not in log.read_text():
        time.sleep(0.2)
    return log.read_text().partition("Bearer ")[2].split("'")[0]


async def _turn(
    side: str,
    concurrency: int,
    count: int,
    name: str,
    url: str,
    headers: dict[str, str],
    options: argparse.Namespace,
) -> Turn:
    free = asyncio.Semaphore(concurrency)
    limits = httpx.Limits(max_connections=concurrency)
    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=_SECONDS_A_CHAT, limits=limits
    ) as client:

        async def one(number: int) -> Chat:
            async with free:
                text = _message(f"{name} {number}", number, options.characters)
                return await _chat(client, text, options.answer_tokens)

        began = time.monotonic()
        chats = await asyncio.gather(*(one(number) for number in range(count)))
        return Turn(side, concurrency, time.monotonic() - began, chats)


def _message(name: str, number: int, characters: int) -> str:
    """Text that begins like no other, so that no cache holds it."""
    texts = "".join(topics.topics.values())
    start = number * characters % (len(texts) - characters)
    return f"{name}\n{texts[start : start + characters]}"


async def _chat(client: httpx.AsyncClient, text: str, max_answer_tokens: int) -> Chat:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": max_answer_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    began = time.monotonic()
    first = last = 0.0
    tokens = 0
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            told = json.loads(line.removeprefix("data: "))
            if told["choices"] and told["choices"][0]["delta"].get("content"):
                last = time.monotonic()
                first = first or last
            tokens = (told.get("usage") or {}).get("completion_tokens", tokens)
    seconds = time.monotonic() - began
    return Chat(first - began, (last - first) / max(1, tokens - 1), seconds, tokens)


def _say(turn: Turn) -> None:
    print(
        f"{turn.side}, {turn.concurrency} at a time: first token {turn.first * 1000:.0f} ms, "
        f"between {turn.between * 1000:.2f} ms, {turn.tokens_a_second:.0f} tokens/s",
        file=sys.stderr,
        flush=True,
    )


def _print(turns: Sequence[Turn], options: argparse.Namespace) -> None:
    table = Table(title=f"{MODEL}, messages of {options.characters} characters, medians")
    heads = ("at a time", "side", "first token ms", "95 % ms", "between ms", "tokens/s")
    for head in heads:
        table.add_column(head, justify="right")
    for concurrency in options.concurrency:
        shown = {}
        for side in SIDES:
            own = [each for each in turns if (each.side, each.concurrency) == (side, concurrency)]
            shown[side] = (
                median(each.first for each in own) * 1000,
                median(each.late_first for each in own) * 1000,
                median(each.between for each in own) * 1000,
                median(each.tokens_a_second for each in own),
            )
            table.add_row(str(concurrency), side, *(f"{value:.4g}" for value in shown[side]))
        pairs = zip(shown[PHIFLEET], shown[VLLM], strict=True)
        table.add_row("", "ratio", *(f"{ours / theirs:.2f}" for ours, theirs in pairs))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
