"""The screen: phifleet's own words go to the terminal, everybody else's noise to a log file.

Ray, vLLM and the libraries below them write to file descriptors 1 and 2 from many processes and
threads. While a `Screen` is on, those two point into the log.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from rich.console import Console, ConsoleDimensions, RenderableType
from rich.live import Live

from pipelines.storage import storage_errors

_FRAMES_PER_SECOND = 2


class Terminal(Console):
    """Writes to `file`, and takes the size of that terminal. Rich asks descriptors 0 to 2 instead,
    and while a `Screen` is on, none of them needs to be the terminal.

    Text is printed as it is: paths and names may look like rich's markup.
    """

    def __init__(self, file: TextIO) -> None:
        # FORCE_COLOR makes rich take a file for a terminal; colours it may have, a live view not
        interactive = None if file.isatty() else False
        super().__init__(
            file=file, highlight=False, markup=False, emoji=False, force_interactive=interactive
        )

    @property
    def size(self) -> ConsoleDimensions:
        """Columns and lines now; COLUMNS and LINES of the environment come first, as in rich."""
        default = super().size
        if not self.file.isatty():
            return default
        columns, lines = os.get_terminal_size(self.file.fileno())
        return ConsoleDimensions(
            default.width if "COLUMNS" in os.environ else columns or default.width,
            default.height if "LINES" in os.environ else lines or default.height,
        )

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        raise AttributeError("the size is the terminal's own")


@dataclass(frozen=True)
class Screen:
    """Where to speak: `console` for people (standard error), `results` for the answer itself."""

    console: Console
    results: TextIO
    _views: list[Live] = field(default_factory=list)

    @contextmanager
    def live_view(self, render: Callable[[], RenderableType]) -> Iterator[None]:
        """Keep what `render` returns below all that is printed, until the block ends. It stays
        where the block raises, and is removed where it does not."""
        # Live would print what others write to sys.stdout and sys.stderr: that is the log's
        live = Live(
            get_renderable=render,
            console=self.console,
            refresh_per_second=_FRAMES_PER_SECOND,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._views.append(live)
        try:
            with live:
                yield
                live.transient = True
        finally:
            self._views.remove(live)

    def end_views(self) -> None:
        """Give the terminal its cursor back, before a process ends without ending its blocks."""
        for live in self._views:
            live.stop()


@contextmanager
def redirect_output(log: Path) -> Iterator[Screen]:
    """Send file descriptors 1 and 2 to `log` until the block ends; yield the terminal.

    Raises StorageError where the log cannot be written.
    """
    with storage_errors("write", str(log)):
        log.parent.mkdir(parents=True, exist_ok=True)
        noise = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    out, err = (os.fdopen(fd, "w", buffering=1) for fd in kept)
    try:
        os.dup2(noise, 1)
        os.dup2(noise, 2)
        yield Screen(Terminal(err), out)
    finally:
        for number, stream in ((1, sys.stdout), (2, sys.stderr)):
            _flush_noise(number, stream)
            os.dup2(kept[number - 1], number)
        os.close(noise)
        out.close()
        err.close()


def _flush_noise(number: int, stream: TextIO) -> None:
    """Send what waits in a stream to the log; where that is full, nowhere."""
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
        stream.flush()
