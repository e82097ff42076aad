"""`phifleet` over an engine that texts can kill, hang, or take its worker with it.

`python poisoned.py run JOB`: the real engine, wrapped so that a prompt with one of the words below
does to it what bad kernels, bad memory and bad luck do.
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
    def start_engine(self) -> PoisonedEngine:
        config = replace(self._engine_config, hangs_after=HANGS_AFTER)
        return PoisonedEngine(config, self._tokenizer, ray_metrics=True)


if __name__ == "__main__":
    setattr(batch, "Worker", PoisonedWorker)  # noqa: B010
    entry()
