"""The work of engines as a few sums, and the time that a device needs for it.

Time is linear in these sums, so that a measured run scales an estimate. Knows no documents, no
prices and no files.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from pipelines.models.devices import Device
from pipelines.models.resolve import BF16_BYTES, Model

MAX_SEQUENCES = 256
"""Sequences that an engine decodes in one step at most: vLLM's default."""
_GPU_MEMORY_SHARE = 0.92
_ENGINE_BYTES = 3e9
"""Memory of a GPU besides weights and KV cache, for activations and CUDA graphs; an assumption that
agrees with vLLM's reports for Phi-3-mini on H100, A100 and L4."""
_REQUEST_SECONDS = 0.0005
"""Time of the engine's front for a request of any size; an assumption."""
_CPU_SEQUENCES = 32


@dataclass(frozen=True, slots=True)
class Work:
    """What engines do for some requests; numbers of tokens.

    Attributes:
        requests: prompts sent to the engine.
        prompt_tokens: tokens of all prompts.
        computed_tokens: the part of them that is computed, and not found in the prefix cache.
        pairs: pairs of tokens that prefill's attention relates, with the causal mask.
        output_tokens: generated tokens.
        steps: steps that generated them, counted for each request; fewer with drafting.
        step_context: tokens of context, added up over these steps.
    """

    requests: float = 0.0
    prompt_tokens: float = 0.0
    computed_tokens: float = 0.0
    pairs: float = 0.0
    output_tokens: float = 0.0
    steps: float = 0.0
    step_context: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Work)))

    def times(self, factor: float) -> Work:
        """Return the work multiplied by a number."""
        return Work(*(factor * getattr(self, f.name) for f in fields(Work)))

    @property
    def mean_context(self) -> float:
        """The context in tokens of a decoding sequence, on average; 1 without any."""
        return max(1.0, self.step_context / self.steps if self.steps else 1.0)


@dataclass(frozen=True, slots=True)
class EngineKind:
    """What of an engine's settings decides its speed and memory.

    Attributes:
        model: the model.
        weight_bytes: bytes of one weight.
        kv_share: bytes of the KV cache relative to bf16: 0.5 for fp8.
        gpus: GPUs that one engine spans.
        gpu_share: the fraction of each GPU that the engine may use.
    """

    model: Model
    weight_bytes: float = BF16_BYTES
    kv_share: float = 1.0
    gpus: int = 1
    gpu_share: float = 1.0

    @property
    def kv_bytes_per_token(self) -> float:
        """Bytes of one token in the KV cache."""
        return self.kv_share * self.model.kv_bytes_per_token

    def kv_tokens(self, device: Device) -> float:
        """Return how many tokens fit the KV cache of an engine; 0 or less if the weights do not
        fit, infinity for a CPU, whose cache is a choice."""
        if not device.gpu:
            return float("inf")
        usable = device.memory_bytes * _GPU_MEMORY_SHARE * self.gpu_share * self.gpus
        rest = usable - self.model.parameters * self.weight_bytes - _ENGINE_BYTES * self.gpus
        return rest / self.kv_bytes_per_token


@dataclass(frozen=True, slots=True)
class Times:
    """The estimated time of one engine, in seconds, by what takes it."""

    prefill: float
    decode: float
    requests: float

    @property
    def total(self) -> float:
        """The whole time."""
        return self.prefill + self.decode + self.requests


def engine_times(work: Work, engine: EngineKind, device: Device) -> Times:
    """Return the time that one engine needs for some work.

    Prefill takes 2 FLOPs for each weight and computed token, and 4 x hidden x layers for each pair
    of tokens. A decoding step reads the weights once for all sequences that decode together, and
    each sequence's KV cache; as many decode together as fit the KV cache. `device` is one GPU of
    the engine. Time is infinite where the weights or one sequence do not fit.
    """
    model, whole = engine.model, device.times(engine.gpus)
    kv_tokens = engine.kv_tokens(device)
    if kv_tokens < work.mean_context:
        return Times(float("inf"), float("inf"), float("inf"))
    weights = model.multiplied_parameters
    flops = 2.0 * weights * work.computed_tokens
    flops += 4.0 * model.hidden_size * model.layers * work.pairs / device.attention_share
    together = min(MAX_SEQUENCES if device.gpu else _CPU_SEQUENCES, kv_tokens / work.mean_context)
    step = weights * engine.weight_bytes / whole.bytes_per_second + whole.step_seconds
    read = work.step_context * engine.kv_bytes_per_token / whole.bytes_per_second
    return Times(
        prefill=flops / whole.flops_per_second,
        decode=read + work.steps * step / max(1.0, together),
        requests=work.requests * _REQUEST_SECONDS,
    )


def bytes_of_weight(quantization: str | None) -> float:
    """Return the bytes of one weight with vLLM's name of a quantization method; None stands for
    bf16. A method that is not known counts as bf16."""
    if quantization is None:
        return BF16_BYTES
    name = quantization.lower()
    if any(part in name for part in ("awq", "gptq", "marlin", "int4", "nf4", "bitsandbytes")):
        return 0.56
    return 1.0 if "8" in name else BF16_BYTES
