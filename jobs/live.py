"""The live view of a run: a table on a terminal, else a line every 30 s.

Reads the state of the run once a second; changes nothing in it.
"""

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
    """The progress of a run as shown to people and to metrics: totals, rates and the ETA.

    `poll` updates `progress`, the sum of all workers' progress in this session, and the rates in
    tokens per second over the last 30 s: of prompts and answers, and of prompts alone. `run` is the
    job's name, `state` the state that the run updates, and `started` the time at which the view was
    made, in seconds of the monotonic clock.
    """

    run: str
    state: RunState
    progress: Progress = field(default_factory=Progress)
    tokens_per_second: float = 0.0
    prompt_tokens_per_second: float = 0.0
    started: float = field(default_factory=time.monotonic)
    _samples: deque[tuple[float, Progress]] = field(default_factory=deque)

    def poll(self) -> None:
        """Read the workers' progress and update the rates. Blocks until Ray answers, up to 10
        seconds."""
        self.progress = self.state.progress()
        now = time.monotonic()
        self._samples.append((now, self.progress))
        while now - self._samples[0][0] > _RATE_WINDOW_SECONDS:
            self._samples.popleft()
        start, first = self._samples[0]
        seconds = now - start
        prompt_tokens = self.progress.prompt_tokens - first.prompt_tokens
        output_tokens = self.progress.output_tokens - first.output_tokens
        self.tokens_per_second = (prompt_tokens + output_tokens) / seconds if seconds else 0.0
        self.prompt_tokens_per_second = prompt_tokens / seconds if seconds else 0.0

    @property
    def documents(self) -> int:
        """Documents answered or recorded as dead letters, also by earlier runs into OUTPUT.

        Limited to the number of all documents, because workers count those of repeated units twice.
        """
        return min(self.state.documents, self.state.documents_before + self.progress.documents)

    @property
    def eta_seconds(self) -> float | None:
        """Seconds until all prompts are processed at the current rate; None if the rate is 0."""
        remaining = max(0, self.state.tokens_to_run - self.progress.prompt_tokens)
        return remaining / self.prompt_tokens_per_second if self.prompt_tokens_per_second else None

    @property
    def reuse(self) -> float:
        """Share of prompt tokens that came from the prefix cache, between 0 and 1."""
        return self.progress.cached_prompt_tokens / max(1, self.progress.prompt_tokens)

    def totals(self) -> RunTotals:
        """Return the progress as values of the driver's Prometheus metrics."""
        progress = self.progress
        return RunTotals(
            run=self.run,
            answered=progress.answered,
            dead_letters=progress.dead_letters,
            reasons=dict(progress.reasons),
            prompt_tokens=progress.prompt_tokens,
            cached_prompt_tokens=progress.cached_prompt_tokens,
            output_tokens=progress.output_tokens,
            steps=progress.steps,
            draft_tokens=progress.draft_tokens,
            units_done=self.state.units_done,
            units_left=self.state.units - self.state.units_done,
            kv_tokens_in_flight=progress.kv_tokens_in_flight,
            engine_restarts=progress.restarts,
            eta_seconds=self.eta_seconds,
        )

    def line(self) -> str:
        """Return the progress as one line of text for people, without a line break."""
        state = self.state
        if state.phase == "indexing":
            return (
                f"indexing: {state.spans_done}/{state.spans} spans of the corpus, "
                f"{state.documents} documents"
            )
        restarts = f", engine restarts: {self.progress.restarts}" if self.progress.restarts else ""
        eta = f", ETA {format_duration(self.eta_seconds)}" if self.eta_seconds is not None else ""
        return (
            f"{self.phase}: {self.documents}/{state.documents} documents, "
            f"{state.units_done}/{state.units} units, "
            f"{self.tokens_per_second:,.0f} tokens/s{eta}, "
            f"dead letters: {self._dead_letters()}, prefix cache: {self.reuse:.0%}{restarts}"
        )

    @property
    def phase(self) -> str:
        """The state's phase; `reading` instead of `starting engines` once a worker has begun."""
        reading = self.state.phase == "starting engines" and self.progress.workers > 0
        return "reading" if reading else self.state.phase

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
        table.add_row(
            "ETA", format_duration(self.eta_seconds) if self.eta_seconds is not None else "-"
        )
        table.add_row("prefix cache", f"{self.reuse:.0%} of prompt tokens")
        table.add_row("workers", str(self.progress.workers))
        table.add_row("dead letters", self._dead_letters())
        if self.progress.restarts:
            table.add_row("restarts", f"{self.progress.restarts} of engines")
        return table

    def _dead_letters(self) -> str:
        counts = self.progress.reasons
        if not counts:
            return "none"
        return ", ".join(f"{count} {reason}" for reason, count in counts.most_common())


def format_duration(seconds: float) -> str:
    """Return a duration in seconds, rounded to whole ones, as `h:mm:ss`."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


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
