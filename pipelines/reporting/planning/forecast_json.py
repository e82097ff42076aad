"""A forecast as JSON: what `phifleet plan --json` prints. Names and units as in the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pipelines.models.prices import PRICES_OF, PRICES_SOURCE
from pipelines.reporting.planning.answer_use import AnswerUse
from pipelines.reporting.planning.calibration import Calibration
from pipelines.reporting.planning.cautions import cautions
from pipelines.reporting.planning.costs import DeviceCost
from pipelines.reporting.planning.distribution import LengthCounts, histogram
from pipelines.reporting.planning.forecast import Forecast
from pipelines.reporting.planning.savings import Saving, savings

_QUANTILES = {"median": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


def to_json(planned: Forecast, calibration: Calibration | None) -> dict[str, Any]:
    """Return the forecast as JSON values."""
    prepared, indexed, facts = planned.basis.prepared, planned.indexed, planned.facts
    work = planned.workload.total
    documents = indexed.documents
    return {
        "run": prepared.spec.name,
        "status": "planned",
        "model": prepared.model.name,
        "revision": prepared.model.revision,
        "fingerprint": prepared.fingerprint,
        "sample": _sample(planned),
        "documents": round(documents),
        "dead_letters": round(documents - indexed.counts.documents),
        "dead_letter_reasons": {
            reason: {"count": round(each.count), "first": list(each.first)}
            for reason, each in indexed.unreadable.items()
        },
        "duplicates": asdict(indexed.duplicates) if indexed.duplicates else None,
        "input_files": facts.files,
        "input_bytes": facts.size_bytes,
        "text_bytes": facts.sizes.text_bytes if facts.sizes else None,
        "files_without_rows": facts.without_rows,
        "files_not_read": facts.not_read.to_json(),
        "skipped_files": list(facts.skipped),
        "tokens": _lengths(indexed.counts),
        "documents_by_strategy": _by_strategy(planned),
        "units": _units(planned),
        "requests": round(work.requests),
        "prompt_tokens": round(work.prompt_tokens),
        "combining_prompt_tokens": round(planned.workload.concluding.prompt_tokens),
        "computed_prompt_tokens": round(work.computed_tokens),
        "output_tokens": round(work.output_tokens),
        "decode_steps": round(work.steps),
        "tasks": _tasks(planned),
        "output_bytes": round(planned.output_bytes),
        "prices": {"of": PRICES_OF, "source": PRICES_SOURCE, "usd_per_hour": planned.basis.prices},
        "devices": [_device(cost) for cost in planned.devices],
        "savings": [_saving(saving) for saving in savings(planned)],
        "calibration": _calibration(calibration),
        "warnings": cautions(planned),
    }


def _sample(planned: Forecast) -> dict[str, Any] | None:
    sample = planned.sample
    if sample is None:
        return None
    intervals = {name: [each.low, each.high] for name, each in sample.intervals.items()}
    return {"fraction": sample.fraction, "documents": sample.documents, "intervals": intervals}


def _lengths(counts: LengthCounts) -> dict[str, Any]:
    documents = counts.documents
    return {
        "total": round(counts.tokens),
        "mean": round(counts.tokens / documents, 1) if documents else 0.0,
        **{name: counts.quantile(share) for name, share in _QUANTILES.items()},
        "histogram": [
            {"from": bar.low, "to": bar.high, "documents": round(bar.documents)}
            for bar in histogram(counts)
        ],
    }


def _by_strategy(planned: Forecast) -> list[dict[str, Any]]:
    return [
        {"strategy": strategy, "pool": pool, "documents": round(number)}
        for (strategy, pool), number in sorted(planned.workload.documents.items())
    ]


def _units(planned: Forecast) -> dict[str, int]:
    units: dict[str, int] = {}
    for unit in planned.facts.units:
        units[unit.pool] = units.get(unit.pool, 0) + 1
    return units


def _tasks(planned: Forecast) -> dict[str, Any]:
    basis = planned.basis
    return {
        name: {
            "output_tokens": round(planned.workload.output_tokens[name]),
            **_use(use),
            "basis": "measured" if name in basis.calibrated else "assumed",
        }
        for name, use in basis.uses.items()
    }


def _use(use: AnswerUse) -> Mapping[str, Any]:
    return {
        "steps_per_output_token": round(use.steps_per_token, 3),
        "repeated_share": round(use.repeats, 4),
    }


def _device(cost: DeviceCost) -> dict[str, Any]:
    return {
        "device": cost.device,
        "fits": bool(cost.replicas),
        "basis": "measured" if cost.measured else "model",
        "gpus_per_replica": cost.gpus,
        "engine_seconds": _rounded(cost.engine_seconds),
        "kv_tokens": cost.kv_tokens,
        "usd_per_hour": cost.price_per_hour,
        "replicas": [
            {
                "replicas": row.replicas,
                "wall_seconds": _rounded(row.wall_seconds),
                "gpu_hours": round(row.gpu_hours, 4) if cost.gpus else 0.0,
                "cost_usd": None if row.cost_usd is None else round(row.cost_usd, 4),
            }
            for row in cost.replicas
        ],
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


def _saving(saving: Saving) -> dict[str, Any]:
    return {
        "set": list(saving.settings),
        "gives_up": saving.gives_up,
        "share": round(saving.share, 3),
        "gpu_hours": round(saving.gpu_hours, 4),
        "cost_usd": None if saving.cost_usd is None else round(saving.cost_usd, 4),
    }


def _calibration(calibration: Calibration | None) -> dict[str, Any] | None:
    if calibration is None:
        return None
    speed = calibration.speed
    return {
        "output": calibration.source,
        "documents": calibration.documents,
        "tasks": sorted(calibration.uses),
        "device": speed.device if speed else None,
        "device_recorded": calibration.device_known,
        "time_factor": round(speed.factor, 4) if speed else None,
    }
