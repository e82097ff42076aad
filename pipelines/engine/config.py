"""The configuration of one engine: its settings as vLLM's arguments and environment variables.

Computes values only. Knows Phi-3's needs (see `engine_arguments`) and the machine's memory; imports
neither vLLM nor Ray and starts nothing.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.engine.drafting import DraftSettings
from pipelines.models.resolve import BF16_BYTES, Model
from pipelines.tasks.kinds import QUESTION_START
from pipelines.text.tokens import ChatTokenizer

GIB = 2**30
"""Bytes in one GiB."""
FLOAT32_BYTES = 4
"""Bytes of one 32-bit floating-point number."""
# vLLM's default share of a GPU's memory, for an engine that has the GPU to itself.
_GPU_MEMORY_SHARE = 0.92
# Seconds without a step, with requests outstanding, after which an engine counts as hanging: many
# times the longest step. On a CPU one step of a large model may take minutes.
_GPU_HANGS_AFTER, _CPU_HANGS_AFTER = 180.0, 1200.0
# Prompt tokens that one request may take of a step while others wait: half of vLLM's smallest step
# budget, or less.
_GPU_LONG_PREFILL_TOKENS, _CPU_LONG_PREFILL_TOKENS = 4096, 2048
# vLLM's names of 32-bit floating-point numbers.
_FLOAT32 = ("float32", "float")
# Options that set the size of a CPU engine's KV cache; vLLM prefers VLLM_CPU_KVCACHE_SPACE to both.
_CACHE_SIZES = {"kv_cache_memory_bytes", "gpu_memory_utilization"}

# Tokens of a guess, at most, and how many verified tokens take as long as a step without them.
_DRAFT_TOKENS = 12
_GPU_FREE_TOKENS, _CPU_FREE_TOKENS = 256, 64


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """The settings that decide how the engines of one pool are started.

    Attributes:
        model: the resolved model; engines read its weights from `model.path`.
        max_model_len: the maximum length in tokens of one prompt with its answer.
        gpu: True for an engine on GPUs, False for one on the CPU.
        quantization: vLLM's name of a quantization method, or None for that of the weights.
        kv_cache_dtype: vLLM's name of the KV cache's data type.
        tensor_parallel: number of GPUs that one engine spans.
        gpu_share: fraction of each of its GPUs that the engine may use, above 0 and at most 1; no
            effect on a CPU.
        hangs_after: seconds without a step after which the engine counts as hanging, or None for
            the default of its device; see `hang_seconds`.
        online: True if a client waits for each answer (HTTP endpoint): a long prompt then leaves a
            part of every step to other requests. False for a batch run.
        drafting: True if the engine guesses tokens and verifies them together (`drafting.py`),
            which needs fewer steps and changes no answer.
        options: engine arguments of vLLM from the file's `model.engine`; they replace the values
            that `engine_arguments` would choose.
    """

    model: Model
    max_model_len: int
    gpu: bool
    quantization: str | None = None
    kv_cache_dtype: str = "auto"
    tensor_parallel: int = 1
    gpu_share: float = 1.0
    hangs_after: float | None = None
    online: bool = False
    drafting: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def hang_seconds(self) -> float:
        """Seconds without a step, with requests outstanding, after which the watchdog kills the
        engine: `hangs_after`, or else 180 on a GPU and 1,200 on a CPU."""
        return self.hangs_after or (_GPU_HANGS_AFTER if self.gpu else _CPU_HANGS_AFTER)


def draft_settings(config: EngineConfig, tokenizer: ChatTokenizer) -> DraftSettings:
    """Return how an engine with this configuration guesses tokens of answers.

    A CPU computes each guessed token, for a GPU most of them are free. `tokenizer` is that of
    `config.model`.
    """
    return DraftSettings(
        max_tokens=_DRAFT_TOKENS,
        free_tokens=_GPU_FREE_TOKENS if config.gpu else _CPU_FREE_TOKENS,
        answer_start=tokenizer.suffix_ids,
        question_start=tuple(tokenizer.encode(QUESTION_START)),
        never=tokenizer.control_ids,
    )


def engine_arguments(config: EngineConfig) -> dict[str, Any]:
    """Return the keyword arguments of vLLM's `EngineArgs` for this configuration. The CPU's data
    type is chosen for this machine.

    `max_model_len` chooses Phi-3's rope factors (short up to 4,096). Phi-3 counts as a
    sliding-window model, and vLLM then keeps nothing, or only a window, in the prefix cache. If the
    window is no shorter than `max_model_len`, it is switched off; otherwise the cache is set to
    retain all blocks. The options of the configuration are applied last.
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
        arguments["long_prefill_token_threshold"] = _long_prefill_tokens(config)
    if config.gpu and config.gpu_share < 1:
        arguments["gpu_memory_utilization"] = _GPU_MEMORY_SHARE * config.gpu_share
    if not config.gpu:
        # Compilation costs minutes of start on a CPU; vLLM's CPU blocks of 128 tokens would leave
        # most of a short document's prefix out of the cache.
        arguments |= {"enforce_eager": True, "block_size": 32, "dtype": _cpu_dtype(config)}
    return arguments | dict(config.options)


