"""`phifleet` with engines that keep a diary of the documents they are asked about.

`python program.py run JOB`: CHAOS_ENGINE is `real`, or `quick` for one that answers by a rule, with
a process of its own that can be killed as a real engine's, and takes CHAOS_SECONDS for a prompt.
CHAOS_DIARY is a directory.
"""

# ruff: noqa: E402
from __future__ import annotations

import signal

# Amid the imports below Python makes 1 of a SIGINT, which `phifleet` means otherwise.
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
_USUAL_SECONDS = "0.1"


class Diary:
    """One line for each prompt: when it was asked, and the number of its paper."""

    def __init__(self, tokens: ChatTokenizer) -> None:
        self._tokens = tokens
        directory = Path(os.environ["CHAOS_DIARY"])
        self._file = (directory / f"{os.getpid()}-{time.time_ns()}").open("a", buffering=1)

    def note(self, prompt: Sequence[int]) -> None:
        found = re.search(MARK.format(r"(\d+)"), self._tokens.decode(prompt))
        # what is about no paper asks whether the engine lives
        if found:
            self._file.write(f"{time.time():.3f} {found[1]}\n")


class RealEngine(VllmEngine):
    """vLLM's, with a diary."""

    async def generate(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        on_first_token: Callable[[], None] | None = None,
    ) -> Completion:
        if not hasattr(self, "_diary"):
            self._diary = Diary(self.tokenizer)
        self._diary.note(prompt)
        return await super().generate(prompt, sampling, on_first_token)


class QuickEngine:
    """Answers anything with the same words, as long as its process lives."""

    kv_cache_tokens, max_batched_tokens, min_request_tokens = 20_000, 4096, 100

    def __init__(self, tokens: ChatTokenizer) -> None:
        self._diary = Diary(tokens)
        self._seconds = float(os.environ.get("CHAOS_SECONDS", _USUAL_SECONDS))
        self._admission = Admission(self.kv_cache_tokens)
        self.used = Usage()
        # it ends with us, for then its input does
        waiting = "import sys; QUICK_ENGINE = sys.stdin.read()"
        self._process = subprocess.Popen([sys.executable, "-c", waiting], stdin=subprocess.PIPE)

    @property
    def dead(self) -> bool:
        return self._process.poll() is not None

    @property
    def kv_tokens_in_flight(self) -> int:
        return self._admission.in_flight_tokens

    def admit(self, tokens: int) -> Any:
        return self._admission.hold(tokens)

    async def generate(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        on_first_token: Callable[[], None] | None = None,
    ) -> Completion:
        self._diary.note(prompt)
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
