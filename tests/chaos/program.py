"""Runs `phifleet` with engines that log their prompts: `python program.py run JOB`.

Environment variables: CHAOS_ENGINE is `real` for vLLM, or `quick` for a fake engine with a process
that can be killed like a real engine's. CHAOS_SECONDS is how long the quick engine takes for a
prompt. CHAOS_REQUEST_LOG is the directory that the engines write their logs to.
"""

# ruff: noqa: E402
from __future__ import annotations

import signal

# A SIGINT during the imports below would make Python exit with code 1, which is not expected.
signal.signal(signal.SIGINT, signal.SIG_DFL)

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.cli import entry
from pipelines.answering.answer_lengths import AnswerLengths
from pipelines.answering.protocols import Engine
from pipelines.documents import Usage
from pipelines.engine.admission import Admission
from pipelines.engine.vllm_engine import VllmEngine
from pipelines.errors import EngineDied
from pipelines.run import batch
from pipelines.run.worker import Worker
from pipelines.tasks.kinds import Completion, Sampling
from pipelines.text.tokens import ChatTokenizer

MARK = "Paper number {}."
"""The beginning of each paper's text, by which the log finds the paper of a prompt."""
_DEFAULT_SECONDS = "0.1"


class RequestLog:
    """A file with a line per prompt: the time in seconds since 1970, and the paper's number."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._tokenizer = tokenizer
        directory = Path(os.environ["CHAOS_REQUEST_LOG"])
        self._file = (directory / f"{os.getpid()}-{time.time_ns()}").open("a", buffering=1)

    def write(self, prompt: Sequence[int]) -> None:
        """Log one prompt. Prompts that are not about a paper are health checks, and are skipped."""
        match = re.search(MARK.format(r"(\d+)"), self._tokenizer.decode(prompt))
        if match:
            self._file.write(f"{time.time():.3f} {match[1]}\n")


class RealEngine(VllmEngine):
    """vLLM's engine with a request log."""

    async def generate(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        on_first_token: Callable[[], None] | None = None,
    ) -> Completion:
        if not hasattr(self, "_log"):
            self._log = RequestLog(self.tokenizer)
        self._log.write(prompt)
        return await super().generate(prompt, sampling, on_first_token)


class QuickEngine:
    """A fake engine with fixed answers, which fails once its process has been killed."""

    kv_cache_tokens, max_batched_tokens, min_request_tokens = 20_000, 4096, 100
    max_model_len, block_tokens = 4096, 16

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._log = RequestLog(tokenizer)
        self._seconds = float(os.environ.get("CHAOS_SECONDS", _DEFAULT_SECONDS))
        self._admission = Admission(self.kv_cache_tokens)
        self.answer_lengths = AnswerLengths()
        self.used = Usage()
        # it reads its standard input, which ends together with this process
        waiting = "import sys; QUICK_ENGINE = sys.stdin.read()"
        self._process = subprocess.Popen([sys.executable, "-c", waiting], stdin=subprocess.PIPE)

    @property
    def dead(self) -> bool:
        return self._process.poll() is not None

    @property
    def kv_tokens_in_flight(self) -> int:
        return self._admission.in_flight_tokens

    def admit(self, tokens: int | Callable[[], int]) -> Any:
        return self._admission.hold(tokens)

    async def generate(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        on_first_token: Callable[[], None] | None = None,
    ) -> Completion:
        self._log.write(prompt)
        await asyncio.sleep(self._seconds)
        if self.dead:
            raise EngineDied("the engine died")
        if on_first_token is not None:
            on_first_token()
        used = Usage(len(prompt), 0, 2)
        self.used += used
        return Completion(sampling.choices[0] if sampling.choices else "two words", used, "stop")

    def shutdown(self) -> None:
        self._process.kill()
        self._process.wait()


class ChaosWorker(Worker):
    """A worker whose engine is chosen by CHAOS_ENGINE and logs its prompts."""

    def start_engine(self) -> Any:
        if os.environ["CHAOS_ENGINE"] == "quick":
            engine: Engine = QuickEngine(self._tokenizer)
            return engine
        config = replace(self._engine_config, hangs_after=30.0)
        return RealEngine(config, self._tokenizer, ray_metrics=True)


if __name__ == "__main__":
    setattr(batch, "Worker", ChaosWorker)  # noqa: B010
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # ends as the command does: an interpreter that shuts down under Ray aborts now and then
    entry()
