"""The vLLM engine: the only file that imports vllm.

`VllmEngine` is the `Engine` of answer.py over one `AsyncLLM`. It knows how Phi-3 must be started
(see `engine_arguments`) and nothing of documents, units or Ray Data.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import math
import multiprocessing
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.documents import Usage
from pipelines.engine.admission import Admission
from pipelines.engine.lifeline import Lifeline
from pipelines.errors import EngineDied, EngineError, EngineHung, RequestRejected
from pipelines.models.resolve import BF16_BYTES, Model
from pipelines.tasks.confidence import choice_logprob
from pipelines.tasks.kinds import Completion, Sampling
from pipelines.text.tokens import ChatTokenizer

GIB = 2**30
# What vLLM takes of a GPU's memory where nobody else wants any.
_GPU_MEMORY_SHARE = 0.92
FLOAT32_BYTES = 4
_REASON_LENGTH = 400
# Requests that an engine has at a time: those it runs, and as many again that wait to be next.
_FULL_ENGINES = 2
# On a CPU, where all share the cores with the model; beyond 19 there is none.
_SCHEDULER_NICENESS, _FRONT_NICENESS = 5, 12
# Seconds without a step, with requests outstanding, after which an engine is taken to hang: many
# times what the longest step takes. One on a CPU may compute minutes for a step of a large model.
_GPU_HANGS_AFTER, _CPU_HANGS_AFTER = 180.0, 1200.0
_WATCHED_EVERY, _TOLD_WITHIN = 1.0, 2.0
# What one prompt may take of a step where others wait beside it: half of vLLM's smallest steps, or
# less.
_GPU_LONG_PREFILL_TOKENS, _CPU_LONG_PREFILL_TOKENS = 4096, 2048
# Log-probabilities that vLLM tells of each token of a choice: the most it does by default.
_LIKELIEST = 20
# An engine's processes end with the thread that started them, and this one lasts until the end.
_STARTER = ThreadPoolExecutor(1, "engine")


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What decides how an engine of one pool is started."""

    model: Model
    max_model_len: int
    gpu: bool
    quantization: str | None = None
    kv_cache_dtype: str = "auto"
    tensor_parallel: int = 1
    gpu_share: float = 1.0
    hangs_after: float | None = None
    online: bool = False
    """Whether somebody waits for each answer: long prompts then leave room in every step."""

    @property
    def hang_seconds(self) -> float:
        return self.hangs_after or (_GPU_HANGS_AFTER if self.gpu else _CPU_HANGS_AFTER)


def engine_arguments(config: EngineConfig) -> dict[str, Any]:
    """Keyword arguments of vLLM's EngineArgs for this pool.

    `max_model_len` chooses Phi-3's rope factors (short up to 4,096). Phi-3 counts as a
    sliding-window model, and vLLM then keeps nothing, or only a window, in the prefix cache: where
    the window cannot matter it is switched off, elsewhere the cache is told to retain everything.
    """
    arguments: dict[str, Any] = {
        "model": str(config.model.path),
        "max_model_len": config.max_model_len,
        "tensor_parallel_size": config.tensor_parallel,
        "quantization": config.quantization,
        "kv_cache_dtype": config.kv_cache_dtype,
        "enable_prefix_caching": True,
        "generation_config": "auto",
        "seed": 0,
    }
    window = config.model.sliding_window
    if window is not None and window >= config.max_model_len:
        arguments["disable_sliding_window"] = True
    elif window is not None:
        arguments["prefix_cache_retention_interval"] = None
    if config.online:
        most = _GPU_LONG_PREFILL_TOKENS if config.gpu else _CPU_LONG_PREFILL_TOKENS
        arguments["long_prefill_token_threshold"] = most
    if config.gpu and config.gpu_share < 1:
        arguments["gpu_memory_utilization"] = _GPU_MEMORY_SHARE * config.gpu_share
    if not config.gpu:
        # Compilation costs minutes of start on a CPU; vLLM's CPU blocks of 128 tokens would leave
        # most of a short document's prefix out of the cache.
        arguments |= {"enforce_eager": True, "block_size": 32, "dtype": _cpu_dtype(config)}
    return arguments


