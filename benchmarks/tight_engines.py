"""The engines of admission.py: real engines with a small KV cache that admit requests differently.

Counts what vLLM reports after each step. Knows nothing of runs and tables.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import psutil

from pipelines.engine import vllm_engine
from pipelines.engine.config import EngineConfig, engine_arguments
from pipelines.engine.vllm_engine import VllmEngine
from pipelines.text.tokens import ChatTokenizer

SHARES, LIMITS, EVERYTHING, EARLIER = "shares", "limits", "everything", "earlier"
"""The sides: as phifleet admits; with the limits of all answers reserved until the last answer
about a passage ends; everything admitted at once; and as an earlier checkout of phifleet admits."""


@dataclass
class Steps:
    """Collects what vLLM reports after each step, while `recording`.

    `cache_use` and `running` have one number for each step: the used share of the KV cache, and the
    requests that ran.
    """

    recording: bool = False
    cache_use: list[float] = field(default_factory=list)
    running: list[int] = field(default_factory=list)
    preemptions: int = 0

    def record(self, scheduler: Any, iteration: Any) -> None:
        """Add vLLM's statistics of one step. Either may be None."""
        if self.recording and scheduler is not None and scheduler.num_running_reqs:
            self.cache_use.append(scheduler.kv_cache_usage)
            self.running.append(scheduler.num_running_reqs)
        if self.recording and iteration is not None:
            self.preemptions += iteration.num_preempted_reqs


class LimitsEngine(VllmEngine):
    """Reserves the limits of all answers, until the block of `admit` ends."""

    def __init__(self, *given: Any) -> None:
        """Start the engine."""
        super().__init__(*given)
        self.answer_lengths: Any = _UnknownLengths()

    @asynccontextmanager
    async def admit(self, tokens: int | Callable[[], int]) -> AsyncIterator[Any]:
        """Reserve what `tokens` counts, and give nothing back before the block ends."""
        async with super().admit(tokens):
            yield _Kept()


class EverythingEngine(LimitsEngine):
    """Admits every request at once."""

    @asynccontextmanager
    async def admit(self, tokens: int | Callable[[], int]) -> AsyncIterator[Any]:
        """Reserve nothing."""
        yield _Kept()


class _UnknownLengths:
    factor = None

    def expected(self, question: str, max_tokens: int) -> int:
        return max_tokens

    def record(self, question: str, tokens: int) -> None: ...


class _Kept:
    def shrink(self, tokens: int) -> None: ...


ENGINES: dict[str, type[VllmEngine]] = {
    SHARES: VllmEngine,
    LIMITS: LimitsEngine,
    EVERYTHING: EverythingEngine,
    EARLIER: VllmEngine,
}
"""The engine of each side. That of EARLIER is the engine of the checkout that is imported."""


def start_engine(
    side: str, config: EngineConfig, tokenizer: ChatTokenizer, kv_cache_tokens: int, steps: Steps
) -> VllmEngine:
    """Start the engine of a side with a KV cache of about `kv_cache_tokens` tokens, whose steps are
    recorded in `steps`. Raises EngineError.

    Functions of the module that starts engines are replaced in this process: an earlier checkout
    has no setting for the size of the cache.
    """
    module, name = _starting()
    listener = getattr(module, name)

    def arguments(config: EngineConfig) -> dict[str, Any]:
        chosen = engine_arguments(config)
        return {**chosen, "num_gpu_blocks_override": kv_cache_tokens // chosen["block_size"]}

    def recording_listener(*given: Any) -> Any:
        class Recorder(listener(*given)):  # type: ignore[misc]
            def record(self, scheduler: Any, iteration: Any, *rest: Any, **more: Any) -> None:
                super().record(scheduler, iteration, *rest, **more)
                steps.record(scheduler, iteration)

        return Recorder

    setattr(module, "engine_arguments", arguments)  # noqa: B010
    setattr(module, name, recording_listener)
    return ENGINES[side](config, tokenizer)


def _starting() -> tuple[ModuleType, str]:
    """Return the module of the imported checkout that starts engines, and its listener's name."""
    try:
        from pipelines.engine import startup
    except ImportError:
        return vllm_engine, "_step_listener"
    return startup, "step_listener"


def cpu_seconds() -> float:
    """Return the CPU time of this process and of all processes that it started and that run."""
    this = psutil.Process()
    times = [process.cpu_times() for process in (this, *this.children(recursive=True))]
    return sum(time.user + time.system for time in times)
