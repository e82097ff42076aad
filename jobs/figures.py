"""The figures of a run as text for people: one wording for the live view and `phifleet status`.

Knows accounts, records and limits as values; reads nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from pipelines.documents import Usage
from pipelines.ledger.accounts import Account
from pipelines.ledger.used import IDLE, Used
from pipelines.ledger.worker_records import UnitInHand, WorkerRecord
from pipelines.models.prices import PRICES_OF
from pipelines.run.pace import Eta
from pipelines.run.spending import DOCUMENTS, USD, LimitUse, Spending, known_prices

_ID_COLUMNS = 40
_SHOWN_AS_DAYS = 2 * 86_400.0
ETA_UNKNOWN = "not known yet"
"""The text instead of an estimate."""


def format_duration(seconds: float) -> str:
    """Return a duration in seconds, rounded to whole ones, as `h:mm:ss`."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def format_eta(eta: Eta) -> str:
    """Return an estimate with its interval, or without it if both ends look the same."""
    low, high = format_duration(eta.low), format_duration(eta.high)
    return format_duration(eta.seconds) + (f" ({low} to {high})" if low != high else "")


def format_time(time: datetime) -> str:
    """Return a time in UTC, in whole seconds, in ISO 8601."""
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def format_usd(amount: float) -> str:
    """Return an amount of US dollars with cents."""
    return f"${amount:,.2f}"


def share_of(part: float, whole: float) -> str:
    """Return a part as a whole percentage, rounded down: 100 % only if nothing is missing."""
    return f"{int(100 * part / whole) if whole else 0}%"


def reasons_text(counts: Mapping[str, int]) -> str:
    """Return dead letters by reason, the most frequent first."""
    most = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{count:,} {why}" for why, count in most)


def dead_letters_text(spending: Spending, reasons: Mapping[str, int]) -> str:
    """Return the number of dead letters, how many the job allows so far as its documents are
    known, and the reasons."""
    fraction, documents = spending.limits.max_dead_letter_fraction, spending.documents
    most = f" of at most {int(fraction * documents):,}" if fraction < 1 and documents else ""
    why = f" ({reasons_text(reasons)})" if reasons else ""
    return f"{spending.dead_letters:,}{most}{why}"


def tokens_text(tokens: Usage) -> str:
    """Return the tokens of finished requests, the share that was reused, and the steps."""
    reused = tokens.cached_prompt_tokens / tokens.prompt_tokens if tokens.prompt_tokens else 0.0
    counted = tokens.steps and tokens.output_tokens
    steps = f" in {tokens.steps / tokens.output_tokens:.2f} steps each" if counted else ""
    return (
        f"{tokens.prompt_tokens:,} in prompts ({reused:.0%} reused), "
        f"{tokens.output_tokens:,} generated{steps}"
    )


def device_rows(account: Account) -> Iterator[tuple[str, str]]:
    """Yield each device and the hours for which engines held it."""
    for device, held in account.devices.items():
        engines = f"{held.engine_seconds / 3600:,.2f} engine hours"
        gpus = f", {held.gpu_seconds / 3600:,.2f} GPU hours" if held.gpu_seconds else ""
        yield device, engines + gpus


def cost_text(spending: Spending) -> str:
    """Return the cost so far and the prices of an hour, "" if a price is not known."""
    cost = spending.cost_usd
    if cost is None:
        return ""
    if (own := spending.limits.usd_per_hour) is not None:
        return f"{format_usd(cost)} at {format_usd(own)} an hour"
    prices = known_prices(spending.limits, spending.account.devices)
    each = ", ".join(f"{format_usd(price)} an hour of {name}" for name, price in prices.items())
    return f"{format_usd(cost)} at {each} (list price of {PRICES_OF})"


def limit_rows(spending: Spending, now: datetime) -> Iterator[tuple[str, str]]:
    """Yield the key of each limit that is set but that of dead letters, and what of it is used and
    left."""
    for use in spending.uses(now):
        if use.unit != DOCUMENTS:
            yield use.key, limit_text(use)