def _cpu_dtype(config: EngineConfig) -> str:
    import torch

    if config.quantization is not None:
        return "auto"
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    capability = torch.backends.cpu.get_cpu_capability()
    return cpu_dtype(config.model.parameters, memory_bytes, capability)


def cpu_dtype(parameters: int, memory_bytes: int, capability: str) -> str:
    """The type an engine computes in on a CPU of this capability, as torch names it.

    With AVX2 alone, products of bfloat16 matrices take about three times as long as of float32:
    there the model is widened, where that leaves half of the memory free.
    """
    fits = FLOAT32_BYTES * parameters <= memory_bytes / 2
    return "float32" if capability == "AVX2" and fits else "auto"


class VllmEngine:
    """One engine, started by the constructor (tens of seconds) and used from one event loop.
    `used` are the tokens of all its finished requests.

    Raises EngineError with vLLM's own reason where it does not start.
    """

    def __init__(
        self, config: EngineConfig, tokens: ChatTokenizer, *, ray_metrics: bool = False
    ) -> None:
        self.config = config
        self.tokenizer = tokens
        self._pulse = _Pulse()
        started = _STARTER.submit(_start, config, self._pulse, ray_metrics)
        self._llm, self._processes = started.result()
        settings = self._llm.vllm_config
        self.kv_cache_tokens: int = settings.cache_config.kv_cache_size_tokens
        self.max_batched_tokens: int = settings.scheduler_config.max_num_batched_tokens
        most = _FULL_ENGINES * settings.scheduler_config.max_num_seqs
        self.min_request_tokens = max(1, self.kv_cache_tokens // most)
        self.used = Usage()
        self._admission = Admission(self.kv_cache_tokens)
        self._request_numbers = itertools.count()
        self._waiting: set[asyncio.Timeout] = set()
        self._watch: asyncio.Task[None] | None = None
        self._hung = False

    @property
    def client(self) -> Any:
        """vLLM's own engine client, for its OpenAI routes."""
        return self._llm

    @property
    def dead(self) -> bool:
        """Whether it will answer nothing any more."""
        return self._is_dead()

    @property
    def kv_tokens_in_flight(self) -> int:
        return self._admission.in_flight_tokens

    def admit(self, tokens: int) -> AbstractAsyncContextManager[None]:
        return self._admission.hold(tokens)

    async def generate(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        on_first_token: Callable[[], None] | None = None,
    ) -> Completion:
        from vllm.exceptions import VLLMValidationError
        from vllm.v1.engine.exceptions import EngineGenerateError

        try:
            async with self.under_watchdog():
                return await self._generate(prompt, sampling, on_first_token)
        except (EngineGenerateError, VLLMValidationError, ValueError) as error:
            raise RequestRejected(_reason(error)) from error

    @asynccontextmanager
    async def under_watchdog(self) -> AsyncIterator[None]:
        """Wait for the engine within the block. Raises EngineDied where it dies or hangs."""
        from vllm.v1.engine.exceptions import EngineDeadError

        self._watch_over()
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._waiting.add(scope)
                yield
        except Exception as error:
            # one whose request crosses the engine's death meets closed sockets and the like
            if isinstance(error, EngineDeadError) or self._is_dead():
                raise self._death(error) from error
            raise
        finally:
            self._waiting.discard(scope)

    def _is_dead(self) -> bool:
        return bool(self._llm.errored) or not all(each.is_alive() for each in self._processes)

    def _death(self, error: Exception) -> EngineDied:
        if self._hung:
            return EngineHung(f"the engine made no step in {self.config.hang_seconds:.0f} s")
        return EngineDied(f"the engine died: {_reason(error)}")

    def _watch_over(self) -> None:
        if not self._waiting:
            self._pulse.beat()
        if self._watch is None:
            self._watch = asyncio.get_running_loop().create_task(self._watchdog())

    async def _watchdog(self) -> None:
        """Kill the engine's processes where it makes no step, and tell all who wait for a dead
        engine: vLLM does not tell one whose request crossed the engine's death."""
        while True:
            await asyncio.sleep(_WATCHED_EVERY)
            if self._waiting and self._pulse.silent_seconds > self.config.hang_seconds:
                self._hung = True
                for process in self._processes:
                    process.kill()
            elif not self._is_dead():
                continue
            # vLLM's own words come first
            await asyncio.sleep(_TOLD_WITHIN)
            for scope in self._waiting:
                if not scope.expired():
                    scope.reschedule(asyncio.get_running_loop().time())

    async def _generate(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        on_first_token: Callable[[], None] | None,
    ) -> Completion:
        generated: list[int] = []
        steps: list[Any] = []
        request = str(next(self._request_numbers))
        parameters = _sampling_params(sampling, streamed=on_first_token is not None)
        async for output in self._llm.generate(
            {"prompt_token_ids": list(prompt)}, parameters, request
        ):
            completion = output.outputs[0]
            generated.extend(completion.token_ids)
            steps.extend(completion.logprobs or ())
            if on_first_token is not None:
                on_first_token()
                on_first_token = None
        usage = Usage(len(prompt), output.num_cached_tokens or 0, len(generated))
        self.used += usage
        return Completion(
            text=self.tokenizer.decode_output(generated),
            usage=usage,
            finish_reason=completion.finish_reason or "unknown",
            logprob=self._logprob(generated, steps, sampling),
        )

    def _logprob(
        self, generated: Sequence[int], steps: Sequence[Any], sampling: Sampling
    ) -> float | None:
        if sampling.choices is None:
            return None
        likeliest = [{token: each.logprob for token, each in step.items()} for step in steps]
        return choice_logprob(generated, likeliest, sampling.choices, self.tokenizer.decode_output)

    def shutdown(self) -> None:
        """End the engine and its processes, also one that hangs. From any thread."""
        loop = self._watch.get_loop() if self._watch is not None else None
        if self._watch is not None and loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._watch.cancel)
        self._llm.shutdown()
        if loop is not None and not loop.is_running():
            _close_sockets(self._llm)


