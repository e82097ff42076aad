"""What would be cheaper: other values of the job's keys, and the share of the cost that they save.

Each change is a forecast of its own, on the same device. Whether answers stay as good is not
estimated: the text of a change says what it gives up. Pure but for tokenizing questions again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.errors import SpecError
from pipelines.job.spec import JobSpec
from pipelines.reporting.planning.answer_use import AnswerUse, LengthCurve
from pipelines.reporting.planning.costs import cheapest
from pipelines.reporting.planning.distribution import LengthCounts
from pipelines.reporting.planning.forecast import Basis, Forecast, device_costs, usual_uses, work_of
from pipelines.run.prepared import prepare_tasks
from pipelines.text.lengths import MAP_REDUCE, SINGLE

MIN_SAVED_SHARE = 0.02
"""Changes that save less of the engines' time are not listed."""
_FP8_DEVICES = ("H200", "H100", "L40S", "L4")


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the job: what to set, as for `--set`, and what it gives up."""

    settings: tuple[str, ...]
    price: str
    spec: JobSpec


@dataclass(frozen=True, slots=True)
class Saving:
    """What a change saves.

    Attributes:
        settings: what to set, as for `--set`.
        gives_up: what the change costs in quality or convenience.
        share: the saved share of the GPU hours.
        gpu_hours: the saved GPU hours.
        cost_usd: the saved price; None without a price.
    """

    settings: tuple[str, ...]
    gives_up: str
    share: float
    gpu_hours: float
    cost_usd: float | None


def savings(planned: Forecast) -> list[Saving]:
    """Return what would be cheaper on the cheapest device, most first; on the cluster at hand if no
    device has a price."""
    reference = cheapest(planned.devices) or next((c for c in planned.devices if c.replicas), None)
    if reference is None:
        return []
    before = reference.replicas[0]
    found = []
    for change in _changes(planned, reference.device):
        after = _hours(planned, change, reference.device)
        if after is None or before.gpu_hours <= 0:
            continue
        share = 1 - after / before.gpu_hours
        if share >= MIN_SAVED_SHARE:
            cost = None if before.cost_usd is None else share * before.cost_usd
            found.append(
                Saving(change.settings, change.price, share, before.gpu_hours - after, cost)
            )
    return sorted(found, key=lambda saving: -saving.share)


def _hours(planned: Forecast, change: Change, device: str) -> float | None:
    """Return the GPU hours with a change, on one engine; None if it is not possible."""
    basis = planned.basis
    try:
        tasks = prepare_tasks(
            change.spec.tasks,
            change.spec.long_documents,
            basis.prepared.model,
            basis.tasks.tokenizer,
            instructions=change.spec.instructions,
        )
    except SpecError:
        return None
    job = replace(basis.prepared.job, spec=change.spec)
    prepared = replace(basis.prepared, job=job, tasks=tasks)
    uses = _changed_uses(basis, usual_uses(prepared))
    changed = replace(basis, prepared=prepared, uses=uses)
    counts: LengthCounts = planned.indexed.counts
    work = work_of(counts, changed)
    units = len(planned.facts.units) or 10**9
    costs = {cost.device: cost for cost in device_costs(counts, work, changed, units)}
    rows = costs[device].replicas
    return rows[0].gpu_hours if rows else None


def _changed_uses(basis: Basis, after: dict[str, AnswerUse]) -> dict[str, AnswerUse]:
    """Return the answers after a change: measured ones, scaled as the assumed ones change."""
    before = usual_uses(basis.prepared)
    return {name: _scaled(basis.uses[name], before[name], use) for name, use in after.items()}


def _scaled(now: AnswerUse, before: AnswerUse, after: AnswerUse) -> AnswerUse:
    whole = after.whole.tokens[0] / max(1.0, before.whole.tokens[0])
    chunk = after.chunk / max(1.0, before.chunk)
    return replace(
        now,
        whole=LengthCurve(now.whole.exponents, tuple(whole * n for n in now.whole.tokens)),
        chunk=chunk * now.chunk,
        steps_per_token=now.steps_per_token * after.steps_per_token / before.steps_per_token,
    )


def _changes(planned: Forecast, device: str) -> Iterator[Change]:
    """Yield the changes that apply to the job."""
    spec = planned.basis.prepared.spec
    yield from _model_changes(spec, device)
    yield from _reading_changes(planned, spec)
    yield from _task_changes(spec)


def _model_changes(spec: JobSpec, device: str) -> Iterator[Change]:
    if spec.model.drafting == "off":
        yield _in_section(spec, "model", {"drafting": "auto"}, "nothing: answers stay the same")
    if "fp8" not in spec.model.kv_cache_dtype and device in _FP8_DEVICES:
        text = "precision of attention; compare answers first (not measured by this project)"
        yield _in_section(spec, "model", {"kv_cache_dtype": "fp8"}, text)
    if spec.compute.tensor_parallel == 1 and spec.compute.gpus_per_replica == "auto":
        text = "twice the GPUs for each engine"
        yield _in_section(spec, "compute", {"tensor_parallel": 2}, text)


def _reading_changes(planned: Forecast, spec: JobSpec) -> Iterator[Change]:
    """Yield other lengths of chunks, and chunks in place of long single passes."""
    documents, reading = planned.workload.documents, planned.basis.tasks.reading
    strategies = {strategy for strategy, _ in documents}
    if MAP_REDUCE in strategies:
        for tokens in (reading.chunk_size.chunk_tokens // 2, 2 * reading.chunk_size.chunk_tokens):
            kind = "shorter" if tokens < reading.chunk_size.chunk_tokens else "longer"
            text = f"{kind} chunks: other answers are combined"
            if tokens > spec.long_documents.overlap_tokens:
                yield _in_section(spec, "long_documents", {"chunk_tokens": tokens}, text)
    if (SINGLE, "long") in documents and spec.long_documents.strategy in ("auto", "single"):
        text = "single passes: answers are combined from chunks"
        yield _in_section(spec, "long_documents", {"strategy": "map_reduce"}, text)


def _task_changes(spec: JobSpec) -> Iterator[Change]:
    """Yield cheaper kinds of evidence, for all tasks that have quotes."""
    quoting = [at for at, task in enumerate(spec.tasks) if _evidence(task) == "quotes"]
    for kind, text in (
        ("anchors", "whole quotes: only their ends are written"),
        ("values", "quotes: values are looked for in the text"),
    ):
        if quoting:
            tasks = [
                task.model_copy(update={"evidence": kind}) if at in quoting else task
                for at, task in enumerate(spec.tasks)
            ]
            settings = tuple(f"tasks.{at}.evidence={kind}" for at in quoting)
            yield Change(settings, text, spec.model_copy(update={"tasks": tuple(tasks)}))


def _evidence(task: Any) -> str | None:
    kind: str | None = getattr(task, "evidence", None)
    return kind


def _in_section(spec: JobSpec, section: str, values: dict[str, Any], gives_up: str) -> Change:
    changed = getattr(spec, section).model_copy(update=values)
    settings = tuple(f"{section}.{key}={value}" for key, value in values.items())
    return Change(settings, gives_up, spec.model_copy(update={section: changed}))


def describe_settings(settings: Sequence[str]) -> str:
    """Return settings as they are given on the command line."""
    return " ".join(f"--set {setting}" for setting in settings)
