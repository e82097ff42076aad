"""Devices for cost estimates: peaks of the data sheets, memory, and the share that is reached.

All speeds are constants with their source stated. Knows no model, no price and no cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

_MIB = 2**20
_TERA, _GIGA = 1e12, 1e9


@dataclass(frozen=True, slots=True)
class Device:
    """The hardware of one engine, with the speeds that it reaches in practice.

    Attributes:
        name: the name for people; for GPUs also the name in `--price`, in other case.
        flops_per_second: the speed of prefill.
        bytes_per_second: the speed of reading memory, which bounds decode.
        memory_bytes: the memory of one GPU; 0 for a CPU, whose cache is not estimated.
        step_seconds: the time of an engine's step besides computing and reading: scheduling,
            launching kernels, sampling.
        attention_share: the speed of attention in prefill, relative to `flops_per_second`.
    """

    name: str
    flops_per_second: float
    bytes_per_second: float
    memory_bytes: int = 0
    step_seconds: float = 0.0
    attention_share: float = 1.0

    @property
    def gpu(self) -> bool:
        """True for a GPU."""
        return self.memory_bytes > 0

    def times(self, count: int) -> Device:
        """Return the device that `count` of these are together, for tensor parallelism.

        Memory adds up. Speeds add up to TENSOR_PARALLEL_EFFICIENCY of the sum, because the GPUs
        exchange activations twice a layer.
        """
        if count == 1:
            return self
        speedup = count * TENSOR_PARALLEL_EFFICIENCY
        return replace(
            self,
            flops_per_second=speedup * self.flops_per_second,
            bytes_per_second=speedup * self.bytes_per_second,
            memory_bytes=count * self.memory_bytes,
        )


TENSOR_PARALLEL_EFFICIENCY = 0.85
"""The share of the summed speed that several GPUs of one engine reach. An assumption for GPUs with
NVLink; without it the share is lower."""
HOPPER_MFU, OTHER_MFU = 0.42, 0.50
"""The share of the peak FLOP/s that prefill reaches. Published prefill throughputs of models with 3
to 8 billion parameters are 33 to 51 % of an H100's peak, and about half of the peak of slower GPUs,
whose kernels are less often bound by memory. This project has not measured them on GPUs."""
BANDWIDTH_SHARE = 0.60
"""The share of the peak memory bandwidth that decode reaches. An assumption: attention kernels
read a paged cache at half to two thirds of the peak."""
_GPU_STEP_SECONDS = 0.004
"""An assumption for the step of an engine that schedules synchronously, as it does with drafting.
"""


@dataclass(frozen=True, slots=True)
class _Sheet:
    """The numbers of a data sheet: dense bf16 TFLOP/s, memory GB/s, and the MiB that a driver
    reports."""

    teraflops: float
    gigabytes_per_second: float
    memory_mib: int
    mfu: float = OTHER_MFU


# NVIDIA's data sheets: dense bf16 of tensor cores (half of the number "with sparsity"), memory
# bandwidth of the SXM version where there are several.
_SHEETS: Mapping[str, _Sheet] = {
    "H200": _Sheet(989, 4800, 143_771, HOPPER_MFU),
    "H100": _Sheet(989, 3350, 81_559, HOPPER_MFU),
    "A100-80": _Sheet(312, 2039, 81_920),
    "A100-40": _Sheet(312, 1555, 40_960),
    "L40S": _Sheet(362, 864, 46_068),
    "L4": _Sheet(121, 300, 23_034),
    "A10G": _Sheet(70, 600, 23_028),
    "T4": _Sheet(65, 320, 15_360),
}
_RAY_NAMES = {"A100": "A100-40", "A100-80G": "A100-80", "A100-40G": "A100-40"}
_UNKNOWN = "L4"
CPU = Device("CPU", 5e10, 1e10)
"""One server core. A guess, on which only the size of units depends."""
CPU_ENGINE = Device("CPU", 3e11, 1e10, step_seconds=0.002, attention_share=0.15)
"""An engine on two server cores, for times and prices. Its prefill is what was measured: 50 to 57
tokens/s with Phi-3-mini; with a model of 0.6 million weights 230,000 tokens/s in chunks and 16,000
in documents of 11,000 tokens, most of whose time is attention. The rest is a guess."""
OFFERED = ("H200", "H100", "A100-80", "L40S", "L4", "A10G")
"""The names of the GPUs for which `phifleet plan` states a price."""


def gpu(name: str) -> Device:
    """Return the GPU with this name, such as "A100-80". Raises KeyError for an unknown one."""
    sheet = _SHEETS[name]
    return Device(
        name,
        flops_per_second=sheet.teraflops * _TERA * sheet.mfu,
        bytes_per_second=sheet.gigabytes_per_second * _GIGA * BANDWIDTH_SHARE,
        memory_bytes=sheet.memory_mib * _MIB,
        step_seconds=_GPU_STEP_SECONDS,
    )


def timed_device(device: Device) -> Device:
    """Return a device with the speeds by which times are stated: CPU_ENGINE for CPU, and any other
    device itself."""
    return CPU_ENGINE if device == CPU else device


def device_named(name: str | None) -> Device:
    """Return the device of a Ray accelerator type such as "A100-80G"; None means a CPU.

    A GPU of an unknown type keeps its name, and gets the speeds and the memory of an L4.
    """
    if name is None:
        return CPU
    known = _RAY_NAMES.get(name.upper(), name.upper())
    if known in _SHEETS:
        return gpu(known)
    family = known.split("-")[0]
    family = _RAY_NAMES.get(family, family)
    return replace(gpu(family if family in _SHEETS else _UNKNOWN), name=name)