def _sampling_params(sampling: Sampling, *, streamed: bool) -> Any:
    """vLLM's parameters. Text is made once from all ids: vLLM's way, a token at a time for each
    request, is half of what the process around the engine does."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=0.0,
        max_tokens=sampling.max_tokens,
        output_kind=RequestOutputKind.DELTA if streamed else RequestOutputKind.FINAL_ONLY,
        structured_outputs=_structure(sampling),
        # what the choices do not allow, vLLM has put out of reach before it counts
        logprobs=_LIKELIEST if sampling.choices else None,
        detokenize=False,
        skip_clone=True,
    )


def _structure(sampling: Sampling) -> Any:
    from vllm.sampling_params import StructuredOutputsParams

    if sampling.choices:
        return StructuredOutputsParams(choice=list(sampling.choices))
    return StructuredOutputsParams(json=sampling.schema) if sampling.schema else None


class _Pulse:
    """When the engine made its last step."""

    def __init__(self) -> None:
        self.beat()

    def beat(self) -> None:
        self._last = time.monotonic()

    @property
    def silent_seconds(self) -> float:
        return time.monotonic() - self._last

    def logger(self) -> Any:
        """A vLLM stat logger's factory: vLLM tells its loggers of every step."""
        from vllm.v1.metrics.loggers import StatLoggerBase

        beat = self.beat

        # vllm ships no types
        class Listener(StatLoggerBase):  # type: ignore[misc]
            def __init__(self, vllm_config: Any, engine_index: int = 0) -> None: ...

            def record(self, *_: Any, **__: Any) -> None:
                beat()

            def log_engine_initialized(self) -> None: ...

        return Listener


