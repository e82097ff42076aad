"""The live view of a run: a table on a terminal, a line every 30 s elsewhere."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipelines.run.metrics import RunTotals
from pipelines.run.progress import Progress
from pipelines.run.screen import Screen
from pipelines.run.state import RunState

_LINE_SECONDS = 30.0
_POLL_SECONDS = 1.0
_RATE_WINDOW_SECONDS = 30.0


@dataclass
class View:
    """What is known of the run now, with the rates that follow. Polled, never pushed."""

    run: str
    state: RunState
    progress: Progress = field(default_factory=Progress)
    tokens_per_second: float = 0.0
    prompt_tokens_per_second: float = 0.0
    started: float = field(default_factory=time.monotonic)
    _samples: deque[tuple[float, Progress]] = field(default_factory=deque)

    def poll(self) -> None:
        """Read the board once and bring the rates up to date."""
        self.progress = self.state.progress()
        now = time.monotonic()
        self._samples.append((now, self.progress))
        while now - self._samples[0][0] > _RATE_WINDOW_SECONDS:
            self._samples.popleft()
        then, before = self._samples[0]
        seconds = now - then
        read = self.progress.prompt_tokens - before.prompt_tokens
        written = self.progress.output_tokens - before.output_tokens
        self.tokens_per_second = (read + written) / seconds if seconds else 0.0
        self.prompt_tokens_per_second = read / seconds if seconds else 0.0

    @property
    def documents(self) -> int:
        """Documents finished, those of earlier sessions included; a retried unit counts once."""
        return min(self.state.documents, self.state.documents_before + self.progress.documents)

    @property
    def eta_seconds(self) -> float | None:
        left = max(0, self.state.tokens_to_run - self.progress.prompt_tokens)
        return left / self.prompt_tokens_per_second if self.prompt_tokens_per_second else None

    @property
    def reuse(self) -> float:
        """Share of prompt tokens that the prefix cache had."""
        return self.progress.cached_prompt_tokens / max(1, self.progress.prompt_tokens)

    def totals(self) -> RunTotals:
        """The same, for the driver's metrics."""
        progress = self.progress
        return RunTotals(
            run=self.run,
            answered=progress.answered,
            dead_letters=progress.dead_letters,
            reasons=dict(progress.reasons),
            prompt_tokens=progress.prompt_tokens,
            cached_prompt_tokens=progress.cached_prompt_tokens,
            output_tokens=progress.output_tokens,
            units_done=self.state.units_done,
            units_left=self.state.units - self.state.units_done,
            kv_tokens_in_flight=progress.kv_tokens_in_flight,
            engine_restarts=progress.restarts,
            eta_seconds=self.eta_seconds,
        )

    def line(self) -> str:
        """One line for a log."""
        state = self.state
        if state.phase == "indexing":
            return f"indexing: {state.spans_done}/{state.spans} spans, {state.documents} documents"
        eta = f", ETA {format_duration(self.eta_seconds)}" if self.eta_seconds is not None else ""
        return (
            f"{self.phase}: {self.documents}/{state.documents} documents, "
            f"{state.units_done}/{state.units} units, "
            f"{self.tokens_per_second:,.0f} tokens/s{eta}, {self._letters()}, "
            f"reuse {self.reuse:.0%}{self._restarts()}"
        )

    def _restarts(self) -> str:
        count = self.progress.restarts
        return f", engines that died: {count}" if count else ""

    @property
    def phase(self) -> str:
        reading = self.state.phase == "starting engines" and self.progress.workers > 0
        return "reading" if reading else self.state.phase

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table, or one line where the terminal is too low for it."""
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
            table.add_row("spans", f"{state.spans_done} of {state.spans}")
            table.add_row("documents", f"{state.documents:,} so far")
            return table
        done = ProgressBar(total=max(1, state.documents), completed=self.documents, width=40)
        table.add_row("documents", f"{self.documents:,} of {state.documents:,}")
        table.add_row("", done)
        table.add_row("units", f"{state.units_done:,} of {state.units:,}")
        table.add_row("tokens/s", f"{self.tokens_per_second:,.0f}")
        table.add_row(
            "ETA", format_duration(self.eta_seconds) if self.eta_seconds is not None else "-"
        )
        table.add_row("reuse", f"{self.reuse:.0%} of prompt tokens")
        table.add_row("workers", str(self.progress.workers))
        table.add_row("dead letters", f"{self._letters()}{self._restarts()}")
        return table

    def _letters(self) -> str:
        counts = self.progress.reasons
        if not counts:
            return "no dead letters"
        return ", ".join(f"{count} {reason}" for reason, count in counts.most_common())


def format_duration(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


@contextmanager
def watching(view: View, screen: Screen) -> Iterator[None]:
    """Show the view until the block ends: live on a terminal, elsewhere as a line now and then."""
    stop = threading.Event()
    lines = None if screen.console.is_interactive else screen.console
    thread = threading.Thread(target=_poll, args=(view, lines, stop), daemon=True)
    with ExitStack() as stack:
        thread.start()
        # after the live view has ended: a poll may wait for Ray, while another signal comes
        stack.callback(thread.join, timeout=15)
        stack.callback(stop.set)
        if lines is None:
            stack.enter_context(screen.live_view(lambda: view))
        yield
        view.poll()
        if lines is not None:
            lines.print(view.line(), soft_wrap=True)


def _poll(view: View, lines: Console | None, stop: threading.Event) -> None:
    spoken = time.monotonic()
    while not stop.wait(_POLL_SECONDS):
        view.poll()
        if lines is not None and time.monotonic() - spoken >= _LINE_SECONDS:
            spoken = time.monotonic()
            lines.print(view.line(), soft_wrap=True)
