"""Compares phifleet's endpoint with `vllm serve`: the same chats and engine, on this machine's CPU.

The two servers run in turns, each started again for each round. Every chat is streamed. Prints a
table of medians over the rounds. `python benchmarks/online.py` takes about ten minutes.
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

from pipelines.engine.config import engine_arguments
from pipelines.run.ports import free_port
from serve.engines.offer import PreparedEndpoint
from serve.spec import parse_serve

VLLM, PHIFLEET = SERVERS = ("vllm serve", "phifleet serve")
MODEL = "tiny-random"
_CACHE_GIB = "1"
_START_TIMEOUT_SECONDS = 300
_WARM_UP_CHATS = 8
_CHAT_TIMEOUT_SECONDS = 300


@dataclass(frozen=True)
class Chat:
    """The measurements of one chat. `seconds_to_first` is the time to the first token,
    `seconds_between` the mean time between later tokens, `seconds` the whole chat."""

    seconds_to_first: float
    seconds_between: float
    seconds: float
    tokens: int


@dataclass(frozen=True)
class Turn:
    """All chats with one server at one concurrency in one round, which took `seconds`."""

    server: str
    concurrency: int
    seconds: float
    chats: Sequence[Chat]

    @property
    def tokens_per_second(self) -> float:
        """Output tokens per second of all chats together."""
        return sum(chat.tokens for chat in self.chats) / self.seconds

    @property
    def seconds_to_first(self) -> float:
        """The median time to the first token."""
        return median(chat.seconds_to_first for chat in self.chats)

    @property
    def seconds_to_first_p95(self) -> float:
        """The 95th percentile of the time to the first token."""
        return quantiles([chat.seconds_to_first for chat in self.chats], n=20)[-1]

    @property
    def seconds_between(self) -> float:
        """The median over the chats of the time between tokens."""
        return median(chat.seconds_between for chat in self.chats)


def main() -> None:
    """Run all rounds and print the table."""
    options = _options()
    turns: list[Turn] = []
    for number in range(options.rounds):
        # The order alternates, so that neither server is always measured first.
        for server in SERVERS if number % 2 == 0 else SERVERS[::-1]:
            with running(server) as (url, headers):
                asyncio.run(_run_turn(server, 1, _WARM_UP_CHATS, "warm", url, headers, options))
                for concurrency in options.concurrency:
                    name = f"{number} {concurrency}"
                    count = max(options.chats, 4 * concurrency)
                    turn = asyncio.run(
                        _run_turn(server, concurrency, count, name, url, headers, options)
                    )
                    turns.append(turn)
                    _log(turn)
    _print_table(turns, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="rounds, each with both servers")
    parser.add_argument(
        "--concurrency", type=int, nargs="+", default=[1, 4, 16], help="concurrent chats"
    )
    parser.add_argument(
        "--chats", type=int, default=32, help="minimum number of chats with a server in a round"
    )
    parser.add_argument("--characters", type=int, default=6000, help="length of a message")
    parser.add_argument("--answer-tokens", type=int, default=64, help="maximum length of an answer")
    return parser.parse_args()


@contextmanager
def running(server: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Run a server with its engine during the block. Yield its URL and the headers that requests
    need. Ends the program with the server's log if it does not start."""
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        command, environment = _command(server, Path(directory), port)
        with Path(directory, "log").open("w+") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, **environment}
            )
            try:
                url = f"http://127.0.0.1:{port}"
                await_start(url, process, log)
                headers = {}
                if server == PHIFLEET:
                    headers["authorization"] = f"Bearer {read_key(Path(directory, 'log'))}"
                yield url, headers
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(60)


