"""The forecast of a job: what it will read, generate, take and cost, before anything is paid.

`forecast` computes it from what an index says; `indexed.py` reads that. Starts no engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.corpus.not_read import NotRead
from pipelines.corpus.units import Unit
from pipelines.models.devices import OFFERED, Device, gpu
from pipelines.reporting.planning.answer_use import AnswerUse, usual_use
from pipelines.reporting.planning.costs import DeviceCost, Speed, device_cost, replica_counts
from pipelines.reporting.planning.distribution import LengthCounts
from pipelines.reporting.planning.indexed import Indexed, TextSizes
from pipelines.reporting.planning.work import EngineKind, bytes_of_weight
from pipelines.reporting.planning.workload import Corrections, Workload, workload
from pipelines.run.prepared import PreparedJob
from pipelines.tasks.kinds import TaskSet

GPU_BLOCK_TOKENS, CPU_BLOCK_TOKENS = 16, 32
"""Tokens of a block of the prefix cache, of which only full ones are reused."""
BYTES_PER_OUTPUT_TOKEN, BYTES_PER_DOCUMENT = 3.0, 40.0
"""Compressed bytes of a part for each generated token, with its evidence, and for each document; an
assumption."""
_KEPT_COMPRESSION = 0.4


@dataclass(frozen=True, slots=True)
class Interval:
    """Bounds between which a value lies with a probability of 95 %."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class SampleNote:
    """What a forecast from a sample rests on.

    Attributes:
        fraction: the share of the corpus that was asked for.
        documents: the documents that were measured.
        intervals: the interval of each value that the sample estimates: `documents`, `tokens`,
            `prompt_tokens`, and `cost` as a factor of the cost stated.
    """

    fraction: float
    documents: int
    intervals: Mapping[str, Interval]


@dataclass(frozen=True)
class InputFacts:
    """What a forecast says of the input besides lengths.

    Attributes:
        files: the number of files that are read.
        size_bytes: their size.
        without_rows: the number of them that have no rows.
        not_read: the files below the input that are not read.
        skipped: the damaged files that are skipped, each with the reason.
        sizes: the sizes of texts and kept columns; None with a sample.
        units: the units of the run, by pool; empty with a sample.
        committed_units: the units that a run has committed already.
    """

    files: int = 0
    size_bytes: int = 0
    without_rows: int = 0
    not_read: NotRead = field(default_factory=NotRead)
    skipped: Sequence[str] = ()
    sizes: TextSizes | None = None
    units: Sequence[Unit] = ()
    committed_units: int = 0


@dataclass(frozen=True)
class Basis:
    """What estimates rest on besides the documents' lengths.

    Attributes:
        prepared: the job with its model and tasks.
        uses: what the answers of each task take, by its name.
        corrections: the factors from cutting some documents.
        here: the device of the cluster at hand.
        prices: US dollars per hour by the name of a device.
        engines_here: the engines that fit the cluster at hand; None if that is not known.
        speed: what a run has measured of engines; None without one.
        bytes_per_output_token: bytes of a part for each generated token.
        calibrated: the names of the tasks whose answers were measured.
    """

    prepared: PreparedJob
    uses: Mapping[str, AnswerUse]
    corrections: Corrections
    here: Device
    prices: Mapping[str, float]
    engines_here: int | None = None
    speed: Speed | None = None
    bytes_per_output_token: float = BYTES_PER_OUTPUT_TOKEN
    calibrated: frozenset[str] = frozenset()

    @property
    def tasks(self) -> TaskSet:
        """The tasks."""
        return self.prepared.tasks


@dataclass(frozen=True)
class Forecast:
    """What a job will read, generate, take and cost."""

    basis: Basis
    indexed: Indexed
    facts: InputFacts
    workload: Workload
    output_bytes: float
    devices: Sequence[DeviceCost]
    sample: SampleNote | None = None


def usual_uses(prepared: PreparedJob) -> dict[str, AnswerUse]:
    """Return what the answers of each task are assumed to take, by its name."""
    tasks, drafting = prepared.tasks, prepared.spec.model.drafting == "auto"
    part_tokens = tasks.reading.parts.part_tokens if tasks.reading.parts else 0
    return {
        task.spec.name: usual_use(task, tasks.tokenizer, drafting=drafting, part_tokens=part_tokens)
        for task in tasks.all
    }


def engine_kind(prepared: PreparedJob) -> EngineKind:
    """Return the settings of the job's engines that decide their speed and memory."""
    spec, model = prepared.spec.model, prepared.model
    return EngineKind(
        model=model,
        weight_bytes=bytes_of_weight(spec.quantization),
        kv_share=0.5 if "fp8" in spec.kv_cache_dtype else 1.0,
        gpus=prepared.spec.compute.tensor_parallel,
        gpu_share=prepared.spec.compute.gpu_share,
    )


def longest_prompt(counts: LengthCounts, tasks: TaskSet) -> int:
    """Return the length in tokens of the longest prompt with its answer, an upper bound."""
    readable = counts.where(~tasks.reading.too_long(counts.lengths))
    longest = tasks.reading.lengths(readable.lengths).longest
    return int(longest.max()) if len(longest) else 0


def forecast(
    indexed: Indexed, facts: InputFacts, basis: Basis, sample: SampleNote | None = None
) -> Forecast:
    """Return the forecast of a job over the documents that `indexed` lists."""
    work = work_of(indexed.counts, basis)
    kept = facts.sizes.kept_bytes * _KEPT_COMPRESSION if facts.sizes else 0.0
    output = work.total.output_tokens * basis.bytes_per_output_token
    return Forecast(
        basis=basis,
        indexed=indexed,
        facts=facts,
        workload=work,
        output_bytes=output + BYTES_PER_DOCUMENT * indexed.documents + kept,
        devices=device_costs(indexed.counts, work, basis, len(facts.units) or 10**9),
        sample=sample,
    )


def work_of(counts: LengthCounts, basis: Basis) -> Workload:
    """Return the work of the job for documents of these lengths."""
    block = GPU_BLOCK_TOKENS if basis.here.gpu else CPU_BLOCK_TOKENS
    return workload(counts, basis.tasks, basis.uses, basis.corrections, block)


def device_costs(
    counts: LengthCounts, work: Workload, basis: Basis, units: int
) -> list[DeviceCost]:
    """Return time and price on the cluster at hand, first, and on each GPU that is offered."""
    prepared, most = basis.prepared, basis.prepared.spec.compute.replicas.max
    here = most if basis.engines_here is None else min(most, basis.engines_here)
    offered = [(gpu(name), most) for name in OFFERED if name != basis.here.name]
    return [
        device_cost(
            work.pools,
            engine_kind(prepared),
            device,
            longest=longest_prompt(counts, basis.tasks),
            price=basis.prices.get(device.name),
            replicas=replica_counts(engines),
            units=units,
            speed=basis.speed,
        )
        for device, engines in ((basis.here, here), *offered)
    ]
