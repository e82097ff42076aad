"""The job file's sections `compute` and `limits`: what the engines of a run may use.

Does not know which resources a cluster has.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from pipelines.job.sections import MustBe, PositiveFloat, PositiveInt, Section, Time, Violation

GpuCount = Annotated[
    Annotated[int, Field(ge=0)] | Annotated[float, Field(gt=0, lt=1)] | Literal["auto"],
    MustBe("a whole number, a fraction of one GPU such as 0.5, or auto"),
]
"""GPUs of one engine: 0 for none, a whole number, a fraction of one, or "auto"."""
Fraction = Annotated[float, Field(ge=0, le=1), MustBe("a number from 0 to 1")]
"""A number from 0 to 1, both included."""


class Replicas(Section):
    """The section `compute.replicas`: the minimum and maximum number of concurrent engines."""

    min: PositiveInt = 1
    max: PositiveInt = 8

    def violations(self) -> Iterator[Violation]:
        """Yield `min` if it is greater than `max`."""
        if self.min > self.max:
            yield ("min",), f"at most max, which is {self.max}"


class EngineCompute(Section):
    """The cluster resources of one engine, in a job file or a serve file.

    `gpus_per_replica` is a number of GPUs, or a fraction of one that several engines share; with 0,
    engines run on CPUs. "auto" takes `tensor_parallel` GPUs if the cluster has GPUs, else CPUs.
    `tensor_parallel` is the number of GPUs that vLLM splits the model's weights over.
    """

    gpus_per_replica: GpuCount = "auto"
    tensor_parallel: PositiveInt = 1

    @property
    def gpu_share(self) -> float:
        """Return the fraction of each of its GPUs that one engine may use, above 0.

        It is `gpus_per_replica` if that is a fraction, and 1.0 otherwise, also without GPUs.
        """
        gpus = self.gpus_per_replica
        return 1.0 if gpus == "auto" else min(1.0, gpus or 1.0)

    def violations(self) -> Iterator[Violation]:
        """Yield `tensor_parallel` if it is above 1 and greater than the number of GPUs given."""
        gpus = self.gpus_per_replica
        if self.tensor_parallel > 1 and gpus != "auto" and gpus < self.tensor_parallel:
            yield ("tensor_parallel",), f"at most gpus_per_replica, which is {gpus}, or 1"


class Compute(EngineCompute):
    """The section `compute`: the cluster resources of each engine, and the number of engines."""

    replicas: Replicas = Replicas()


class Limits(Section):
    """The section `limits`: limits of a run in all its sessions, where None means no limit.

    Units that would exceed a limit are not begun, and the run stops with exit code 3.
    `max_gpu_hours` counts hours of engines if these run on CPUs. `max_cost_usd` is that number of
    hours times `usd_per_hour`, the price of one GPU, or of one engine on CPUs; None stands for the
    list price of the GPU. A finished run with more than `max_dead_letter_fraction` of its documents
    as dead letters ends with exit code 1; once that is certain, no unit is begun.
    """

    max_dead_letter_fraction: Fraction = 0.05
    max_gpu_hours: PositiveFloat | None = None
    max_cost_usd: PositiveFloat | None = None
    usd_per_hour: PositiveFloat | None = None
    deadline: Time | None = None
