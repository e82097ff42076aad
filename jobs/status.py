"""`phifleet status`: how a run is going, from its ledger alone. Needs no cluster."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, TextIO

from jobs import figures
from jobs.figures_json import spending_to_json, time_to_json, unit_to_json
from pipelines.ledger.worker_records import WorkerRecord
from pipelines.reporting.status import RunStatus, read_status
from pipelines.run.manifest import bill_to_json
from pipelines.run.pace import Eta

WATCH_SECONDS = 5.0
"""Seconds between two readings of `status --watch`."""
_MAX_WORKERS = 12
_CLEAR = "\x1b[H\x1b[2J"


def print_status(
    output: str,
    sink: TextIO,
    *,
    as_json: bool,
    watch: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Print the status of the run in `output` to `sink`, with `as_json` as one JSON object.

    With `watch`, print it every few seconds until the run is not alive: on a terminal in place, as
    JSON one object a line. Raises as `read_status` does.
    """
    while True:
        status = read_status(output)
        text = json.dumps(status_to_json(status)) if as_json else status_text(status)
        clear = _CLEAR if watch and not as_json and sink.isatty() else ""
        print(f"{clear}{text}", file=sink, flush=True)
        if not (watch and status.life.alive):
            return
        sleep(WATCH_SECONDS)


def status_to_json(status: RunStatus) -> dict[str, Any]:
    """Return a status as JSON values.

    `status` is `running`, `stopped`, `failed`, `fenced`, `dead`, `unfinished`, or the manifest's
    status of a finished run. `documents` and `units` count what is planned so far,
    `documents_done` and `units_done` what is committed. `engine_time` has the shares of the engine
    time, and `limits` what is used and left of each limit.
    """
    life, heartbeat, account = status.life, status.life.heartbeat, status.account
    alive = heartbeat if life.alive else None
    eta = alive and alive.eta_seconds is not None
    return {
        "run": status.job["source"].get("name", "phifleet"),
        "status": life.status,
        "reason": life.reason,
        "last_seen_seconds": None if life.silent_seconds is None else round(life.silent_seconds, 1),
        "phase": alive.phase if alive else None,
        **asdict(status.totals),
        "answered": account.answered,
        "dead_letters": account.dead_letters,
        "dead_letter_reasons": dict(account.reasons),
        "tokens_per_second": alive.tokens_per_second if alive else 0.0,
        "tokens_per_second_overall": round(status.tokens_per_second_overall, 1),
        "eta_seconds": [alive.eta_low, alive.eta_seconds, alive.eta_high]
        if alive and eta
        else None,
        "wall_seconds": round(status.wall_seconds, 1),
        "sessions": status.sessions,
        "prompt_tokens": account.tokens.prompt_tokens,
        "cached_prompt_tokens": account.tokens.cached_prompt_tokens,
        "output_tokens": account.tokens.output_tokens,
        "bill": bill_to_json(account),
        "engine_time": time_to_json(account)["engine_time"],
        "kv_tokens_in_flight": status.kv_tokens[0],
        "kv_cache_tokens": status.kv_tokens[1],
        "oldest_unit": unit_to_json(status.workers),
        **spending_to_json(status.spending, datetime.now(UTC)),
        "workers": [_worker(record) for record in status.workers],
        "model": status.job["model"],
        "revision": status.job["revision"],
        "fingerprint": status.job["fingerprint"],
    }


def _worker(record: WorkerRecord) -> dict[str, Any]:
    return {
        "worker": record.life,
        "pool": record.pool,
        "host": record.host,
        "device": record.used.device,
        "seconds": round(record.used.engine_seconds, 1),
        "restarts": record.used.restarts,
        "kv_tokens_in_flight": record.kv_tokens_in_flight,
        "kv_cache_tokens": record.kv_cache_tokens,
        "units": [asdict(unit) for unit in record.in_hand],
    }


def status_text(status: RunStatus) -> str:
    """Return a status as lines of text for people, without a line break at the end."""
    return "\n".join(f"{label:<14} {text}" for label, text in _rows(status))


def _rows(status: RunStatus) -> Iterator[tuple[str, str]]:
    totals, account, spending = status.totals, status.account, status.spending
    yield "run", str(status.job["source"].get("name", "phifleet"))
    yield "status", _life_text(status)
    yield "documents", f"{totals.documents_done:,} of {totals.documents:,}"
    yield "units", f"{totals.units_done:,} of {totals.units:,}"
    yield from _pace_rows(status)
    yield "dead letters", figures.dead_letters_text(spending, account.reasons)
    yield "tokens", figures.tokens_text(account.all_tokens)
    yield from figures.device_rows(account)
    yield "engine time", figures.shares_text(account.used)
    yield "waste", figures.waste_text(account.used) or "none"
    if kv := figures.kv_text(*status.kv_tokens):
        yield "KV cache", kv
    if oldest := figures.oldest_text(status.workers):
        yield "oldest", oldest
    yield "restarts", figures.restarts_text(account.used.restarts, status.sessions)
    if cost := figures.cost_text(spending):
        yield "cost", cost
    for key, text in figures.limit_rows(spending, datetime.now(UTC)):
        yield "limit", f"{key}: {text}"
    yield from _worker_rows(status)
    yield "model", f"{status.job['model']} {status.job['revision']}"


def _life_text(status: RunStatus) -> str:
    life, heartbeat = status.life, status.life.heartbeat
    seen = "" if life.silent_seconds is None else f", last seen {life.silent_seconds:.0f} s ago"
    phase = f", {heartbeat.phase}" if life.alive and heartbeat and heartbeat.phase else ""
    reason = f" ({life.reason.splitlines()[0]}{seen})" if life.reason else ""
    return f"{life.status}{phase}{reason}"


def _pace_rows(status: RunStatus) -> Iterator[tuple[str, str]]:
    overall = f"{status.tokens_per_second_overall:,.0f} over all"
    heartbeat = status.life.heartbeat
    if not status.life.alive or heartbeat is None:
        yield "tokens/s", overall
        return
    yield "tokens/s", f"{heartbeat.tokens_per_second:,.0f} now, {overall}"
    if heartbeat.eta_seconds is not None:
        low, high = heartbeat.eta_low or 0.0, heartbeat.eta_high or 0.0
        yield "ETA", figures.format_eta(Eta(heartbeat.eta_seconds, low, high))
    else:
        yield "ETA", figures.ETA_UNKNOWN


def _worker_rows(status: RunStatus) -> Iterator[tuple[str, str]]:
    if not status.life.alive:
        return
    yield "workers", f"{len(status.workers):,}"
    for record in status.workers[:_MAX_WORKERS]:
        units = ", ".join(
            f"unit {unit.unit} ({unit.finished}/{unit.documents} documents, {unit.seconds:.0f} s"
            + (f", attempt {unit.attempt})" if unit.attempt > 1 else ")")
            for unit in record.in_hand
        )
        yield f"  {record.life[:8]}", f"{record.pool} on {record.host}: {units or 'no unit'}"
    if (more := len(status.workers) - _MAX_WORKERS) > 0:
        yield "", f"and {more:,} more"