def _start(config: EngineConfig, pulse: _Pulse, ray_metrics: bool) -> tuple[Any, Sequence[Any]]:
    """The started engine and its processes."""
    set_environment(config)
    from vllm import AsyncEngineArgs
    from vllm.config import StructuredOutputsConfig
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.async_llm import AsyncLLM

    loggers = [pulse.logger()]
    if ray_metrics:
        from vllm.v1.metrics.ray_wrappers import RayPrometheusStatLogger

        loggers.append(RayPrometheusStatLogger)
    others = set(multiprocessing.active_children())
    arguments = AsyncEngineArgs(
        **engine_arguments(config),
        # a model that may indent its JSON pays for every blank
        structured_outputs_config=StructuredOutputsConfig(
            backend="xgrammar", disable_any_whitespace=True
        ),
        disable_log_stats=not ray_metrics,
        additional_config=Lifeline(),
    )
    try:
        # the offline context gives the larger prefill steps of vLLM's own LLM class
        llm = AsyncLLM.from_engine_args(
            arguments, usage_context=UsageContext.LLM_CLASS, stat_loggers=loggers
        )
    except Exception as error:
        raise EngineError(
            f"the engine for {config.model.name} did not start: {_reason(error)}"
        ) from error
    processes = [each for each in multiprocessing.active_children() if each not in others]
    if not config.gpu:
        _share_the_cores(processes)
    return llm, processes


def _close_sockets(llm: Any) -> None:
    """What vLLM leaves to the engine's event loop, which runs no more: an open socket would keep
    the process from its end for ever, in the end of its zmq context."""
    import zmq

    for each in vars(llm.engine_core.resources).values():
        if isinstance(each, zmq.Socket):
            # not the asyncio socket's own, which asks the loop
            zmq.Socket.close(each, linger=0)


def _share_the_cores(processes: Sequence[Any]) -> None:
    """Let vLLM's worker compute undisturbed, and its scheduler, between two steps, before us.

    While the model computes, the scheduler's process spins: by the kernel's account it is always
    busy, and at the usual priority everything else would be put on the cores that compute. This
    process comes after it, for it has most to do just when the scheduler has too. A process of an
    engine after the first inherits that, and may not take itself back.
    """
    threads = [int(thread.name) for thread in Path("/proc/self/task").glob("*")]
    niceness = dict.fromkeys(threads, _usual_niceness() + _FRONT_NICENESS)
    for process in processes:
        niceness[process.pid] = _usual_niceness() + _SCHEDULER_NICENESS
    for number, nice in niceness.items():
        # a thread may have ended meanwhile
        with suppress(ProcessLookupError, PermissionError):
            os.setpriority(os.PRIO_PROCESS, number, nice)


@functools.cache
def _usual_niceness() -> int:
    """This process's, before anything was changed."""
    return os.getpriority(os.PRIO_PROCESS, 0)


def set_environment(config: EngineConfig) -> None:
    """Defaults that vLLM reads from the environment; what the user has set stays."""
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not config.gpu:
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(cpu_cache_gib(config)))
        # vLLM compiles a few functions even where it computes eagerly, such as that which ranks
        # log-probabilities: that takes a C++ compiler, and about two seconds of an engine's start
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")


def cpu_cache_gib(config: EngineConfig) -> int:
    """KV cache for eight of the longest sequences, 1 to 8 GiB: an engine on a CPU shares memory."""
    widening = FLOAT32_BYTES / BF16_BYTES if _cpu_dtype(config) == "float32" else 1
    least = config.max_model_len * config.model.kv_bytes_per_token * widening / GIB
    return max(1, math.ceil(least), min(8, math.ceil(8 * least)))


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _REASON_LENGTH else f"{text[:_REASON_LENGTH]}..."
