"""`phifleet` with an engine that certain texts crash or hang, or whose worker they kill.

`python poisoned.py run JOB` runs a job with the real engine, wrapped so that a prompt that contains
one of the words below stops its processes, as a faulty kernel or a lack of memory does.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from jobs.cli import entry
from pipelines.engine.vllm_engine import VllmEngine
from pipelines.run import batch
from pipelines.run.worker import Worker
from pipelines.tasks.kinds import Completion, Sampling

KILLS, HANGS, KILLS_WORKER = "detonates", "petrifies", "obliterates"
HANGS_AFTER = 5.0


class PoisonedEngine(VllmEngine):
    """A real engine that kills or stops its processes on prompts with one of the words."""

    async def generate(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        on_first_token: Callable[[], None] | None = None,
    ) -> Completion:
        text = self.tokenizer.decode(prompt)
        if KILLS_WORKER in text:
            os.kill(os.getpid(), signal.SIGKILL)
        for word, number in ((KILLS, signal.SIGKILL), (HANGS, signal.SIGSTOP)):
            if word in text:
                for process in self._processes:
                    with suppress(ProcessLookupError):
                        os.kill(process.pid, number)
        return await super().generate(prompt, sampling, on_first_token)


class PoisonedWorker(Worker):
    """A worker that starts poisoned engines, which are taken to hang after five seconds."""

    def start_engine(self) -> PoisonedEngine:
        config = replace(self._engine_config, hangs_after=HANGS_AFTER)
        return PoisonedEngine(config, self._tokenizer, ray_metrics=True)


if __name__ == "__main__":
    setattr(batch, "Worker", PoisonedWorker)  # noqa: B010
    entry()