def limit_text(use: LimitUse) -> str:
    """Return what of a limit is used, and what is left."""
    if isinstance(use.limit, datetime):
        left = use.left or 0.0
        days = f"{left / 86_400:,.0f} days" if left > _SHOWN_AS_DAYS else format_duration(left)
        return f"{format_time(use.limit)} ({f'{days} left' if left > 0 else 'it has passed'})"
    if use.unit == USD:
        if use.used is None or use.left is None:
            return f"{format_usd(use.limit)} (the price is not known)"
        left_usd = format_usd(max(0.0, use.left))
        return f"{format_usd(use.used)} of {format_usd(use.limit)} ({left_usd} left)"
    return f"{use.used:,.2f} of {use.limit:,.2f} {use.unit} ({max(0.0, use.left or 0.0):,.2f} left)"


def shares_of_time(used: Used) -> dict[str, float]:
    """Return the shares of the engine time by what it was spent on, 0 to 1; nothing if there was
    no engine. Their sum is 1."""
    whole = used.engine_seconds
    if whole <= 0:
        return {}
    idle = used.waste[IDLE].seconds if IDLE in used.waste else 0.0
    return {
        "answering": (used.answering_seconds - used.commit_seconds) / whole,
        "commit": used.commit_seconds / whole,
        "start": used.start_seconds / whole,
        "idle": idle / whole,
        "waste": (used.wasted.seconds - idle) / whole,
    }


def shares_text(used: Used) -> str:
    """Return the shares of the engine time as percentages."""
    shares = shares_of_time(used).items()
    return ", ".join(f"{share:.1%} {name}" for name, share in shares) or "none yet"


def waste_text(used: Used) -> str:
    """Return the seconds of engine time that were for nothing by reason, "" if there are none."""
    most = sorted(used.waste.items(), key=lambda item: (item[0] == IDLE, -item[1].seconds))
    return ", ".join(f"{why} {part.seconds:,.0f} s" for why, part in most if part.seconds >= 0.5)


def kv_text(reserved: int, capacity: int) -> str:
    """Return the use of the KV caches, "" if their capacity is not known."""
    used = f"{share_of(reserved, capacity)} ({reserved:,} of {capacity:,} tokens reserved)"
    return used if capacity else ""


def restarts_text(engines: int, sessions: int) -> str:
    """Return how often engines and the run were started again."""
    return f"{engines:,} of engines, {max(0, sessions - 1):,} of the run"


def oldest_unit(workers: Sequence[WorkerRecord]) -> tuple[WorkerRecord, UnitInHand] | None:
    """Return the unit that is in hand for the longest time, and its worker; None without any."""
    units = [(record, unit) for record in workers for unit in record.in_hand]
    return max(units, key=lambda pair: pair[1].seconds, default=None)


def short_host(host: str) -> str:
    """Return a machine's name without its domain; an address stays as it is."""
    name = host.split(".")[0]
    return host if name.isdigit() else name


def oldest_text(workers: Sequence[WorkerRecord]) -> str:
    """Return the unit that is in hand for the longest time, "" without any."""
    oldest = oldest_unit(workers)
    if oldest is None:
        return ""
    record, unit = oldest
    attempt = f", attempt {unit.attempt}" if unit.attempt > 1 else ""
    slowest = ""
    if unit.oldest_document is not None:
        name = unit.oldest_document
        # ids may be of any length
        shown = name if len(name) <= _ID_COLUMNS else f"{name[: _ID_COLUMNS - 2]}.."
        slowest = f"; document {shown} for {format_duration(unit.oldest_seconds)}"
    return (
        f"unit {unit.unit} on {short_host(record.host)} for {format_duration(unit.seconds)}, "
        f"{unit.finished:,} of {unit.documents:,} documents{attempt}{slowest}"
    )
