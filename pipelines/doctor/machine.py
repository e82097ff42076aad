"""Checks of this machine: GPUs, shared memory, and the disk for Ray's temporary files."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.doctor.checks import Check, failed, ok, warning
from pipelines.doctor.packages import GPU_BUILD

_GIB = 2**30
_QUERY = ("--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
_QUERY_SECONDS = 10
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # measured, not written
# Ray keeps objects in shared memory, and vLLM's processes exchange tensors through it. Docker's
# default is 64 MiB.
_LEAST_SHARED_BYTES = _GIB
_LEAST_DISK_BYTES = 5 * _GIB
# Ray stops creating objects when a disk is this full.
_FULL_SHARE = 0.95


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU of this machine: its name, and its memory in MiB."""

    name: str
    memory_mib: int


def list_gpus(command: str = "nvidia-smi") -> list[Gpu]:
    """Return the GPUs that NVIDIA's driver reports; an empty list without a driver."""
    program = shutil.which(command)
    if program is None:
        return []
    try:
        done = subprocess.run(  # noqa: S603  # the driver's own program
            [program, *_QUERY], capture_output=True, text=True, timeout=_QUERY_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return parse_gpus(done.stdout)


def parse_gpus(text: str) -> list[Gpu]:
    """Return the GPUs in nvidia-smi's lines `NAME, MEBIBYTES`; other lines are ignored."""
    pairs = (line.rpartition(",") for line in text.splitlines())
    return [
        Gpu(name.strip(), int(memory)) for name, _, memory in pairs if memory.strip().isdecimal()
    ]


def describe_gpus(gpus: Sequence[Gpu]) -> str:
    """Return the number, names and memory of GPUs as text; equal ones together."""
    return ", ".join(
        f"{count} x {gpu.name} with {gpu.memory_mib / 1024:.0f} GiB"
        for gpu, count in Counter(gpus).items()
    )


def check_gpus(gpus: Sequence[Gpu], build: str | None, needed: float, elsewhere: bool) -> Check:
    """Compare this machine's GPUs with the installed build of vLLM and with what the job needs.

    Args:
        gpus: the GPUs of this machine.
        build: the installed build of vLLM, or None.
        needed: the GPUs that one engine of the job takes; 0 if it may run on CPUs.
        elsewhere: True if the job runs on a cluster, whose nodes may have other GPUs.
    """
    if gpus and build not in (None, GPU_BUILD):
        return warning(
            "GPUs",
            f"{describe_gpus(gpus)}, which the installed CPU build of vLLM does not use",
            "run: pip install --no-deps -r requirements/gpu.txt",
        )
    if gpus and len(gpus) >= needed:
        return ok("GPUs", describe_gpus(gpus))
    found = describe_gpus(gpus) or "none"
    if elsewhere:
        return ok("GPUs", f"{found} on this machine; engines run on the cluster's nodes")
    if needed:
        return failed(
            "GPUs",
            f"{found} on this machine, and an engine of this job needs {needed:g}",
            "set compute.gpus_per_replica: auto, or run the job where there are GPUs (RAY_ADDRESS)",
        )
    if build == GPU_BUILD:
        return failed(
            "GPUs",
            "none, and the installed build of vLLM needs them",
            "check the driver with nvidia-smi, or install requirements/cpu.txt for CPUs",
        )
    return ok("GPUs", "none; engines run on CPUs")


def check_shared_memory(directory: Path = _SHARED_MEMORY) -> Check:
    """Check the size of shared memory."""
    size = shutil.disk_usage(directory).total if directory.is_dir() else 0
    detail = f"{size / _GIB:.1f} GiB in {directory}"
    if size >= _LEAST_SHARED_BYTES:
        return ok("shared memory", detail)
    return warning(
        "shared memory",
        f"{detail}; Ray and vLLM's processes exchange data there, at least 1 GiB",
        "start the container with --shm-size=8g, or on Kubernetes mount an emptyDir with "
        "medium: Memory at /dev/shm",
    )


def check_ray_disk(environment: Mapping[str, str] = os.environ) -> Check:
    """Check the free space on the disk of Ray's temporary directory."""
    directory = ray_directory(environment)
    existing = next(path for path in (directory, *directory.parents) if path.is_dir())
    usage = shutil.disk_usage(existing)
    used = 1 - usage.free / usage.total
    detail = f"{usage.free / _GIB:.1f} GiB free ({used:.0%} used) for {directory}"
    remedy = "free space there, or set RAY_TMPDIR to a directory on another disk"
    if used >= _FULL_SHARE:
        return failed("disk", f"{detail}; above 95% Ray creates no objects", remedy)
    if usage.free < _LEAST_DISK_BYTES:
        return warning("disk", f"{detail}; Ray's logs and objects may fill it", remedy)
    return ok("disk", detail)


def ray_directory(environment: Mapping[str, str]) -> Path:
    """Return the directory in which Ray keeps its sessions on this machine."""
    parent = environment.get("RAY_TMPDIR") or environment.get("TMPDIR") or "/tmp"  # noqa: S108
    return Path(parent).absolute() / "ray"
