"""Draws a forecast in the terminal: text, bars and tables that fit 80 columns, also in a pipe.

Knows the forecast and rich; computes nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from jobs.figures import format_duration
from pipelines.models.prices import PRICES_OF, PRICES_SOURCE
from pipelines.reporting.planning.calibration import Calibration
from pipelines.reporting.planning.cautions import cautions
from pipelines.reporting.planning.costs import DeviceCost, ReplicaCost
from pipelines.reporting.planning.distribution import histogram
from pipelines.reporting.planning.forecast import Forecast
from pipelines.reporting.planning.savings import describe_settings, savings

_BAR_COLUMNS = 40
_BLOCK, _PLAIN_BLOCK = "█", "#"
_SHOWN_REPLICAS = 4
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_DAY, _WEEK = 86_400.0, 7


def plan_view(
    planned: Forecast, calibration: Calibration | None, console: Console
) -> RenderableType:
    """Return the forecast as text and tables for `console`, whose encoding decides the bars."""
    return Group(
        _facts(planned, calibration),
        *_section("tokens of a document", _bars(planned, _block(console))),
        *_section("time and price", _devices(planned), _price_note(planned)),
        *_cheaper(planned),
        *(Text(f"warning: {text}", style="yellow") for text in cautions(planned)),
    )


def _section(title: str, *parts: RenderableType) -> Iterator[RenderableType]:
    yield Text()
    yield Text(title, style="bold")
    yield from parts


def _block(console: Console) -> str:
    try:
        _BLOCK.encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return _PLAIN_BLOCK
    return _BLOCK


def _facts(planned: Forecast, calibration: Calibration | None) -> Table:
    table = _two_columns()
    for label, text in _fact_rows(planned, calibration):
        table.add_row(label, text)
    return table


def _two_columns() -> Table:
    """Return a table whose long words, such as paths, are folded and not cut off."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _fact_rows(planned: Forecast, calibration: Calibration | None) -> Iterator[tuple[str, str]]:
    indexed, facts, work = planned.indexed, planned.facts, planned.workload.total
    yield "documents", f"{indexed.documents:,.0f} in {facts.files:,} files{_sampled(planned)}"
    yield "size", _sizes(planned)
    yield "dead letters", _dead_letters(planned)
    if facts.not_read.count or facts.skipped or facts.without_rows:
        yield "left out", _left_out(planned)
    if indexed.duplicates is not None:
        same = indexed.duplicates
        yield (
            "duplicates",
            (
                f"{same.documents:,} documents repeat one of {same.texts:,} texts"
                if same.documents
                else "no text occurs twice"
            ),
        )
    yield "reading", _reading(planned)
    reused = 1 - work.computed_tokens / work.prompt_tokens if work.prompt_tokens else 0.0
    yield (
        "prompts",
        (
            f"{work.prompt_tokens:,.0f} tokens in {work.requests:,.0f} requests, of which "
            f"{work.computed_tokens:,.0f} are computed ({reused:.0%} reused)"
        ),
    )
    yield (
        "answers",
        (
            f"{work.output_tokens:,.0f} tokens in {work.steps:,.0f} steps; about "
            f"{format_bytes(planned.output_bytes)} of Parquet"
        ),
    )
    if calibration is not None:
        yield "calibration", _calibrated(calibration)


def _sampled(planned: Forecast) -> str:
    sample = planned.sample
    if sample is None:
        return ""
    interval = sample.intervals.get("documents")
    between = f", {interval.low:,.0f} to {interval.high:,.0f}" if interval else ""
    return f" (from a sample of {sample.documents:,}{between})"


def _sizes(planned: Forecast) -> str:
    facts, counts = planned.facts, planned.indexed.counts
    text = f"{format_bytes(facts.sizes.text_bytes)} of text, " if facts.sizes else ""
    tokens = f"{counts.tokens:,.0f} tokens"
    if planned.sample and (interval := planned.sample.intervals.get("tokens")):
        tokens += f" ({interval.low:,.0f} to {interval.high:,.0f})"
    return f"{format_bytes(facts.size_bytes)} in files, {text}{tokens}"


def _dead_letters(planned: Forecast) -> str:
    unreadable = planned.indexed.unreadable
    if not unreadable:
        return "none to come from the input"
    lines = []
    for reason, each in unreadable.items():
        first = f", such as {each.first[0]}" if each.first else ""
        lines.append(f"{each.count:,.0f} {reason}{first}")
    return "\n".join(lines)