def _command(server: str, directory: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """Return the command that starts a server, and its environment variables."""
    environment = {"VLLM_CPU_KVCACHE_SPACE": _CACHE_GIB, "VLLM_NO_USAGE_STATS": "1"}
    if server == PHIFLEET:
        spec = {"model": {"name": MODEL}, "http": {"port": port}}
        serve_file = directory / "serve.yaml"
        serve_file.write_text(yaml.safe_dump(spec))
        return [sys.executable, "-m", "jobs.cli", "serve", str(serve_file)], environment
    prepared = PreparedEndpoint(parse_serve({"model": {"name": MODEL}}))
    arguments = engine_arguments(prepared.engine_config("short", gpu=False)) | OFFLINE_LIMITS
    flags = [part for name, value in arguments.items() for part in _flag(name, value)]
    # The module that `vllm serve` starts. The command itself requires an installed package named
    # `vllm`, but the CPU build has another name.
    module = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command = [*module, "--served-model-name", MODEL, "--port", str(port)]
    # phifleet logs no requests either
    quiet = ["--disable-uvicorn-access-log"]
    return [*command, "--host", "127.0.0.1", *quiet, *flags], environment


def _flag(name: str, value: Any) -> Iterator[str]:
    flag = f"--{name.replace('_', '-')}"
    if value is True:
        yield flag
    elif value is not None and value is not False:
        yield from (flag, str(value))


def await_start(url: str, process: subprocess.Popen[bytes], log: Any) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_SECONDS
    for path in ("/v1/models", "/readyz"):
        while True:
            try:
                code = httpx.get(f"{url}{path}", timeout=5).status_code
            except httpx.HTTPError:
                code = 0
            # vLLM has no /readyz (404); it lists its model only when it is ready.
            if code in (200, 401, 404):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                log.seek(0)
                raise SystemExit(
                    f"the server at {url} ended, or was not ready after {_START_TIMEOUT_SECONDS} s;"
                    f" the end of its log:\n{log.read()[-4000:]}"
                )
            time.sleep(0.5)


def read_key(log: Path) -> str:
    """Return the API key that `phifleet serve` printed; waits until it is in the log."""
    while "Bearer pf-" not in log.read_text():
        time.sleep(0.2)
    return log.read_text().partition("Bearer ")[2].split("'")[0]


async def _run_turn(
    server: str,
    concurrency: int,
    count: int,
    name: str,
    url: str,
    headers: dict[str, str],
    options: argparse.Namespace,
) -> Turn:
    semaphore = asyncio.Semaphore(concurrency)
    limits = httpx.Limits(max_connections=concurrency)
    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=_CHAT_TIMEOUT_SECONDS, limits=limits
    ) as client:

        async def chat(number: int) -> Chat:
            async with semaphore:
                text = _message(f"{name} {number}", number, options.characters)
                return await _chat(client, text, options.answer_tokens)

        started_at = time.monotonic()
        chats = await asyncio.gather(*(chat(number) for number in range(count)))
        return Turn(server, concurrency, time.monotonic() - started_at, chats)


def _message(name: str, number: int, characters: int) -> str:
    """Return a text that starts with `name`, so that no prefix cache contains it."""
    texts = "".join(topics.topics.values())
    start = number * characters % (len(texts) - characters)
    return f"{name}\n{texts[start : start + characters]}"


async def _chat(client: httpx.AsyncClient, text: str, answer_tokens: int) -> Chat:
    """Send one streamed chat and measure it."""
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": answer_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    started_at = time.monotonic()
    first_at = last_at = 0.0
    tokens = 0
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line.removeprefix("data: "))
            if event["choices"] and event["choices"][0]["delta"].get("content"):
                last_at = time.monotonic()
                first_at = first_at or last_at
            tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
    seconds = time.monotonic() - started_at
    seconds_between = (last_at - first_at) / max(1, tokens - 1)
    return Chat(first_at - started_at, seconds_between, seconds, tokens)


def _log(turn: Turn) -> None:
    print(
        f"{turn.server}, {turn.concurrency} concurrent chats: "
        f"first token {turn.seconds_to_first * 1000:.0f} ms, "
        f"between {turn.seconds_between * 1000:.2f} ms, {turn.tokens_per_second:.0f} tokens/s",
        file=sys.stderr,
        flush=True,
    )


def _print_table(turns: Sequence[Turn], options: argparse.Namespace) -> None:
    table = Table(title=f"{MODEL}, messages of {options.characters} characters, medians")
    heads = ("concurrent", "server", "first token ms", "95 % ms", "between ms", "tokens/s")
    for head in heads:
        table.add_column(head, justify="right")
    for concurrency in options.concurrency:
        medians = {}
        for server in SERVERS:
            group = [
                turn for turn in turns if (turn.server, turn.concurrency) == (server, concurrency)
            ]
            medians[server] = (
                median(turn.seconds_to_first for turn in group) * 1000,
                median(turn.seconds_to_first_p95 for turn in group) * 1000,
                median(turn.seconds_between for turn in group) * 1000,
                median(turn.tokens_per_second for turn in group),
            )
            table.add_row(str(concurrency), server, *(f"{value:.4g}" for value in medians[server]))
        pairs = zip(medians[PHIFLEET], medians[VLLM], strict=True)
        table.add_row("", "ratio", *(f"{ours / theirs:.2f}" for ours, theirs in pairs))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
