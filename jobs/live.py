"""The live view of a run: a table on a terminal, else a line every 30 s.

Reads the state of the run once a second; changes nothing in it.
"""

from __future__ import annotations

import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from jobs import figures
from jobs.figures import ETA_UNKNOWN, format_duration, format_eta, format_time, share_of
from jobs.figures_json import spending_to_json, time_to_json, unit_to_json
from jobs.json_log import utc_now
from jobs.live_layout import Grid, Row, layout
from pipelines.ledger.accounts import Account
from pipelines.ledger.worker_records import WorkerRecord
from pipelines.run.overview import Overview
from pipelines.run.screen import Screen

LINE_SECONDS = 30.0
"""Seconds between two lines where there is no terminal."""
_POLL_SECONDS = 1.0
# The titles of a worker's cells after the first.
_TITLES = ("pool", "host", "KV", "units", "documents", "oldest")


@dataclass
class View(Overview):
    """The progress of a run as shown to people and programs: a table, one line, or JSON values.

    `now` returns the time, with its time zone.
    """

    now: Callable[[], datetime] = utc_now

    def line(self) -> str:
        """Return the progress as one line of text for people, without a line break."""
        state = self.state
        if state.phase == "indexing":
            return (
                f"indexing: {state.spans_done:,} of {state.spans:,} spans of the corpus, "
                f"{state.documents:,} documents"
            )
        spending = self.spending
        texts = [
            f"{self.phase}: {self.documents:,} of {state.documents:,} documents",
            f"{state.units_done:,} of {state.units:,} units",
            f"{self.tokens_per_second:,.0f} tokens/s",
            *([] if self.phase == "done" else [f"ETA {self._eta_text()}"]),
            f"dead letters: {figures.reasons_text(self.reasons) or 'none'}",
            f"prefix cache: {self.reuse:.0%}",
        ]
        if self.restarts:
            texts.append(f"engine restarts: {self.restarts:,}")
        limited = dict(figures.limit_rows(spending, self.now()))
        if (cost := spending.cost_usd) is not None and "max_cost_usd" not in limited:
            texts.append(f"cost: {figures.format_usd(cost)}")
        return ", ".join([*texts, *(f"{key}: {text}" for key, text in limited.items())])

    def values(self) -> dict[str, Any]:
        """Return the progress as JSON values, with the numbers of `phifleet status --json`."""
        state, tokens, eta, spending = self.state, self.tokens, self.eta, self.spending
        indexed = {"spans": state.spans, "spans_done": state.spans_done}
        return {
            "run": self.run,
            "phase": self.phase,
            **(indexed if state.phase == "indexing" else {}),
            "documents": state.documents,
            "documents_done": self.documents,
            "units": state.units,
            "units_done": state.units_done,
            "tokens_per_second": round(self.tokens_per_second, 1),
            "tokens_per_second_overall": round(self.tokens_per_second_overall, 1),
            "eta_seconds": [round(s, 1) for s in (eta.low, eta.seconds, eta.high)] if eta else None,
            "dead_letters": self.dead_letters,
            "dead_letter_reasons": dict(self.reasons),
            "prompt_tokens": tokens.prompt_tokens,
            "cached_prompt_tokens": tokens.cached_prompt_tokens,
            "output_tokens": tokens.output_tokens,
            "steps": tokens.steps,
            "engine_restarts": self.restarts,
            "workers": self.progress.workers,
            **time_to_json(spending.account),
            "kv_tokens_in_flight": self.progress.kv_tokens_in_flight,
            "kv_cache_tokens": self.progress.kv_cache_tokens,
            "oldest_unit": unit_to_json(self.workers),
            **spending_to_json(spending, self.now()),
        }

    @property
    def tokens_per_second_overall(self) -> float:
        """Tokens of committed answers and their prompts, by the seconds of all drivers."""
        tokens = self.state.books.committed.tokens
        return (tokens.prompt_tokens + tokens.output_tokens) / max(self.wall_seconds, 1e-9)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table, or one line if the terminal is too small for the table."""
        columns, lines = options.max_width, options.size.height - 1
        indexing = self.state.phase == "indexing"
        rows = list(self._indexing() if indexing else self._rows())
        grid = self._workers() if not indexing else None
        text = layout(rows, grid, columns, lines, ascii_only=options.ascii_only)
        if not text:
            text = textwrap.shorten(self.line(), columns, placeholder=" ..")
        shown = Text(text, no_wrap=True, overflow="crop")
        shown.highlight_regex(r"^phifleet", "bold")
        shown.highlight_regex("█+", "green")
        shown.highlight_regex("░+", "dim")
        yield shown

    def _eta_text(self) -> str:
        return format_eta(self.eta) if self.eta else ETA_UNKNOWN

    def _workers(self) -> Grid:
        count = self.progress.workers
        title = f"{count:,} worker{'' if count == 1 else 's'}"
        return Grid((title, *_TITLES), [*map(_cells, self.workers)], cropped=2, optional=(2, 3))

    def _heading(self) -> Iterator[Row]:
        yield Row("phifleet", f"{self.run} - {self.phase}")
        session, whole = format_duration(self.session_seconds), format_duration(self.wall_seconds)
        yield Row("time", session if session == whole else f"{session}, {whole} in all sessions", 1)

    def _indexing(self) -> Iterator[Row]:
        state = self.state
        yield from self._heading()
        share = state.spans_done / state.spans if state.spans else 0.0
        text = f"{state.spans_done:,} of {state.spans:,} spans of the corpus"
        yield Row("indexed", text, done=share)
        yield Row("documents", f"{state.documents:,} so far")

    def _rows(self) -> Iterator[Row]:
        state, spending = self.state, self.spending
        yield from self._heading()
        yield _bar_row("documents", self.documents, state.documents)
        yield _bar_row("units", state.units_done, state.units)
        overall = self.tokens_per_second_overall
        yield Row("tokens/s", f"{self.tokens_per_second:,.0f} now, {overall:,.0f} over all")
        yield Row("ETA", self._eta_text())
        yield Row("dead letters", figures.dead_letters_text(spending, self.reasons))
        yield Row("tokens", figures.tokens_text(self.tokens), 2)
        yield from self._engine_rows(spending.account)
        if cost := figures.cost_text(spending):
            yield Row("cost", cost, 2)
        for key, text in figures.limit_rows(spending, self.now()):
            yield Row("limit", f"{key}: {text}", 1)

    def _engine_rows(self, account: Account) -> Iterator[Row]:
        progress = self.progress
        for device, text in figures.device_rows(account):
            yield Row(device, text, 3)
        yield Row("engine time", figures.shares_text(account.used), 3)
        if waste := figures.waste_text(account.used):
            yield Row("waste", waste, 4)
        if kv := figures.kv_text(progress.kv_tokens_in_flight, progress.kv_cache_tokens):
            yield Row("KV cache", kv, 4)
        if oldest := figures.oldest_text(self.workers):
            yield Row("oldest", oldest, 5)
        sessions = self.state.generation
        if self.restarts or sessions > 1:
            yield Row("restarts", figures.restarts_text(self.restarts, sessions), 3)


def _bar_row(label: str, done: int, whole: int) -> Row:
    share = share_of(done, whole)
    return Row(label, f"{done:,} of {whole:,} ({share})", done=done / whole if whole else 0.0)


def _cells(record: WorkerRecord) -> tuple[str, ...]:
    """Return the cells of a worker: its id, and those of `_TITLES`."""
    units = record.in_hand
    capacity = record.kv_cache_tokens
    return (
        record.life[:8],
        record.pool,
        figures.short_host(record.host),
        share_of(record.kv_tokens_in_flight, capacity) if capacity else "-",
        f"{len(units):,}",
        f"{sum(u.finished for u in units):,} of {sum(u.documents for u in units):,}",
        format_duration(max(u.seconds for u in units)) if units else "-",
    )


@contextmanager
def show_view(view: View, screen: Screen, log: Callable[[View], None] | None) -> Iterator[None]:
    """Poll the view every second and show it on `screen` until the block ends.

    On a terminal it is a table that is redrawn. Otherwise `log` is called every 30 s and, if the
    block does not raise, at the end; by default it prints a line. If it is given, it is called on a
    terminal too.
    """
    stop = threading.Event()
    live = log is None and screen.console.is_interactive
    report = None if live else log or line_printer(screen.console)
    thread = threading.Thread(target=_poll, args=(view, report, stop), daemon=True)
    with ExitStack() as stack:
        thread.start()
        # joined after the live view has ended: a poll may wait for Ray, and a second signal then
        # finds the terminal in order
        stack.callback(thread.join, timeout=15)
        stack.callback(stop.set)
        if live:
            stack.enter_context(screen.live_view(lambda: view))
        yield
        view.poll()
        if report is not None:
            report(view)


def line_printer(console: Console) -> Callable[[View], None]:
    """Return a function that prints the time and a view's line, however long it is."""

    def print_line(view: View) -> None:
        console.print(f"{format_time(view.now())} {view.line()}", soft_wrap=True)

    return print_line


def _poll(view: View, report: Callable[[View], None] | None, stop: threading.Event) -> None:
    reported = time.monotonic()
    while not stop.wait(_POLL_SECONDS):
        view.poll()
        if report is not None and time.monotonic() - reported >= LINE_SECONDS:
            reported = time.monotonic()
            report(view)