def _left_out(planned: Forecast) -> str:
    facts = planned.facts
    lines = [facts.not_read.describe()] if facts.not_read.count else []
    lines += [f"skipped: {reason}" for reason in facts.skipped]
    if facts.without_rows:
        lines.append(f"{facts.without_rows:,} files have no rows")
    return "\n".join(lines)


def _reading(planned: Forecast) -> str:
    units = planned.facts.units
    lines = [
        f"{number:,.0f} documents: {strategy}, pool {pool}"
        for (strategy, pool), number in sorted(planned.workload.documents.items())
    ]
    return "\n".join([*lines, *([f"{len(units):,} units"] if units else [])])


def _calibrated(calibration: Calibration) -> str:
    tasks = ", ".join(sorted(calibration.uses)) or "no task of this job"
    text = f"answers to {tasks} as in {calibration.documents:,} documents of {calibration.source}"
    speed = calibration.speed
    if speed is None:
        return text
    unknown = "" if calibration.device_known else " (taken as this cluster's)"
    return f"{text}; engines on {speed.device}{unknown}: {speed.factor:.2f} of the estimated time"


def _bars(planned: Forecast, block: str) -> RenderableType:
    bars = histogram(planned.indexed.counts)
    if not bars:
        return Text("no document can be answered")
    most = max(bar.documents for bar in bars)
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    for bar in bars:
        filled = round(_BAR_COLUMNS * bar.documents / most) if most else 0
        length = max(filled, 1) if bar.documents else 0
        table.add_row(f"{bar.low:,} to {bar.high:,}", block * length, f"{bar.documents:,.0f}")
    return table


def _devices(planned: Forecast) -> Table:
    shown = _shown_counts(planned.devices)
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("device")
    for name in ("GPU hours", "price", *(f"x{count}" for count in shown)):
        table.add_column(name, justify="right")
    for cost in planned.devices:
        table.add_row(*_device_cells(cost, shown, planned))
    return table


def _shown_counts(devices: Sequence[DeviceCost]) -> list[int]:
    counts = max(([row.replicas for row in cost.replicas] for cost in devices), key=len)
    return (
        counts if len(counts) <= _SHOWN_REPLICAS else [*counts[: _SHOWN_REPLICAS - 1], counts[-1]]
    )


def _device_cells(cost: DeviceCost, shown: Sequence[int], planned: Forecast) -> list[str]:
    name = cost.device + (f" x{cost.gpus}" if cost.gpus > 1 else "")
    if cost.device == planned.basis.here.name:
        name += " (here)"
    if not cost.replicas:
        return [name, "does not fit" if cost.engine_seconds is None else "no engine fits"]
    rows = {row.replicas: row for row in cost.replicas}
    first = cost.replicas[0]
    hours = f"{first.gpu_hours:,.2f}" if cost.gpus else "-"
    walls = [format_wall(rows[n].wall_seconds) if n in rows else "-" for n in shown]
    return [name, hours, _price(first), *walls]


def _price(row: ReplicaCost) -> str:
    return "-" if row.cost_usd is None else f"${row.cost_usd:,.2f}"


def _price_note(planned: Forecast) -> Text:
    note = (
        "xN: wall time with N engines. GPU hours and price with one; more engines add their "
        f"starts. Prices: {PRICES_SOURCE}, {PRICES_OF}; give your own with --price h100=2.5."
    )
    if planned.sample and (interval := planned.sample.intervals.get("cost")):
        note += f" The sample's interval is {interval.low:.2f} to {interval.high:.2f} times these."
    return Text(note, style="dim")


def _cheaper(planned: Forecast) -> Iterator[RenderableType]:
    found = savings(planned)
    if not found:
        return
    table = _two_columns()
    for saving in found:
        cost = "" if saving.cost_usd is None else f" (${saving.cost_usd:,.2f})"
        table.add_row(
            f"{saving.share:.0%}{cost}",
            f"{describe_settings(saving.settings)}\ngives up {saving.gives_up}",
        )
    yield from _section("cheaper", table)


def format_bytes(size: float) -> str:
    """Return a size for people, such as "1.5 GB"."""
    for unit in _UNITS[:-1]:
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} {_UNITS[-1]}"


def format_wall(seconds: float) -> str:
    """Return a time for people: as `format_duration` up to a week, in days beyond."""
    days = seconds / _DAY
    return f"{days:,.0f} days" if days >= _WEEK else format_duration(seconds)
