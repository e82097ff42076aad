"""The live view of a run: a table on a terminal, else a line every 30 s.

Reads the state of the run once a second; changes nothing in it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipelines.run.overview import Overview
from pipelines.run.pace import Eta
from pipelines.run.screen import Screen

_LINE_SECONDS = 30.0
_POLL_SECONDS = 1.0


@dataclass
class View(Overview):
    """The progress of a run as shown to people: a table, or one line."""

    def line(self) -> str:
        """Return the progress as one line of text for people, without a line break."""
        state = self.state
        if state.phase == "indexing":
            return (
                f"indexing: {state.spans_done}/{state.spans} spans of the corpus, "
                f"{state.documents} documents"
            )
        restarts = f", engine restarts: {self.restarts}" if self.restarts else ""
        eta = f", ETA {format_eta(self.eta)}" if self.eta else ""
        return (
            f"{self.phase}: {self.documents}/{state.documents} documents, "
            f"{state.units_done}/{state.units} units, "
            f"{self.tokens_per_second:,.0f} tokens/s{eta}, "
            f"dead letters: {self._dead_letters()}, prefix cache: {self.reuse:.0%}{restarts}"
        )

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table, or one line if the terminal has too few lines for the table."""
        table = self._table()
        fits = table.row_count < options.size.height
        yield table if fits else Text(self.line(), no_wrap=True, overflow="ellipsis")

    def _table(self) -> Table:
        state = self.state
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_row(Text("phifleet", style="bold"), f"{self.run} - {self.phase}")
        table.add_row("time", format_duration(time.monotonic() - self.started))
        if state.phase == "indexing":
            table.add_row("indexed", f"{state.spans_done} of {state.spans} spans of the corpus")
            table.add_row("documents", f"{state.documents:,} so far")
            return table
        done = ProgressBar(total=max(1, state.documents), completed=self.documents, width=40)
        table.add_row("documents", f"{self.documents:,} of {state.documents:,}")
        table.add_row("", done)
        table.add_row("units", f"{state.units_done:,} of {state.units:,}")
        table.add_row("tokens/s", f"{self.tokens_per_second:,.0f}")
        table.add_row("ETA", format_eta(self.eta) if self.eta else "-")
        table.add_row("prefix cache", f"{self.reuse:.0%} of prompt tokens")
        table.add_row("workers", str(self.progress.workers))
        table.add_row("dead letters", self._dead_letters())
        if self.restarts:
            table.add_row("restarts", f"{self.restarts} of engines")
        return table

    def _dead_letters(self) -> str:
        counts = self.reasons
        if not counts:
            return "none"
        return ", ".join(f"{count} {reason}" for reason, count in counts.most_common())


def format_duration(seconds: float) -> str:
    """Return a duration in seconds, rounded to whole ones, as `h:mm:ss`."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def format_eta(eta: Eta) -> str:
    """Return an estimate with its interval, or without it if both ends look the same."""
    low, high = format_duration(eta.low), format_duration(eta.high)
    return format_duration(eta.seconds) + (f" ({low} to {high})" if low != high else "")


@contextmanager
def show_view(view: View, screen: Screen) -> Iterator[None]:
    """Poll the view every second and show it on `screen` until the block ends.

    On a terminal it is a table that is redrawn; otherwise a line is printed every 30 s and, if the
    block does not raise, at the end.
    """
    stop = threading.Event()
    console = None if screen.console.is_interactive else screen.console
    thread = threading.Thread(target=_poll, args=(view, console, stop), daemon=True)
    with ExitStack() as stack:
        thread.start()
        # joined after the live view has ended: a poll may wait for Ray, and a second signal then
        # finds the terminal in order
        stack.callback(thread.join, timeout=15)
        stack.callback(stop.set)
        if console is None:
            stack.enter_context(screen.live_view(lambda: view))
        yield
        view.poll()
        if console is not None:
            console.print(view.line(), soft_wrap=True)


def _poll(view: View, console: Console | None, stop: threading.Event) -> None:
    printed = time.monotonic()
    while not stop.wait(_POLL_SECONDS):
        view.poll()
        if console is not None and time.monotonic() - printed >= _LINE_SECONDS:
            printed = time.monotonic()
            console.print(view.line(), soft_wrap=True)