def _long_prefill_tokens(config: EngineConfig) -> int:
    default = _GPU_LONG_PREFILL_TOKENS if config.gpu else _CPU_LONG_PREFILL_TOKENS
    step = config.options.get("max_num_batched_tokens")
    return default if step is None else max(1, min(default, step // 2))


def _cpu_dtype(config: EngineConfig) -> str:
    """Return the data type in which an engine on a CPU computes, as vLLM names it."""
    import torch

    if "dtype" in config.options:
        return str(config.options["dtype"])
    if config.quantization is not None:
        return "auto"
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    capability = torch.backends.cpu.get_cpu_capability()
    return cpu_dtype(config.model.parameters, memory_bytes, capability)


def cpu_dtype(parameters: int, memory_bytes: int, capability: str) -> str:
    """Return the data type, as vLLM names it, in which an engine on a CPU computes.

    On a CPU with AVX2 only, bfloat16 matrix products take about three times as long as float32
    ones. The result is then "float32" if the weights in float32 take at most half of the memory;
    in all other cases "auto".

    Args:
        parameters: number of the model's parameters.
        memory_bytes: memory of the machine.
        capability: the CPU's instruction set, as `torch.backends.cpu.get_cpu_capability` names it.
    """
    fits = FLOAT32_BYTES * parameters <= memory_bytes / 2
    return "float32" if capability == "AVX2" and fits else "auto"


def set_environment(config: EngineConfig) -> None:
    """Set environment variables of this process that vLLM reads to this project's defaults: no
    usage reports, and on a CPU the size of the KV cache and no compilation, unless the options of
    the configuration ask for another. Variables that are set already keep their values. Call it
    before vLLM is imported."""
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if config.gpu:
        return
    if not config.options.keys() & _CACHE_SIZES:
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(cpu_cache_gib(config)))
    if engine_arguments(config)["enforce_eager"]:
        # Even with eager execution vLLM compiles a few functions, such as the ranking of
        # log-probabilities. That needs a C++ compiler and takes about two seconds of the start.
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")


def cpu_cache_gib(config: EngineConfig) -> int:
    """Return the size of a CPU engine's KV cache in whole GiB, rounded up.

    It holds eight sequences of `max_model_len` tokens, but takes at most 8 GiB, because the cache
    shares the machine's memory. It is always large enough for one sequence, and at least 1 GiB.
    """
    widening = FLOAT32_BYTES / BF16_BYTES if _cpu_dtype(config) in _FLOAT32 else 1
    sequence_gib = config.max_model_len * config.model.kv_bytes_per_token * widening / GIB
    return max(1, math.ceil(sequence_gib), min(8, math.ceil(8 * sequence_gib)))


def option_hint(config: EngineConfig, error: str) -> str:
    """Return a sentence that names the options of `model.engine` to look at first after `error`,
    vLLM's message on an engine that did not start, or "" if none is set.

    These are the options that `error` mentions, or else all of them: an error in another process
    of the engine is not in the message.
    """
    mentioned = [name for name in config.options if re.search(rf"\b{re.escape(name)}\b", error)]
    listed = ", ".join(
        f"model.engine.{name}: {config.options[name]!r}" for name in mentioned or config.options
    )
    if not listed:
        return ""
    return f"The error mentions {listed}. " if mentioned else f"The file sets {listed}. "
